"""Commands on a folder of pictures: its header, `--skip-broken`, `--nested`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import Answer
from layouts import fill, write

Command = Callable[..., Answer]
RUN = ("run", "--max-params", "20k", "--space", "tiny.toml", "--trials", "1", "--epochs", "1", "--image-size", "8")


@pytest.fixture
def pets(work: Path) -> Path:
    """40 pictures, two of them broken: one behind its header, in the test split."""
    fill(work / "pets", ["."], ("cat", "dog"), 20)
    (work / "pets" / "cat" / "0.png").write_bytes(b"broken")
    return work / "pets"


def test_a_run_says_what_it_trains_on_and_goes_on_without_broken_pictures(
    command: Command, work: Path, pets: Path
) -> None:
    write(pets, "cat/1.heic", "notes.txt")
    args = (*RUN, "--dataset", f"folder:{pets}", "--study", "s")
    refused = command(*args)
    assert refused.status == 2
    assert f"{pets}/cat/0.png is no readable picture" in refused.error
    assert "leave it out: --skip-broken" in refused.error
    assert not (work / "results").exists()
    answer = command(*args, "--skip-broken")
    assert answer.status == 0, answer.err
    assert answer.out.splitlines()[1].startswith("2 classes: cat (1")
    assert answer.out.splitlines()[2:4] == [
        "left out, no pictures that Pillow reads: 1 .heic (read with pip install pillow-heif), 1 .txt",
        "left out by --skip-broken: 1 of 40 pictures: cat/0.png",
    ]
    stored = json.loads((work / "results" / "s" / "run.json").read_text())
    assert stored["dataset"]["skip_broken"] is True
    assert "nested" not in stored["dataset"]
    assert stored["data_notes"][2] == "left out by --skip-broken: 1 of 40 pictures: cat/0.png"
    # The study knows it: workers, retrain and export need no option.
    resumed = command(*args, "--skip-broken", "--resume", "--trials", "2")
    assert resumed.status == 0, resumed.err
    retrained = command("retrain", "s", "--seeds", "1", "--epochs", "1")
    assert retrained.status == 0, retrained.err
    assert "left out by --skip-broken: 1 of 40 pictures: cat/0.png" in retrained.out
    weights = next((work / "results" / "s" / "weights").glob("*-seed0.safetensors"))
    exported = command("export", "s", weights.name[:12], "--format", "safetensors")
    assert exported.status == 0, exported.err
    assert command("evaluate", weights, "--image-size", "8").status == 2
    evaluated = command("evaluate", weights, "--image-size", "8", "--skip-broken")
    assert evaluated.status == 0, evaluated.err
    assert evaluated.out.startswith("left out, no pictures")


def test_a_run_refuses_two_datasets_and_takes_them_as_classes_when_told(command: Command, work: Path) -> None:
    fill(work / "both", ["flowers"], ("rose", "tulip"))
    fill(work / "both", ["photos"], ("cat", "dog"))
    args = (*RUN, "--dataset", "folder:both", "--study", "s")
    assert "the pictures of flowers/, photos/ lie in folders inside (flowers/rose, photos/cat)" in command(*args).error
    answer = command(*args, "--nested")
    assert answer.status == 0, answer.err
    assert "2 classes: flowers (8), photos (8)" in answer.out
    assert command("retrain", "s", "--seeds", "1", "--epochs", "1").status == 0


def test_retrain_finds_unreadable_test_pictures_before_it_trains(command: Command, work: Path) -> None:
    fill(work / "pets", ["train", "test"], ("cat", "dog"))
    (command(*RUN, "--dataset", "folder:pets", "--study", "s"))
    broken = work / "pets" / "test" / "cat" / "0.png"
    broken.write_bytes(broken.read_bytes()[:100])
    answer = command("retrain", "s", "--seeds", "1", "--epochs", "1")
    assert "test/cat/0.png is no readable picture" in answer.error
    assert not list((work / "results" / "s" / "weights").glob("*-seed0.safetensors"))
    answer = command("retrain", "s", "--seeds", "1", "--epochs", "1", "--skip-broken")
    assert answer.status == 0, answer.err
    assert "left out by --skip-broken: 1 more of the test pictures" in answer.out


def test_workers_read_folders_as_their_study_says(command: Command, work: Path, pets: Path) -> None:
    args = (*RUN, "--dataset", "folder:pets", "--study", "s", "--skip-broken", "--storage", "sqlite:///s.db")
    assert command(*args).status == 0
    more = command(*args, "--resume", "--trials", "3", "--workers", "2")
    assert more.status == 0, more.err
    joined = command("worker", "--storage", "sqlite:///s.db", "--study", "s", "--dataset", f"folder:{pets}")
    assert joined.status == 0, joined.err
