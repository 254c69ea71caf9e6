"""Files in the layout of RetinaMNIST (ordered grades) and BloodMNIST, from `run` to ONNX; scores are scikit-learn's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands import Answer
from sklearn.metrics import balanced_accuracy_score, cohen_kappa_score, f1_score, recall_score, roc_auc_score

from archsearch.data import load_dataset
from archsearch.inference import open_runner

SIDE = 28
GRADES = (0.45, 0.12, 0.19, 0.18, 0.06)
"""Shares of the grades in RetinaMNIST."""
CELLS = (0.07, 0.18, 0.09, 0.17, 0.07, 0.08, 0.2, 0.14)
"""Shares of the kinds of cells in BloodMNIST."""


def medmnist(path: Path, shares: tuple[float, ...], grade: bool) -> Path:
    """Colour pixels and labels (N, 1), as MedMNIST has them; a rule to be learnt stands for what it shows.

    grade: the higher the label, the more of the image is bright. Else each class has a colour of its own.
    """
    rng, arrays = np.random.default_rng(0), dict[str, np.ndarray]()
    colours = rng.uniform(40, 215, (len(shares), 3))
    for part, count in (("train", 400), ("val", 150), ("test", 150)):
        labels = np.concatenate([np.arange(len(shares)), rng.choice(len(shares), count - len(shares), p=shares)])
        bright = rng.random((count, SIDE, SIDE)) < (labels / len(shares))[:, None, None]
        images = 60 + 120 * bright[..., None] if grade else colours[labels][:, None, None]
        noise = rng.normal(0, 25, (count, SIDE, SIDE, 3))
        arrays[f"{part}_images"] = (images + noise).clip(0, 255).astype(np.uint8)
        arrays[f"{part}_labels"] = labels[:, None].astype(np.uint8)
    np.savez(path, **arrays)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shares", "grade", "metric"), [(GRADES, True, "quadratic-kappa"), (CELLS, False, "macro-auroc")]
)
def test_from_run_to_onnx(
    command: Callable[..., Answer], work: Path, shares: tuple[float, ...], grade: bool, metric: str
) -> None:
    spec = f"npz:{medmnist(work / 'med.npz', shares, grade)}"
    ran = command("run", "--dataset", spec, "--max-params", "20k", "--space", "tiny.toml", "--trials", 2, "--epochs", 2,
                  "--metric", metric, "--study", "med", "--recipe", "batch_size=32")  # fmt: skip
    assert (ran.status, ran.err) == (0, "")
    done = command("retrain", "med", "--seeds", 1, "--epochs", 6)
    assert (done.status, done.err) == (0, "")
    (best,) = (work / "results/med/weights").glob("*-seed0.safetensors")
    sent = command("export", "med", best.name.partition("-")[0], "--format", "onnx", "--output", "m.onnx", "--json")
    assert (sent.status, sent.err) == (0, "")
    for path in (best, work / "m.onnx"):
        told = json.loads(command("evaluate", path, "--json").out)
        images, truth = load_dataset(spec).test()
        logits, labels = open_runner(path)(images).double(), truth.numpy()
        answers, shown = logits.argmax(1).numpy(), logits.softmax(1).numpy()
        expected = {
            "accuracy": (answers == labels).mean(),
            "balanced-accuracy": balanced_accuracy_score(labels, answers),
            "macro-f1": f1_score(labels, answers, average="macro"),
            "macro-auroc": roc_auc_score(labels, shown, multi_class="ovr", average="macro"),
            "cohen-kappa": cohen_kappa_score(labels, answers),
            "quadratic-kappa": cohen_kappa_score(labels, answers, weights="quadratic"),
        }
        assert {name: told[name] for name in expected} == pytest.approx(expected, abs=1e-6)
        assert [*told["per_class"].values()] == pytest.approx(recall_score(labels, answers, average=None), abs=1e-6)
        assert told["metric"] == metric
        assert told[metric] > (0.3 if grade else 0.8)
