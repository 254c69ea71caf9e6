"""`archsearch evaluate`: a trained file on real images."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from commands import STUDY, Answer, small_npz
from exports import info_of, settled
from PIL import Image

import archsearch
from archsearch.data import load_dataset
from archsearch.inference import open_runner
from archsearch.inference.evaluate import part_of, tally
from archsearch.network.arch import Arch
from archsearch.network.stage import Part, Stage
from archsearch.nn import weights

Command = Callable[..., Answer]


@pytest.fixture
def best(study: Path) -> Path:
    """The weights of the largest network on the front."""
    return max((study / "weights").iterdir(), key=lambda path: path.stat().st_size)


def test_the_test_split_by_default(command: Command, best: Path) -> None:
    answer = command("evaluate", best, "--json")
    assert (answer.status, answer.err) == (0, "")
    digits = load_dataset("digits")
    images, labels = digits.test()
    wanted = tally(open_runner(best)(images), labels, digits.classes)
    found = json.loads(answer.out)
    assert list(found)[:3] == ["accuracy", "n", "per_class"]
    assert (found["accuracy"], found["n"], found["per_class"]) == (wanted.accuracy, 300, wanted.per_class)
    assert found["recall"] == wanted.per_class
    low, high = found["intervals"]["accuracy"]
    assert low < found["accuracy"] < high


def test_the_validation_accuracy_is_that_of_the_run(command: Command, best: Path) -> None:
    found = json.loads(command("evaluate", best, "--split", "validation", "--json").out)
    assert weights.read(best).info["seed"] == 3
    assert found["accuracy"] == pytest.approx(weights.read(best).info["val_accuracy"], abs=2 / found["n"])
    digits = load_dataset("digits")
    assert found["n"] == len(part_of(digits, "validation", 3)[1])
    other = json.loads(command("evaluate", best, "--split", "validation", "--seed", 4, "--json").out)
    assert other["per_class"] != found["per_class"]
    train = json.loads(command("evaluate", best, "--split", "train", "--json").out)
    assert train["n"] + found["n"] == len(digits.labels)


def test_table_matrix_and_picture(command: Command, best: Path, work: Path) -> None:
    answer = command("evaluate", best, "--confusion", "confusion.png", "--device", "cpu")
    assert answer.status == 0
    lines = answer.out.splitlines()
    plain = json.loads(command("evaluate", best, "--json").out)
    low, high = (100 * bound for bound in plain["intervals"]["accuracy"])
    told = f"{best.name} on digits, test: {100 * plain['accuracy']:.2f}% of 300 images (95%: {low:.1f} to {high:.1f})"
    assert lines[0] == told
    assert lines[2].split() == ["class", "images", "recall", "precision", "F1"]
    assert lines[3].split()[:3] == ["0", str(plain["support"]["0"]), f"{100 * plain['recall']['0']:.2f}%"]
    (told,) = [line for line in lines if line.startswith("macro F1 ")]
    assert f" {plain['macro-f1']:.4f} (" in told
    (told,) = [line for line in lines if line.startswith("calibration: ")]
    assert f"ECE {100 * plain['ece']:.2f}%" in told
    assert f"{100 * plain['ece_at_temperature']:.2f}% at temperature {plain['temperature']:.3f}" in told
    assert told.endswith("fitted on 299 validation images; labels stay")
    at = lines.index("confusion: one row per class, one column for what it was taken for")
    cells = [[int(cell.replace(".", "0")) for cell in line.split()[1:]] for line in lines[at + 2 : at + 12]]
    assert sum(map(sum, cells)) == 300
    assert sum(cells[i][i] for i in range(10)) == round(300 * plain["accuracy"])
    assert lines[-1].startswith("most often confused: ")
    with Image.open(work / "confusion.png") as picture:
        assert picture.format == "PNG"


def test_a_page_and_a_stored_temperature(command: Command, best: Path, work: Path) -> None:
    before = json.loads(command("evaluate", best, "--json").out)
    labels = open_runner(best)(load_dataset("digits").test()[0]).argmax(1)
    answer = command("evaluate", best, "--report", "page.html", "--store-temperature")
    assert (answer.status, answer.err) == (0, "")
    network = archsearch.load(best)
    assert network.temperature == pytest.approx(before["temperature"], abs=1e-4)
    assert torch.equal(open_runner(best)(load_dataset("digits").test()[0]).argmax(1), labels)
    assert json.loads(command("evaluate", best, "--json").out) == before
    page = (work / "page.html").read_text()
    assert f"{100 * before['accuracy']:.2f}% of 300 images" in page
    assert page.count("data:image/png;base64,") == min(24, round(300 * (1 - before["accuracy"])))
    assert "http" not in page.replace("http-equiv", "")


def test_a_network_that_saw_the_validation_images_gets_no_temperature(command: Command, best: Path) -> None:
    read = weights.read(best)
    weights.save_info(best, read.arch, {**read.info, "trained": "retrain"})
    kept = best.read_bytes()
    answer = command("evaluate", best, "--store-temperature")
    assert (answer.status, answer.out) == (2, "")
    assert answer.error.endswith("gets none: this network was trained on the validation images too")
    assert best.read_bytes() == kept
    answer = command("evaluate", best)
    assert answer.status == 0
    assert "no temperature: this network was trained on the validation images too" in answer.out
    assert json.loads(command("evaluate", best, "--json").out)["temperature"] is None


def test_a_file_says_which_images_it_needs(command: Command, best: Path, work: Path) -> None:
    small_npz(work / "small.npz")
    answer = command("evaluate", best, "--dataset", "npz:small.npz")
    assert answer.status == 2
    assert f"{best} tells 10 classes apart, npz:small.npz has 2" in answer.error
    answer = command("evaluate", best, "--image-size", 16)
    assert answer.status == 2
    assert "takes images of 1x8x8, digits has 1x16x16: see --image-size" in answer.error


def test_many_classes_have_no_matrix(command: Command, work: Path) -> None:
    arch = Arch((1, 8, 8), 2, Part("flatten"), (Stage("dense", 4),), Part("linear"))
    names = [f"class-{i:03}" for i in range(30)]
    wide = arch.adapted((1, 8, 8), 30)
    small_npz(work / "many.npz", train_labels=[i % 30 for i in range(60)], test_labels=list(range(10)))
    classes = list(load_dataset(f"npz:{work / 'many.npz'}").classes)
    info = {**info_of(wide), "classes": classes, "dataset": "npz:many.npz"}
    weights.save(work / "w.safetensors", settled(wide), wide, info)
    answer = command("evaluate", "w.safetensors")
    assert answer.status == 0, answer.err
    assert "confusion:" not in answer.out
    assert len(names) == len(
        [line for line in answer.out.splitlines() if line.split()[:1] and line.split()[0] in classes]
    )


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["none.safetensors"], "none.safetensors: there is no such file"),
        (["none.onnx"], "none.onnx: there is no such file"),
        (["results"], "results: there is no such file"),
        ([f"results/{STUDY}/pareto.csv"], "no readable safetensors file"),
        (["BEST", "--confusion", "c.pdf"], "--confusion c.pdf: must end in .png"),
        (["BEST", "--report", "page.pdf"], "--report page.pdf: must end in .html"),
        (["BEST", "--device", "cuda:99"], "device 'cuda:99' is not available here"),
        (["BEST", "--dataset", "digit"], "dataset 'digit': must be one of"),
        (["BEST", "--split", "all"], "'all'"),
    ],
)
def test_bad_input_is_one_line(command: Command, best: Path, args: list[str], words: str) -> None:
    answer = command("evaluate", *(str(best) if arg == "BEST" else arg for arg in args))
    assert (answer.status, answer.out) == (2, "")
    assert words in answer.error


def test_a_file_without_a_dataset(command: Command, work: Path) -> None:
    arch = Arch((1, 8, 8), 10, Part("flatten"), (Stage("dense", 4),), Part("linear"))
    info = {key: value for key, value in info_of(arch).items() if key not in ("dataset", "classes")}
    weights.save(work / "w.safetensors", settled(arch), arch, info)
    assert "w.safetensors: says nothing of its dataset: give --dataset" in command("evaluate", "w.safetensors").error
    assert command("evaluate", "w.safetensors", "--dataset", "digits").status == 0
