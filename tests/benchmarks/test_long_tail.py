"""benchmarks/long_tail.py: a tail of the published form, every treatment trained once and kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from by_path import benchmark_module
from commands import small_npz
from hypothesis import given
from hypothesis import strategies as st
from toys import SMALL

tail = benchmark_module("long_tail")


@given(st.integers(100, 5000), st.integers(2, 100), st.floats(1, 100))
def test_classes_fall_from_all_to_a_share(count: int, classes: int, ratio: float) -> None:
    found = tail.sizes(count, classes, ratio)
    assert found == sorted(found, reverse=True)
    assert found[0] == count
    assert found[-1] == pytest.approx(count / ratio, abs=1)


def test_cifar_has_the_sizes_of_the_literature() -> None:
    """As the code of Cao et al. 2019 makes them: rounded down."""
    assert tail.sizes(5000, 10, 100) == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]


def test_what_is_set_aside_trains_nothing() -> None:
    labels = np.arange(3000) % 3
    train, validation = tail.long_tailed(labels, 10, 100)
    assert np.bincount(labels[validation]).tolist() == [100] * 3
    assert np.bincount(labels[train]).tolist() == [900, 284, 90]
    assert not set(train) & set(validation)
    assert len(set(train)) == len(train)
    with pytest.raises(SystemExit, match="--validation 995: leaves 5 images of a class, too few for 10:1"):
        tail.long_tailed(labels, 10, 995)


def test_every_treatment_is_trained_once_and_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 2
    images = (rng.integers(0, 60, (120, 8, 8)) + 180 * labels[:, None, None]).astype(np.uint8)
    small_npz(tmp_path / "all.npz", train_images=images, train_labels=labels)
    words = [str(tmp_path / "all.npz"), "--ratios", "5", "--validation", "10", "--epochs", "1", "--seeds", "1"]
    SMALL.dump(tmp_path / "small.toml")
    words += [
        "--network",
        str(tmp_path / "small.toml"),
        "--out",
        str(tmp_path / "out"),
        "--recipe",
        "batch_size=8",
        "--device",
        "cpu",
    ]
    tail.main(words)
    told = capsys.readouterr().out
    assert all(f"\n| {name} | " in told for name in tail.TREATMENTS)
    assert len((tmp_path / "out" / "trainings.jsonl").read_text().splitlines()) == len(tail.TREATMENTS)
    with np.load(tmp_path / "out" / "tail-5.npz") as made:
        assert np.bincount(made["train_labels"]).tolist() == [50, 10]
        assert np.bincount(made["val_labels"]).tolist() == [10, 10]
        assert len(made["test_labels"]) == 10
    monkeypatch.setattr(tail, "trained", None)
    tail.main(words)
    assert capsys.readouterr().out == told
