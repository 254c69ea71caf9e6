"""Metrics against scikit-learn's on random and made labels, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from torch import Tensor

from archsearch.errors import InputError
from archsearch.metrics import NAMES, Metric, every_metric, is_multilabel, metric_of, require_defined

PLAIN = [name for name in NAMES if not name.endswith("CLASS")]


def drawn(seed: int, classes: int, n: int = 60) -> tuple[Tensor, Tensor, list[str]]:
    generator = torch.Generator().manual_seed(seed)
    rest = torch.randint(classes, (n - classes,), generator=generator)
    labels = torch.cat([torch.arange(classes), rest])
    return torch.randn(n, classes, generator=generator), labels, [f"c{i}" for i in range(classes)]


@given(st.integers(0, 10_000), st.integers(2, 7))
@settings(max_examples=40)
def test_one_label_is_scored_as_scikit_learn_does(seed: int, classes: int) -> None:
    logits, labels, names = drawn(seed, classes)
    shares, y, said = logits.double().softmax(1).numpy(), labels.numpy(), logits.argmax(1).numpy()
    one_hot = np.eye(classes)[y]
    expected = {
        "accuracy": sk.accuracy_score(y, said),
        "balanced-accuracy": sk.balanced_accuracy_score(y, said),
        "macro-f1": sk.f1_score(y, said, average="macro"),
        "macro-auroc": np.mean([sk.roc_auc_score(one_hot[:, i], shares[:, i]) for i in range(classes)]),
        "average-precision": np.mean([sk.average_precision_score(one_hot[:, i], shares[:, i]) for i in range(classes)]),
        "cohen-kappa": sk.cohen_kappa_score(y, said),
        "quadratic-kappa": sk.cohen_kappa_score(y, said, weights="quadratic"),
    }
    assert every_metric(logits, labels, names) == pytest.approx(expected, abs=1e-9)
    for i, name in enumerate(names):
        found = metric_of(f"recall:{name}", names)(logits, labels)
        assert found == pytest.approx(sk.recall_score(y, said, labels=[i], average="macro", zero_division=0))


@given(st.integers(0, 10_000), st.integers(1, 6))
@settings(max_examples=40)
def test_several_labels_are_scored_as_scikit_learn_does(seed: int, classes: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.rand(50, classes, generator=generator) < 0.3
    labels[0], labels[1] = True, False
    logits = torch.randn(50, classes, generator=generator)
    names, y, said = [f"c{i}" for i in range(classes)], labels.numpy(), (logits > 0).numpy()
    shares = logits.double().sigmoid().numpy()
    columns = range(classes)
    expected = {
        "accuracy": (y == said).mean(),
        "balanced-accuracy": np.mean([sk.balanced_accuracy_score(y[:, i], said[:, i]) for i in columns]),
        "macro-f1": np.mean([sk.f1_score(y[:, i], said[:, i], zero_division=0) for i in columns]),
        "macro-auroc": np.mean([sk.roc_auc_score(y[:, i], shares[:, i]) for i in columns]),
        "average-precision": np.mean([sk.average_precision_score(y[:, i], shares[:, i]) for i in columns]),
    }
    assert is_multilabel(labels)
    assert every_metric(logits, labels, names) == pytest.approx(expected, abs=1e-9)


def test_accuracy_needs_no_class() -> None:
    logits, labels = torch.eye(3)[torch.zeros(4, dtype=torch.long)], torch.zeros(4, dtype=torch.long)
    assert metric_of("accuracy", "abc")(logits, labels) == 1.0


@pytest.mark.parametrize("name", [*PLAIN[1:], "recall:b"])
def test_a_class_that_is_missing_leaves_most_metrics_undefined(name: str) -> None:
    labels = torch.zeros(5, dtype=torch.long)
    with pytest.raises(InputError, match="not defined") as caught:
        require_defined(metric_of(name, ["a", "b"]), labels, "the validation images")
    assert "the validation images" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_recall_looks_at_its_own_class_alone() -> None:
    require_defined(metric_of("recall:a", ["a", "b"]), torch.zeros(5, dtype=torch.long), "these")


@pytest.mark.parametrize("name", ["macro-auroc", "average-precision", "balanced-accuracy"])
def test_a_label_that_every_image_has_cannot_be_ranked(name: str) -> None:
    labels = torch.ones(5, 2, dtype=torch.bool)
    labels[0, 1] = False
    with pytest.raises(InputError, match="all of these images are of class 'a'"):
        require_defined(metric_of(name, ["a", "b"], several=True), labels, "these images")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("f1", "must be one of accuracy, balanced-accuracy"),
        ("recall:z", "there is no class 'z': it must be one of 'a', 'b'"),
    ],
)
def test_what_is_no_metric(name: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        metric_of(name, ["a", "b"])


@pytest.mark.parametrize("name", ["cohen-kappa", "quadratic-kappa"])
def test_kappa_is_of_one_label(name: str) -> None:
    with pytest.raises(InputError, match="several labels: use macro-auroc"):
        metric_of(name, ["a", "b"], several=True)


def test_none_is_told_for_what_is_not_defined() -> None:
    logits, labels = torch.randn(6, 3), torch.tensor([0, 1, 0, 1, 0, 1])
    found = every_metric(logits, labels, "abc")
    assert [name for name, value in found.items() if value is None] == [
        "balanced-accuracy", "macro-f1", "macro-auroc", "average-precision",
    ]  # fmt: skip


def test_words_stand_on_an_axis() -> None:
    assert [metric_of(name, "ab").words for name in ("macro-f1", "recall:a")] == ["macro F1", "recall of a"]
    assert isinstance(metric_of("accuracy", "ab"), Metric)
