"""benchmarks/again.py: the best of a search and of its random twin, trained again on digits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from by_path import benchmark_module
from conftest import Answer

SMALL = ("--max-params", "8k", "--trials", "2", "--epochs", "1")


@pytest.mark.slow
def test_each_seed_trains_both_once_on_validation_images(
    work: Path, command: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert command("run", *SMALL, "--study", "a").status == 0
    assert command("run", *SMALL, "--sampler", "random", "--study", "random", "--out", "results/a").status == 0
    study = work / "results" / "a"
    module = benchmark_module("again")
    before: list[float] = []
    for seeds in ("1", "1,2"):
        monkeypatch.setattr("sys.argv", ["again.py", str(study), "--seeds", seeds])
        module.main()
        kept = pd.read_csv(study / "again.csv", dtype={"arch": str})
        archs = {module.best(study).stem, module.best(study / "random").stem}
        assert sorted(zip(kept.seed, kept.arch, strict=True)) == sorted(
            (seed, arch) for seed in map(int, seeds.split(",")) for arch in archs
        )
        assert kept.train_seconds[: len(before)].tolist() == before
        before = kept.train_seconds.tolist()
    assert f"({len(kept.seed.unique())} seeds)" in capfd.readouterr().out
    assert kept.val_accuracy.between(0, 1).all()
    assert set(kept.epochs) == {1}
    assert set(kept.validation) == {0.2}
    monkeypatch.setattr("sys.argv", ["again.py", str(study), "--seeds", "3", "--validation", "0.5"])
    with pytest.raises(SystemExit):
        module.main()
    assert "was judged by 0.2" in capfd.readouterr().err
