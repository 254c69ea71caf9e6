"""benchmarks/again.py: the best of a search and of its random twin, trained again on digits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from by_path import benchmark_module
from commands import Answer

SMALL = ("--max-params", "8k", "--trials", "2", "--epochs", "1")


def test_a_training_that_fails_costs_no_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = benchmark_module("again")
    (tmp_path / "random").mkdir()
    (tmp_path / "run.json").write_text(json.dumps({"dataset": {"name": "digits"}, "recipe": {}}))
    for folder, arch in ((tmp_path, "00a1"), (tmp_path / "random", "00b2")):
        (folder / "pareto.csv").write_text(f"arch,val_accuracy\n{arch},0.5\n")

    def train(arch: Path, seed: int, *rest: object) -> pd.DataFrame:
        if (arch.stem, seed) == ("00b2", 1):
            raise OSError("no space left")
        return pd.DataFrame([[arch.stem, seed, 0.5, *["" for _ in module.COLUMNS[3:]]]], columns=module.COLUMNS)

    monkeypatch.setattr(module, "train", train)
    monkeypatch.setattr("sys.argv", ["again.py", str(tmp_path), "--seeds", "1,2"])
    with pytest.raises(OSError, match="no space left"):
        module.main()
    kept = pd.read_csv(tmp_path / "again.csv", dtype={"arch": str})
    assert sorted(zip(kept.arch, kept.seed, strict=True)) == [("00a1", 1), ("00a1", 2), ("00b2", 2)]
    (tmp_path / "random" / "pareto.csv").write_text("arch,val_accuracy\n00a1,0.5\n")
    with pytest.raises(SystemExit, match="both have found 00a1"):
        module.main()


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
