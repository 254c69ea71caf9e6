"""What follows from how many images each class has."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight
from strategies import few

from archsearch.network.recipe import Recipe
from archsearch.training.imbalance import advice, class_weights, counts, imbalance, pos_weights, prior, treatment

SIZES = st.lists(st.integers(1, 60), min_size=2, max_size=8)


def labels_of(sizes: list[int]) -> torch.Tensor:
    return torch.repeat_interleave(torch.tensor(sizes))


@few(50)
@given(SIZES)
def test_balanced_weights_are_those_of_scikit_learn(sizes: list[int]) -> None:
    labels = labels_of(sizes)
    expected = compute_class_weight("balanced", classes=np.arange(len(sizes)), y=labels.numpy())
    found = class_weights(labels, len(sizes))
    assert found.tolist() == pytest.approx(expected, rel=1e-6)
    assert float(found[labels].mean()) == pytest.approx(1, rel=1e-5)


def test_equal_classes_weigh_exactly_one() -> None:
    assert class_weights(labels_of([7, 7, 7]), 3).tolist() == [1, 1, 1]


def test_a_class_without_images_changes_nothing_for_the_others() -> None:
    assert class_weights(torch.tensor([0, 0, 0, 2]), 3).tolist() == pytest.approx([4 / 6, 1, 2])
    assert prior(torch.tensor([0, 0, 0, 2]), 3).tolist() == pytest.approx([0.6, 0.2, 0.2])


@few(50)
@given(SIZES)
def test_the_prior_are_shares_of_images(sizes: list[int]) -> None:
    labels = labels_of(sizes)
    found = prior(labels, len(sizes))
    assert float(found.sum()) == pytest.approx(1)
    assert found.tolist() == pytest.approx([size / len(labels) for size in sizes])


def test_shares_of_images_count_as_such() -> None:
    targets = torch.tensor([[0.25, 0.75], [0.0, 1.0], [0.75, 0.25]])
    assert counts(targets, 2).tolist() == [1, 2]
    assert class_weights(targets, 2).tolist() == [1.5, 0.75]


def test_weights_of_several_labels_are_negatives_for_each_positive() -> None:
    labels = torch.zeros(200, 4, dtype=torch.bool)
    labels[:100, 0] = labels[:50, 1] = labels[:1, 2] = True
    assert pos_weights(labels).tolist() == [1, 3, 100, 1]  # 199 is more than the cap, the last class has no image
    assert pos_weights(labels, most=2).tolist() == [1, 2, 2, 1]


def test_balanced_accuracy_of_imbalanced_classes_adjusts_logits_where_nothing_else_is_set() -> None:
    labels, taken = labels_of([40, 2, 9]), {"logit_adjustment": 1.0, "label_smoothing": 0.0}
    assert treatment(labels, 4, "balanced-accuracy") == treatment(labels, 4, "balanced-accuracy", ["lr"]) == taken
    for name in ("class_weights", "balanced_batches", "logit_adjustment"):
        assert treatment(labels, 4, "balanced-accuracy", ["lr", name]) == {}
    assert treatment(labels, 4, "balanced-accuracy", ["label_smoothing"]) == {"logit_adjustment": 1.0}
    for metric in ("accuracy", "macro-f1", "macro-auroc", "recall:a"):
        assert treatment(labels, 4, metric) == {}
    assert treatment(labels_of([14, 10]), 2, "balanced-accuracy") == {}
    assert treatment(labels_of([15, 10]), 2, "balanced-accuracy") == taken
    several = torch.tensor([[True, False], [True, True], [True, False]])
    assert treatment(several, 2, "balanced-accuracy") == {}


def test_what_is_said_of_imbalance() -> None:
    labels, words = labels_of([40, 2, 9]), "classes are imbalanced 20:1:"
    assert imbalance(labels, 4) == 20
    assert advice(labels, 4, Recipe()) == [f"{words} --metric balanced-accuracy judges and trains as if they were not"]
    treated = Recipe(logit_adjustment=1)
    found = advice(labels, 4, treated, "balanced-accuracy")
    assert found == [f"{words} logit_adjustment=1; --recipe logit_adjustment=0 leaves it out"]
    whole = advice(labels, 4, Recipe(logit_adjustment=1, label_smoothing=0), "balanced-accuracy")
    assert whole == [f"{words} logit_adjustment=1, label_smoothing=0; --recipe logit_adjustment=0 leaves it out"]
    assert advice(labels, 4, Recipe(), "balanced-accuracy") == []
    assert advice(labels, 4, Recipe(), "macro-f1") == []
    assert advice(labels_of([19, 2]), 2, Recipe()) == []
    assert imbalance(torch.zeros(0, dtype=torch.int64), 2) == 1
