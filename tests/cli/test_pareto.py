"""`archsearch pareto`: the tables again, from the study alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from commands import STUDY, Answer

Command = Callable[..., Answer]
FILES = ("pareto.csv", "trials.csv", "pareto.png", "report.html")


@pytest.mark.parametrize("name", [STUDY, f"results/{STUDY}"])
def test_deleted_tables_come_back_byte_for_byte(command: Command, study: Path, name: str) -> None:
    before = {file: (study / file).read_bytes() for file in FILES}
    for file in FILES:
        (study / file).unlink()
    answer = command("pareto", name)
    assert (answer.status, answer.err) == (0, "")
    assert {file: (study / file).read_bytes() for file in FILES} == before


def test_it_prints_the_front(command: Command, study: Path) -> None:
    lines = command("pareto", STUDY).out.splitlines()
    front = pd.read_csv(study / "pareto.csv", dtype={"arch": str})
    assert lines[0] == "Pareto front:"
    assert [line.split()[0] for line in lines[1:]] == list(front.arch)
    assert all(summary in line for summary, line in zip(front.summary, lines[1:], strict=True))


def test_out_says_where_studies_lie(command: Command, study: Path, work: Path) -> None:
    (work / "results").rename(work / "elsewhere")
    assert command("pareto", STUDY).status == 2
    assert command("pareto", STUDY, "--out", "elsewhere").status == 0


def test_it_leaves_the_rest_alone(command: Command, study: Path) -> None:
    others = ("rejected.csv", "run.json")
    before = {file: (study / file).read_bytes() for file in others}
    assert command("pareto", STUDY).status == 0
    assert {file: (study / file).read_bytes() for file in others} == before
