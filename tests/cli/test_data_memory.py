"""`--data-memory`: images that do not fit are streamed, and nothing else is different."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import TINY, Answer, Process
from PIL import Image

Start = Callable[..., Process]


@pytest.fixture
def pets(work: Path) -> Path:
    """Two classes of 20 pictures."""
    rng = np.random.default_rng(0)
    for label, level in (("dark", 0), ("bright", 180)):
        (work / "pets" / label).mkdir(parents=True)
        for number in range(20):
            pixels = (rng.integers(0, 60, (16, 16, 3)) + level).astype(np.uint8)
            Image.fromarray(pixels).save(work / "pets" / label / f"{number}.png")
    (work / "tiny.toml").write_text(TINY)
    return work / "pets"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_tiny_limit_streams_and_the_run_is_complete(start: Start, work: Path, pets: Path, workers: str) -> None:
    search = ["run", "--max-params", "20k", "--space", "tiny.toml", "--dataset", "folder:pets", "--image-size", "16"]
    search += ["--trials", "2", "--epochs", "2", "--no-rungs", "--study", "s", "--data-memory", "5kB"]
    answer = start(*search, "--workers", workers).wait()
    assert (answer.status, answer.err) == (0, "")
    assert list(pd.read_csv(work / "results" / "s" / "trials.csv").state) == ["complete"] * 2
    longer = ["retrain", "results/s", "--seeds", "1", "--epochs", "2", "--data-memory", "5kB"]
    answer = start(*longer).wait()
    assert (answer.status, answer.err) == (0, "")
    assert pd.read_csv(work / "results" / "s" / "retrain.csv").test_accuracy.notna().all()


@pytest.mark.parametrize("value", ["0", "-1GB", "much", "2XB"])
def test_a_limit_that_is_none_is_one_line(command: Callable[..., Answer], work: Path, value: str) -> None:
    answer = command("run", "--max-params", "20k", "--data-memory", value)
    assert answer.status == 2
    assert "--data-memory" in answer.error
    assert value in answer.error
    assert not (work / "results").exists()
