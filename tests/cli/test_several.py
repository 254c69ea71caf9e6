"""Several labels per image, from the first command to the exported file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from chest import NAMES, chest_npz
from commands import Answer, small_npz
from exports import info_of, settled
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

import archsearch
from archsearch.data import load_dataset
from archsearch.inference import open_runner
from archsearch.network.arch import Arch
from archsearch.network.stage import Part, Stage
from archsearch.nn import weights

Command = Callable[..., Answer]
ARCH = Arch((1, 28, 28), 14, Part("conv", (("width", 8),)), (Stage("basic", 12, 1, 2),), Part("linear"))
SPEC = "npz:chestmnist.npz"
RUN_TINY = ["run", "--max-params", "20k", "--space", "tiny.toml", "--dataset", SPEC]


@pytest.fixture
def chest(work: Path) -> Path:
    return chest_npz(work / "chestmnist.npz", classes=np.array(NAMES))


@pytest.fixture
def trained(work: Path, chest: Path) -> Path:
    """A weights file for these images, untrained, as a search would have written it."""
    info = {**info_of(ARCH), "classes": list(NAMES), "dataset": SPEC, "labels": "several", "trained": "search",
            "thresholds": [0.4] * 14}  # fmt: skip
    return weights.save(work / "w.safetensors", settled(ARCH), ARCH, info)


def test_run_retrain_evaluate_export_load(command: Command, work: Path, chest: Path) -> None:
    """Scores of the test split, of the weights and of ONNX, are scikit-learn's."""
    ran = command("run", "--dataset", SPEC, "--max-params", "20k", "--space", "tiny.toml", "--trials", 2, "--epochs", 2,
                  "--study", "chest", "--recipe", "batch_size=32", "--recipe", "initial_scale=1")  # fmt: skip
    assert (ran.status, ran.err) == (0, "")
    assert "14 classes, several per image; by macro AUROC" in ran.out
    assert json.loads((work / "results/chest/run.json").read_text())["dataset"]["several"] is True
    found = next((work / "results/chest/weights").glob("*.safetensors"))
    assert len(weights.read(found).info["thresholds"]) == 14

    done = command("retrain", "chest", "--seeds", 1, "--epochs", 8, "--recipe", "lr=0.2", "--recipe", "crop=0")
    assert (done.status, done.err) == (0, "")
    (best,) = (work / "results/chest/weights").glob("*-seed0.safetensors")
    info = weights.read(best).info
    assert (info["labels"], len(info["thresholds"]), info["classes"]) == ("several", 14, list(NAMES))

    plain = json.loads(command("evaluate", best, "--json").out)
    check_scores(plain, best)
    assert plain["accuracy"] == pytest.approx(info["test_accuracy"], abs=2 / plain["n"])
    assert plain["macro-auroc"] > 0.6

    sent = command("export", "chest", best.name.partition("-")[0], "--format", "onnx", "--output", "m.onnx", "--json")
    assert (sent.status, sent.err) == (0, "")
    parity = json.loads(sent.out)
    assert parity["max_abs_diff"] < 1e-3
    assert "several labels" in (work / "README.md").read_text() or "thresholds" in (work / "README.md").read_text()
    check_scores(json.loads(command("evaluate", "m.onnx", "--json").out), work / "m.onnx")

    network = archsearch.load(work / "m.onnx")
    assert network.classes == NAMES
    assert network.thresholds == tuple(info["thresholds"])
    assert network(torch.zeros(3, 1, 28, 28)).shape == (3, 14)

    told = command("predict", "m.onnx", f"{SPEC}?images=test_images", "--output", "p.csv")
    assert (told.status, told.err) == (0, "")
    rows = [line.split(",") for line in (work / "p.csv").read_text().splitlines()]
    images, _ = load_dataset(SPEC).test()
    above = network(images[:].float() / 255).sigmoid() > torch.tensor(network.thresholds)
    at = rows[0].index("atelectasis")
    assert rows[0][at : at + 14] == list(NAMES)
    assert [[cell == "1" for cell in row[at : at + 14]] for row in rows[1:]] == above.tolist()


def check_scores(plain: dict[str, object], path: Path) -> None:
    """What `evaluate --json` says against scikit-learn, from the file's own logits."""
    images, labels = load_dataset(SPEC).test()
    shares, flags = open_runner(path)(images).double().sigmoid().numpy(), labels.numpy()
    thresholds = archsearch.load(path).thresholds
    assert thresholds is not None
    told = shares > np.array(thresholds)
    close = {"abs": 1e-6}
    assert plain["n"] == 200
    assert plain["accuracy"] == pytest.approx(((shares > 0.5) == flags).mean(), **close)
    assert plain["macro-auroc"] == pytest.approx(roc_auc_score(flags, shares, average="macro"), **close)
    assert plain["average-precision"] == pytest.approx(average_precision_score(flags, shares, average="macro"), **close)
    assert plain["macro-f1"] == pytest.approx(f1_score(flags, shares > 0.5, average="macro", zero_division=0), **close)
    assert tuple(plain["thresholds"].values()) == thresholds
    for n, name in enumerate(NAMES):
        assert plain["auroc"][name] == pytest.approx(roc_auc_score(flags[:, n], shares[:, n]), **close)
        assert plain["f1"][name] == pytest.approx(f1_score(flags[:, n], told[:, n]), **close)
        assert plain["per_class"][name] == pytest.approx(((shares[:, n] > 0.5) == flags[:, n]).mean(), **close)
        assert plain["support"][name] == flags[:, n].sum()


def test_the_table(command: Command, trained: Path) -> None:
    answer = command("evaluate", trained, "--split", "validation")
    assert (answer.status, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert lines[0].startswith("w.safetensors on npz:chestmnist.npz, validation: ")
    assert lines[0].endswith(" of 2,800 answers, yes or no, for 200 images")
    head = next(n for n, line in enumerate(lines) if line.startswith("class"))
    assert lines[head].split() == ["class", "images", "recall", "precision", "F1", "AUROC", "threshold"]
    assert [line.split()[0] for line in lines[head + 1 : head + 15]] == list(NAMES)
    assert all(line.endswith(" 0.400") for line in lines[head + 1 : head + 15])
    assert "confus" not in answer.out
    assert "macro AUROC" in answer.out
    page = command("evaluate", trained, "--report", "page.html")
    assert (page.status, page.err) == (0, "")
    assert ">threshold<" in (trained.parent / "page.html").read_text()
    by = command("evaluate", trained, "--metric", "macro-auroc").out.splitlines()[0]
    assert by.startswith("w.safetensors on npz:chestmnist.npz, test: macro AUROC 0.")


def test_data_describes_them(command: Command, chest: Path) -> None:
    answer = command("data", SPEC)
    assert (answer.status, answer.err) == (0, "")
    assert "1,000 images, 14 classes" in answer.out
    rows = {line.split()[0]: line.split()[1:] for line in answer.out.splitlines() if line}
    labels = np.load(chest)["train_labels"].sum(0)
    assert rows["(images)"] == ["600", "200", "200"]
    assert rows["hernia"][0] == str(labels[-1])
    assert "labels are not judged: an image may have several" in answer.out
    plain = json.loads(command("data", SPEC, "--json").out)
    assert plain["images"] == {"train": 600, "val": 200, "test": 200}
    assert plain["counts"]["train"] == labels.tolist()


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["evaluate", "w.safetensors", "--confusion", "c.png"], "images may have several labels, so there is no such"),
        (["evaluate", "w.safetensors", "--dataset", "npz:single.npz"],
         "was trained on several labels per image, npz:single.npz has one label: give another dataset"),
        ([*RUN_TINY, "--teacher", "w.safetensors"],
         f"--teacher: {SPEC} has several labels per image, and teachers answer with one: leave it out"),
        ([*RUN_TINY, "--recipe", "logit_adjustment=1"],
         f"logit_adjustment: {SPEC} has several labels per image: use class_weights=balanced"),
        *((words, f"balanced_batches: {SPEC} has several labels per image: use class_weights=balanced") for words in (
            [*RUN_TINY, "--recipe", "balanced_batches=1"],
            ["run", "--max-params", "20k", "--space", "balanced.toml", "--dataset", SPEC],
            ["retrain", "w.safetensors", "--recipe", "balanced_batches=1"],
        )),
        (["retrain", "w.safetensors", "--teacher", "w.safetensors"], "has several labels per image, and teachers"),
        (["run", "--max-params", "20k", "--dataset", "npz:hot.npz"], "every row of train_labels has exactly one 1"),
        (["run", "--max-params", "20k", "--dataset", "folder:x?labels=a"], "folders say one label per picture"),
    ],
)  # fmt: skip
def test_refused_in_one_line(command: Command, work: Path, trained: Path, words: list[str], part: str) -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 255, (140, 28, 28), np.uint8), np.arange(140) % 14
    arrays = {"train_images": images, "train_labels": labels, "test_images": images, "test_labels": labels}
    small_npz(work / "single.npz", **arrays)
    small_npz(
        work / "hot.npz",
        **{**arrays, "train_labels": np.eye(14, dtype=int)[labels], "test_labels": np.eye(14, dtype=int)[labels]},
    )
    searched = "\n[train]\nbalanced_batches = { choice = [0, 1] }\n"
    (work / "balanced.toml").write_text((work / "tiny.toml").read_text() + searched)
    answer = command(*words)
    assert (answer.status, answer.out) == (2, "")
    assert part in answer.error
    assert not (work / "results").exists()
