"""A limit is declared once: a made-up sixth one shows up everywhere without another line of the package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from paths import ROOT

SIXTH = """
import archsearch.network.limits as limits
from archsearch._utils.units import COUNT

limits.LIMITS += (
    limits.Limit(
        "max_tensors", "tensors", lambda cost, written: cost.contents.tensors, COUNT, "tensors", "stored tensors",
        "tensors",
        "Fewer tensors in the weights file than this.", params_at=lambda limit, written: 1000.0 * limit,
    ),
)
"""


@pytest.fixture
def archsearch(tmp_path: Path) -> Callable[..., str]:
    """The command, in a Python that starts with a sixth limit in the list."""
    (tmp_path / "sitecustomize.py").write_text(SIXTH)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}

    def run(*words: str, status: int = 0) -> str:
        command = [sys.executable, "-c", "from archsearch.cli import main; main()", *words]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
        assert done.returncode == status, done.stderr
        return done.stdout + done.stderr

    return run


def test_a_sixth_limit_is_an_option_a_verdict_and_words(archsearch: Callable[..., str]) -> None:
    assert "Fewer tensors in the weights file than this." in archsearch("run", "--help")
    found = json.loads(archsearch("check", "ref:lenet5", "--max-tensors", "5", "--json", status=1))
    assert found["tensors"] == 10
    assert found["limits"] == [{"name": "tensors", "limit": 5, "value": 10, "ok": False}]
    assert "tensors 10 is not under 5" in archsearch("check", "ref:lenet5", "--max-tensors", "5", status=1)
    refused = archsearch("run", "--max-tensors", "1", status=1)
    assert "tensors, the limit is under 1 tensors" in refused


def test_a_sixth_limit_is_in_a_study_its_name_its_tables_and_its_report(
    archsearch: Callable[..., str], tmp_path: Path
) -> None:
    archsearch("run", "--max-tensors", "60", "--trials", "2", "--epochs", "1", "--workers", "2", "--out", "out")
    folder = tmp_path / "out" / "digits-resnin-tensors60"
    for name in ("pareto.csv", "trials.csv"):
        table = pd.read_csv(folder / name)
        assert (table["tensors"] < 60).all()
        assert len(table)
    assert pd.read_csv(folder / "rejected.csv")["broke"].str.contains("tensors>=60").any()
    run = json.loads((folder / "run.json").read_text())
    assert run["budget"] == {"max_tensors": 60.0, "size_dtype": "fp32"}
    page = (folder / "report.html").read_text()
    assert "stored tensors" in page
    assert "under 60 tensors" in page
    archsearch("pareto", "digits-resnin-tensors60", "--out", "out")
    assert "tensors" in pd.read_csv(folder / "pareto.csv")
