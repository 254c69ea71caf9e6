"""`archsearch data`: what it says of a dataset, what it keeps, and how that is removed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import Answer, Process
from data_samples import noise
from PIL import Image

from archsearch.cli.decoding import Decoding


@pytest.fixture
def photos(work: Path) -> Path:
    """Two classes with copies, a broken test picture, and a blank one."""
    root = work / "photos"
    for part, count in (("train", 8), ("test", 2)):
        for number, label in enumerate("ab"):
            (root / part / label).mkdir(parents=True)
            for n in range(count):
                seed = 1000 * number + n + (100 if part == "test" else 0)
                Image.fromarray(noise(20, 10, 3, seed=seed)).save(root / part / label / f"{n}.png")
    shutil.copy(root / "train" / "a" / "0.png", root / "test" / "a" / "copy.png")
    shutil.copy(root / "train" / "a" / "1.png", root / "train" / "b" / "other label.png")
    Image.fromarray(noise(20, 10, 3, seed=2)).save(root / "train" / "a" / "same pixels.bmp")
    Image.new("RGB", (12, 12), "red").save(root / "train" / "b" / "blank.png")
    (root / "train" / "a" / "notes.txt").write_text("no picture")
    return root


def test_data_describes_a_folder(command: Callable[..., Answer], photos: Path) -> None:
    answer = command("data", "photos", "--image-size", 8)
    assert (answer.status, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert lines[0].startswith("folder:photos: 24 images, 2 classes, 8x8 colour, fingerprint ")
    assert [line.split() for line in lines[2:5]] == [["class", "train", "test"], ["a", "9", "3"], ["b", "10", "2"]]
    for line in (
        "left out, no pictures that Pillow reads: 1 .txt",
        "width 10 to 12, median 10; height 12 to 20, median 20",
        "files: 23 PNG RGB, 1 BMP RGB",
        "copies: 1 test images are train images too (the same file)",
        "copies: 1 train images are there before (the same file)",
        "copies: 1 images are there under another label (the same file)",
        "copies: 2 train images are there before (the same pixels at this size)",
        "blank: 1 images of one colour: photos/train/b/blank.png",
        "few train images: a (9), b (10)",
    ):
        assert line in lines
    assert "photos/train/a/0.png = photos/test/a/copy.png" in lines
    assert "photos/train/a/1.png = photos/train/b/other label.png" in lines


def test_what_data_keeps_is_listed_and_removed(command: Callable[..., Answer], photos: Path) -> None:
    described = json.loads(command("data", "folder:photos", "--image-size", 8, "--json").out)
    assert [(one["images"], one["image_size"]) for one in described["stores"]] == [(19, 8), (5, 8)]
    command("data", "photos", "--image-size", 9)
    listed = json.loads(command("data", "--json").out)["stores"]
    assert len(listed) == 4
    assert {one["root"] for one in listed} == {str(photos)}
    assert all(sum(file.stat().st_size for file in Path(one["path"]).iterdir()) == one["bytes"] for one in listed)
    text = command("data").out
    assert text.count(str(photos)) == 4
    assert "archsearch data --clear removes it" in text
    removed = json.loads(command("data", "photos", "--image-size", 8, "--clear", "--json").out)
    assert removed == {"removed_bytes": sum(one["bytes"] for one in described["stores"])}
    assert len(json.loads(command("data", "--json").out)["stores"]) == 2
    assert command("data", "--clear").out.startswith("removed ")
    assert command("data").out == "no decoded pictures are kept in data/cache\n"


def test_data_describes_a_set_without_files(command: Callable[..., Answer]) -> None:
    found = json.loads(command("data", "digits", "--json").out)
    assert list(found) == ["name", "shape", "classes", "counts", "fingerprint", "files", "pixels", "blank", "doubts",
                           "images", "several", "notes", "stores"]  # fmt: skip
    assert found["files"] is None
    assert found["stores"] == []
    assert {part: sum(counts) for part, counts in found["counts"].items()} == {"train": 1497, "test": 300}
    assert not Path("data").exists()


def test_data_refuses_in_one_line(command: Callable[..., Answer], photos: Path) -> None:
    for words in (["data", "absent"], ["data", "folder:absent"], ["data", "digits", "--clear"]):
        answer = command(*words)
        assert (answer.status, answer.out, len(answer.err.splitlines())) == (2, "", 1)
    (photos / "test" / "a" / "1.png").write_bytes(b"no picture")
    assert "photos/test/a/1.png is no readable picture" in command("data", "photos").err
    assert command("data", "photos", "--skip-broken").status == 0


def test_other_commands_open_what_data_keeps(command: Callable[..., Answer], photos: Path) -> None:
    kept = json.loads(command("data", "photos", "--image-size", 8, "--json").out)
    times = {file: file.stat().st_mtime_ns for file in Path("data").rglob("*.u8")}
    words = "--max-params 20k --space tiny.toml --trials 1 --epochs 1 --study s --device cpu --image-size 8"
    answer = command("run", "--dataset", "folder:photos", *words.split())
    assert answer.status == 0, answer.err
    assert json.loads(Path("results/s/run.json").read_text())["dataset"]["fingerprint"] == kept["fingerprint"]
    assert {file: file.stat().st_mtime_ns for file in Path("data").rglob("*.u8")} == times


def test_pictures_that_change_under_a_study_are_refused(command: Callable[..., Answer], photos: Path) -> None:
    words = "--max-params 20k --space tiny.toml --trials 1 --epochs 1 --study s --device cpu --image-size 8"
    run = ["run", "--dataset", "folder:photos", *words.split()]
    assert command(*run).status == 0
    Image.fromarray(noise(20, 10, 3, seed=77)).save(photos / "train" / "a" / "3.png")
    answer = command(*run, "--trials", 2, "--resume")
    assert (answer.status, len(answer.err.splitlines())) == (2, 1)
    assert "fingerprint" in answer.err
    assert len(json.loads(command("data", "--json").out)["stores"]) == 1


def test_two_commands_at_once_make_one_store(start: Callable[..., Process], photos: Path, work: Path) -> None:
    both = [start("data", "photos", "--json") for _ in range(2)]
    answers = [process.wait() for process in both]
    assert [answer.status for answer in answers] == [0, 0]
    first, second = (json.loads(answer.out) for answer in answers)
    assert first == second
    assert len([*(work / "data" / "cache").iterdir()]) == 2  # that of the test beside it


# how far it is


def test_a_line_tells_of_long_work_alone(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("archsearch.cli.decoding.time.monotonic", lambda: now[0])
    with Decoding() as watch:
        for done in range(1, 6):
            watch.step("headers", done, 5)
            now[0] += 0.1
        assert capsys.readouterr().err == ""
        for done in range(1, 101):
            watch.step("pictures", done, 100)
            now[0] += 0.1
        watch.say("a word")
    assert capsys.readouterr().err.splitlines() == ["archsearch: reading 100 pictures", "archsearch: a word"]


def test_a_terminal_shows_how_far_it_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("archsearch.cli.decoding.time.monotonic", lambda: now[0])
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with Decoding() as watch:
        for done in range(1, 51):
            watch.step("pictures", done, 100)
            now[0] += 0.5
    shown = capsys.readouterr().err
    assert "reading pictures: 20 of 100, 38 s left" in shown
    assert shown.endswith("\r\x1b[K")
    assert "\n" not in shown
