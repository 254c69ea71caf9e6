"""Datasets in other formats from `run` to `evaluate` and `export`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands import TINY, Answer
from formats import encoded, parquet
from PIL import Image

Command = Callable[..., Answer]


def bright(label: int, seed: int) -> bytes:
    """A picture that anything can tell from those of the other label."""
    import io

    with Image.open(io.BytesIO(encoded(seed))) as picture:
        pixels = np.asarray(picture) // 4 + 180 * label
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def hub(work: Path) -> Path:
    """A set of the Hugging Face hub: dark and bright pictures."""
    for part, count, seed in (("train", 60, 0), ("test", 10, 100)):
        labels = [n % 2 for n in range(count)]
        pictures = [{"bytes": bright(label, seed + n), "path": None} for n, label in enumerate(labels)]
        more = {"number": [*range(count)]}
        file = work / "hub" / "data" / f"{part}-00000-of-00001.parquet"
        parquet(file, labels, ["dark", "light"], pictures=pictures, more=more)
    return work / "hub"


def test_from_a_search_to_a_file(command: Command, work: Path, hub: Path) -> None:
    """The names of the classes are in every file; a moved set is found by its own name."""
    (work / "tiny.toml").write_text(TINY)
    spec = f"parquet:{hub}?label=label"
    words = ("run", "--max-params", "20k", "--space", "tiny.toml", "--trials", "1", "--epochs", "2", "--seed", "3")
    answer = command(*words, "--dataset", spec, "--image-size", "8")
    assert answer.status == 0, answer.err
    assert "2 classes: dark (30), light (30)" in answer.out
    study = work / "results" / "hub-label-tiny-params20k"
    (best,) = (study / "weights").glob("*.safetensors")
    answer = command("evaluate", str(best), "--json")
    assert answer.status == 0, answer.err
    found = json.loads(answer.out)
    assert (found["n"], [*found["per_class"]]) == (10, ["dark", "light"])
    shutil.move(hub, work / "elsewhere")
    answer = command("evaluate", str(best))
    assert "was trained on parquet:hub?label=label, which is not here: give --dataset parquet:PATH" in answer.error
    answer = command("evaluate", str(best), "--dataset", f"parquet:{work / 'elsewhere'}")
    assert answer.status == 0, answer.err
    assert "of 10 images" in answer.out


@pytest.mark.parametrize(
    ("name", "meant"),
    [("x.parquet", "parquet:x.parquet"), ("x.csv", "csv:x.csv"), ("x.tar", "wds:x.tar"), ("hub", "parquet:hub")],
)
def test_what_was_meant(command: Command, hub: Path, name: str, meant: str) -> None:
    answer = command("run", "--max-params", "20k", "--dataset", name)
    assert answer.status == 2
    assert f"did you mean {meant}?" in answer.error
