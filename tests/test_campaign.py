"""benchmarks/campaign.py: a chain of real commands on digits, which goes on where it stopped."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parent.parent


def campaign(folder: Path, *words: str) -> list[str]:
    """The commands that a campaign ran."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "campaign.py"), "digits", "--seeds", "2", *words],
        cwd=folder, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [line.split()[1] for line in done.stdout.splitlines() if line.startswith("archsearch ")]


@pytest.mark.slow
def test_a_campaign_ends_with_a_certified_file_and_is_not_done_twice(tmp_path: Path) -> None:
    words = ("--time", "15s", "--baseline")
    assert campaign(tmp_path, *words) == ["run", "run", "retrain", "export", "export"]
    folder = tmp_path / "results" / "digits"
    book = json.loads((folder / "campaign.json").read_text())
    assert set(book["spent"]) == {"search", "baseline", "retrain", "export"}
    front, rows = (pd.read_csv(folder / f"{name}.csv", dtype={"arch": str}) for name in ("pareto", "retrain"))
    assert book["winner"] == front.arch.iloc[-1]
    assert set(rows.arch) == {book["winner"]}
    assert sorted(rows.seed) == [0, 1]
    assert set(rows.epochs) == {book["epochs"]}
    assert len(pd.read_csv(folder / "random" / "trials.csv")) > 0
    assert {path.name for path in (folder / "export" / book["winner"]).glob("*.onnx")} == {
        "model.onnx",
        "model.int8.onnx",
    }
    assert set(campaign(tmp_path, *words)) <= {"retrain"}
    assert json.loads((folder / "campaign.json").read_text())["spent"]["search"] == book["spent"]["search"]
