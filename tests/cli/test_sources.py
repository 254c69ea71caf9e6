"""Which images a file was made for: size and dataset, from the file and the folders around it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands import Answer
from exports import info_of, settled
from PIL import Image

from archsearch.cli.sources import known_dataset, own_size
from archsearch.errors import InputError
from archsearch.network.arch import Arch
from archsearch.network.stage import Part, Stage
from archsearch.nn import weights

Command = Callable[..., Answer]
SMALL = Arch((3, 12, 12), 2, Part("flatten"), (Stage("dense", 4),), Part("linear"))


@pytest.fixture
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Far from the working directory: two classes of six pictures, dark and bright."""
    folder = tmp_path_factory.mktemp("far") / "photos"
    for number in range(12):
        place = folder / ("dark", "bright")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 60, (20, 30, 3)) + 150 * (number % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(place / f"{number}.png")
    return folder


@pytest.fixture
def file(work: Path, photos: Path) -> Path:
    """A file of a run with `--image-size 12` on those photos, in a study's folder."""
    info = {**info_of(SMALL), "classes": ["bright", "dark"], "dataset": f"folder:{photos}"}
    return weights.save(work / "results" / "p" / "weights" / "w.safetensors", settled(SMALL), SMALL, info)


def note(file: Path, photos: Path) -> None:
    about = {"dataset": {"name": f"folder:{photos}"}, "command": f"archsearch run --dataset folder:{photos}"}
    (file.parents[1] / "run.json").write_text(json.dumps(about))


def test_a_file_is_judged_exported_and_trained_at_its_size(
    command: Command, file: Path, photos: Path, work: Path
) -> None:
    data = ("--dataset", f"folder:{photos}")
    assert command("evaluate", file, *data).status == 0
    assert command("export", file, "--format", "safetensors", "--output", "x.safetensors", *data).status == 0
    assert command("retrain", file, "--seeds", 1, "--epochs", 1, "--study", "r", *data).status == 0
    (trained,) = (work / "results" / "r" / "weights").glob("*.safetensors")
    assert weights.read(trained).arch.input_shape == (3, 12, 12)
    assert str(photos.parent) not in trained.read_bytes().decode("latin-1")
    assert str(photos.parent) not in (work / "README.md").read_text()


def test_the_folders_around_a_file_know_where_its_images_are(command: Command, file: Path, photos: Path) -> None:
    answer = command("evaluate", file)
    assert answer.status == 2
    assert f"{file} was trained on folder:photos, which is not here: give --dataset folder:PATH" in answer.error
    note(file, photos)
    assert command("evaluate", file).status == 0
    assert known_dataset(file, {"dataset": "folder:photos"}) == f"folder:{photos}"
    with pytest.raises(InputError, match="was trained on folder:others, which is not here"):
        known_dataset(file, {"dataset": "folder:others"})


@pytest.mark.parametrize("text", ["[", "3", "{}", '{"dataset": 3}', '{"dataset": {"name": 3}}', "[[]]"])
def test_a_note_that_is_none(file: Path, text: str) -> None:
    (file.parents[1] / "run.json").write_text(text)
    assert known_dataset(file, {"dataset": "digits"}) == "digits"
    assert known_dataset(file, {}) is None


@pytest.mark.parametrize(
    ("shape", "own", "spec", "size"),
    [
        ((3, 12, 12), "digits", "digits", 12),
        ((3, 12, 12), "npz:a.npz", "npz:/elsewhere/a.npz", 12),
        ((3, 12, 12), "digits", "mnist", None),
        ((3, 12, 12), "digits", "folder:x", 12),
        ((3, 12, 12), "digits", "parquet:x?label=fine", 12),
        ((3, 12, 12), "digits", "cifar:x", None),
        ((3, 12, 12), None, "npz:a.npz", None),
        ((3, 12, 10), "digits", "digits", None),
    ],
)
def test_whose_size_is_the_networks(shape: tuple[int, int, int], own: str | None, spec: str, size: int | None) -> None:
    assert own_size(SMALL.adapted(shape, 2), {"dataset": own}, spec) == size


def test_a_drop_by_chance_is_said(command: Command, file: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from archsearch.export import job

    compare = job.compare

    def worse(*args: object) -> object:
        parity = compare(*args)
        return type(parity)(**{**vars(parity), "labelled": 404, "lost": 6, "won": 0})

    monkeypatch.setattr(job, "compare", worse)
    words = ("export", file, "--dataset", f"folder:{photos}", "--format", "onnx", "--quantize", "int8")
    answer = command(*words)
    assert answer.status == 0
    assert "accuracy drop        6 of 404 images, 1.49 points: chance on so few, of --max-drop 1 point" in answer.out
    assert "accuracy drop" not in command(*words, "--max-drop", 2).out
    assert command(*words, "--max-drop", 101).status == 2
    monkeypatch.setattr(job, "compare", lambda *args: type(worse(*args))(**{**vars(worse(*args)), "lost": 60}))
    answer = command(*words, "--max-drop", 2.5)
    assert answer.status == 1
    assert "60 of 404 images, 14.85 points: more than --max-drop 2.5 points, beyond chance" in answer.error
    assert "what helps: --calibration-images" in answer.error
