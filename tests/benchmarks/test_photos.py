"""benchmarks/photos.py: the same limits, recipe and time for all, and a table from what was trained."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from by_path import benchmark_module
from commands import small_npz
from paths import ROOT


def called(folder: Path, *words: str) -> tuple[Any, list[str]]:
    """A comparison whose commands are only noted, after a search that found something in the first space alone."""
    module, lines = benchmark_module("photos"), []
    comparison = module.Comparison(module.parse(["pictures", "--out", str(folder), *words]))
    (comparison.folder / "photos").mkdir(parents=True)
    (comparison.folder / "photos" / "pareto.csv").write_text("arch\n0012\n")
    (comparison.folder / "photos" / "run.json").write_text('{"recipe": {"epochs": 60, "lr": 0.3, "policy": "none"}}')
    comparison.call = lambda part, *words, may_fail=False: lines.append(" ".join(map(str, words)))
    comparison.row = lambda entry: {"network": entry.name}
    module.markdown = lambda table: ""
    return comparison, lines


def test_all_have_the_same_limits_recipe_and_time(tmp_path: Path) -> None:
    comparison, lines = called(tmp_path, "--minutes", "2", "--retrain-minutes", "0.5", "--seeds", "2", "--full=--tta")
    table = comparison.run()
    assert list(table.network) == ["photos", "mobilenet-v3-small-050", "efficientnet-1mb"]
    searches, trainings = lines[:2], lines[2:]
    for line, space in zip(searches, ("photos", "resnin"), strict=True):
        assert line.startswith(f"run --space {space} --dataset folder:pictures --image-size 96 --max-size 1MB")
        assert "--max-macs 60M" in line
        assert "--timeout 120s" in line
    assert all("--seeds 2 --within 60s" in line and line.endswith("--tta") for line in trainings)
    for line in trainings[1:]:
        assert "--recipe lr=0.3 --recipe policy=none" in line
        assert "epochs=" not in line


@pytest.mark.parametrize("words", [["--minutes", "0"], ["--seeds", "0"], ["--space", "resnin"]])
def test_what_makes_no_comparison_is_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit):
        benchmark_module("photos").parse(["pictures", *words])


@pytest.mark.slow
def test_a_comparison_of_real_commands(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (60, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(60) % 2
    pixels[labels == 1] //= 2
    arrays = {f"{part}_{what}": array for part in ("train", "test") for what, array in
              (("images", pixels), ("labels", labels))}  # fmt: skip
    small_npz(tmp_path / "two.npz", **arrays)
    words = [
        "npz:two.npz", "--space", "compact", "--image-size", "32", "--minutes", "0.2", "--retrain-minutes", "0.15",
        "--seeds", "1", "--limits", "--max-size 1MB --max-macs 3M", "--search", "--epochs 2 --trials 2",
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "photos.py"), *words],
        cwd=tmp_path, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    table = pd.read_csv(tmp_path / "results" / "photos" / "two" / "table.csv")
    assert list(table.network) == ["compact", "resnin", "mobilenet-v3-small-050", "efficientnet-1mb"]
    assert (table.seeds == 1).all()
    assert table.test_accuracy_mean.between(0, 1).all()
    assert (tmp_path / "results" / "photos" / "two" / "table.md").read_text() in done.stdout
