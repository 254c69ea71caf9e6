"""`archsearch show`: one candidate of a study."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from commands import STUDY, Answer

from archsearch.study.storage import add_reference, open_existing, records

Command = Callable[..., Answer]


@pytest.fixture
def best(study: Path) -> pd.Series:
    return pd.read_csv(study / "pareto.csv", dtype={"arch": str}).iloc[-1]


def prefix(study: Path, arch: str) -> str:
    """The shortest beginning that no other candidate has."""
    others = set(pd.read_csv(study / "trials.csv", dtype={"arch": str}).arch) - {arch}
    return next(arch[:n] for n in range(1, 13) if not any(other.startswith(arch[:n]) for other in others))


def test_layers_cost_and_curve(command: Command, study: Path, best: pd.Series) -> None:
    answer = command("show", STUDY, best.arch)
    assert (answer.status, answer.err) == (0, "")
    assert f"Total params: {best.params:,}" in answer.out
    assert "Conv2d" in answer.out
    for name in ("arch", "epochs", "summary"):
        assert f"{name}: {best[name]}\n" in answer.out
    for name in ("params", "macs", "size_bytes"):
        assert f"{name}: {best[name]:,}" in answer.out
    assert f"val_accuracy: {100 * best.val_accuracy:.2f}%\n" in answer.out
    assert not re.search(r"\d\.\d{7}", answer.out)
    assert "Units" not in answer.out
    assert f"2: {100 * best.val_accuracy:.2f}%" in answer.out.splitlines()[-1]


def test_the_first_digits_of_an_id_are_enough(command: Command, study: Path, best: pd.Series) -> None:
    assert f"arch: {best.arch}" in command("show", STUDY, prefix(study, best.arch)).out


def test_json_is_one_object_and_nothing_else(command: Command, study: Path, best: pd.Series) -> None:
    answer = command("show", STUDY, best.arch, "--json")
    found = json.loads(answer.out)
    assert (answer.status, answer.err) == (0, "")
    assert found["arch"] == best.arch
    assert found["val_accuracy"] == best.val_accuracy == found["curve"][-1][1]
    assert (found["params"], found["macs"], found["epochs"]) == (best.params, best.macs, best.epochs)
    assert found["state"] == "complete"


def test_unknown_and_ambiguous_ids(command: Command, study: Path) -> None:
    answer = command("show", STUDY, "xyz")
    assert answer.status == 2
    assert "no candidate 'xyz'" in answer.error
    assert "trials.csv" in answer.error
    answer = command("show", STUDY, "")
    assert answer.status == 2
    assert "several candidates ''" in answer.error


def test_an_architecture_file_that_is_gone_comes_back_from_the_study(
    command: Command, study: Path, best: pd.Series
) -> None:
    path = study / "archs" / f"{best.arch}.toml"
    before = path.read_bytes()
    path.unlink()
    assert command("show", STUDY, best.arch).status == 0
    assert path.read_bytes() == before


def test_a_reference_is_no_candidate(command: Command, study: Path) -> None:
    opened, _ = open_existing(study)
    add_reference(opened, replace(records(opened)[0], arch="ffff00000000", state="reference", reason="lenet5"))
    answer = command("show", STUDY, "ffff")
    assert answer.status == 2
    assert "ffff00000000 is a reference, not a candidate: ref:lenet5 names its network" in answer.error
