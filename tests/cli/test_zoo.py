"""`archsearch zoo`, and the commands that take `zoo:NAME`."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands import Answer
from formats import encoded
from paths import ROOT

import archsearch
from archsearch._utils import certified
from archsearch._utils.certified import find, networks
from archsearch.inference import open_runner

Command = Callable[..., Answer]
SMALL = "cifar10-6m-macs"


def labelled(path: Path, count: int = 40) -> Path:
    """An npz file of random 32 x 32 pictures in ten classes, which are numbers."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (count, 32, 32, 3), np.uint8), np.arange(count) % 10
    np.savez(path, train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    return path


def test_the_list(command: Command) -> None:
    answer = command("zoo")
    assert (answer.status, answer.err) == (0, "")
    head, *rows = answer.out.splitlines()
    assert head.split()[:4] == ["name", "dataset", "parameters", "bytes"]
    assert [row.split()[0] for row in rows] == [*networks()]
    found = json.loads(command("zoo", "--json").out)["networks"]
    assert [one["name"] for one in found] == [*networks()]


def test_one_network(command: Command, work: Path) -> None:
    answer = command("zoo", "cifar10-6mb")
    one = find("cifar10-6mb")
    assert (answer.status, answer.err) == (0, "")
    assert f"SHA-256        {one.sha256}" in answer.out
    assert "test accuracy  95.71%, 3 trainings: 95.71%, 95.95%, 95.45%" in answer.out
    assert json.loads(command("zoo", "zoo:cifar10-6mb", "--json").out)["arch"] == one.arch
    assert [path.name for path in work.iterdir()] == ["tiny.toml"]


def test_a_copy(command: Command, work: Path) -> None:
    answer = command("zoo", SMALL, "--output", "mine/m.onnx")
    assert (answer.status, answer.err) == (0, "")
    assert answer.out.splitlines()[-1] == "written        mine/m.onnx"
    assert (work / "mine" / "m.onnx").read_bytes() == (ROOT / find(SMALL).file).read_bytes()


def test_another_format(command: Command, work: Path) -> None:
    labelled(work / "t.npz")
    answer = command(
        "export", f"zoo:{SMALL}", "--format", "safetensors", "--dataset", "npz:t.npz", "--max-drop", 100, "--json"
    )
    assert (answer.status, answer.err) == (0, "")
    one = find(SMALL)
    path = work / "export" / one.arch / "model.safetensors"
    assert json.loads(answer.out)["path"] == str(path.relative_to(work))
    found = open_runner(path)
    assert (found.info["dataset"], found.info["classes"]) == (one.dataset, [*one.classes])


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["zoo", "cifar10-78m"], "did you mean 'cifar10-78k'?"),
        (["zoo", "--output", "m.onnx"], "--output m.onnx: is for one network: give its NAME"),
        (["zoo", SMALL, "--output", "m.pt2"], "--output m.pt2: must end in .onnx"),
        (["zoo", "cifar10-6mb", "--output", "m.onnx"], "--output m.onnx: must end in .onnx.xz"),
        (["evaluate", "zoo:nothing"], "there is no certified network 'nothing'"),
        (["evaluate", f"zoo:{SMALL}", "--store-temperature"], "stays as it is: make a copy by archsearch zoo --output"),
        (["evaluate", f"zoo:{SMALL}", "--device", "cuda"], "cuda"),
    ],
)
def test_bad_input_is_one_line(command: Command, args: list[str], words: str) -> None:
    answer = command(*args)
    assert answer.status == 2
    assert words in answer.error


def test_no_file_anywhere_is_one_line(command: Command, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certified, "_CHECKOUT", work)
    answer = command("predict", f"zoo:{SMALL}", "photos")
    assert answer.status == 2
    assert answer.error.startswith(f"archsearch: zoo:{SMALL} is not on this machine: run this in a clone of archsearch")


def test_evaluate_with_classes_that_are_numbers(command: Command, work: Path) -> None:
    labelled(work / "some.npz")
    answer = command("evaluate", f"zoo:{SMALL}", "--dataset", "npz:some.npz", "--json")
    assert (answer.status, answer.err) == (0, "")
    found = json.loads(answer.out)
    by_path = command("evaluate", ROOT / find(SMALL).file, "--dataset", "npz:some.npz", "--json")
    assert found == json.loads(by_path.out)
    assert found["n"] == 40


def test_predict_says_names(command: Command, work: Path) -> None:
    (work / "photo.png").write_bytes(encoded(0, (40, 50)))
    answer = command("predict", f"zoo:{SMALL}", "photo.png")
    assert (answer.status, answer.err) == (0, "")
    with (work / "predictions.csv").open(newline="") as file:
        [row] = csv.DictReader(file)
    network = archsearch.load(f"zoo:{SMALL}")
    best = int(network(network.preprocess(work / "photo.png")).argmax())
    assert network.classes
    assert row["label"] == network.classes[best]
    assert row["label"] in find(SMALL).classes


def test_weights_by_name_are_those_of_the_file() -> None:
    runner = open_runner("zoo:mnist-lenet5")
    assert runner.info["dataset"] == "mnist"
    assert (runner.arch.id, runner.arch.cost.params) == (find("mnist-lenet5").arch, 44_426)
