"""benchmarks/scale.py: a small simulation on PostgreSQL, everything real but the trainings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from paths import ROOT


@pytest.mark.slow
@pytest.mark.usefixtures("postgres")
def test_simulated_workers(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "scale.py"), "--workers", "4", "--trials", "40", "--seconds", "0.5",
         "--csv", str(tmp_path / "rows.csv"), "--plot", str(tmp_path / "plot.png")],
        cwd=ROOT, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("4 workers, 40 trials of 0.5 s")
    rows = pd.read_csv(tmp_path / "rows.csv")
    assert 40 <= len(rows) <= 44
    assert rows["queries"].iloc[4:].between(20, 400).all()
    assert (tmp_path / "plot.png").stat().st_size > 5000
