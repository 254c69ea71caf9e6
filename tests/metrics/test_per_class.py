"""Shares per class and what follows from the counts, against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from archsearch.metrics import every_metric
from archsearch.metrics.per_class import Hits, accuracies, figures, hits_of_matrix, hits_of_several, rates


def labelled(seed: int, classes: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and answers; some classes may be in neither."""
    generator = np.random.default_rng(seed)
    return generator.integers(classes, size=n), generator.integers(max(1, classes - 1), size=n)


@given(st.integers(0, 10_000), st.integers(2, 8), st.integers(1, 30))
@settings(max_examples=60)
def test_shares_are_those_of_scikit_learn(seed: int, classes: int, n: int) -> None:
    labels, answers = labelled(seed, classes, n)
    wanted = precision_recall_fscore_support(labels, answers, labels=range(classes), zero_division=np.nan)
    hits = hits_of_matrix(confusion_matrix(labels, answers, labels=range(classes)))
    found = rates(hits)
    for mine, theirs in zip((found.precision, found.recall, found.f1, hits.support), wanted, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-12)
    np.testing.assert_array_equal(accuracies(hits), found.recall)


@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 30))
@settings(max_examples=60)
def test_shares_of_several_labels_too(seed: int, classes: int, n: int) -> None:
    generator = np.random.default_rng(seed)
    labels, answers = generator.random((n, classes)) < 0.3, generator.random((n, classes)) < 0.4
    hits = hits_of_several(answers, labels)
    found = rates(hits)
    for k in range(classes):
        *shares, _ = precision_recall_fscore_support(
            labels[:, k], answers[:, k], average="binary", zero_division=np.nan
        )
        np.testing.assert_allclose([found.precision[k], found.recall[k], found.f1[k]], shares, atol=1e-12)
    np.testing.assert_allclose(accuracies(hits), (labels == answers).mean(0), atol=1e-12)


@given(st.integers(0, 10_000), st.integers(2, 7))
@settings(max_examples=40)
def test_metrics_from_counts_are_those_from_logits(seed: int, classes: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(50, classes, generator=generator)
    labels = torch.cat([torch.arange(classes), torch.randint(classes, (50 - classes,), generator=generator)])
    matrix = confusion_matrix(labels, logits.argmax(1), labels=range(classes))
    wanted = every_metric(logits, labels, [f"c{i}" for i in range(classes)])
    found = {name: float(value) for name, value in figures(hits_of_matrix(matrix)).items()}
    assert found == pytest.approx({name: wanted[name] for name in found}, abs=1e-12)
    several = torch.rand(50, classes, generator=generator) < 0.4
    several[0], several[1] = True, False
    wanted = every_metric(logits, several, [f"c{i}" for i in range(classes)])
    found = {
        name: float(value) for name, value in figures(hits_of_several((logits > 0).numpy(), several.numpy())).items()
    }
    assert found == pytest.approx({name: wanted[name] for name in found}, abs=1e-12)
    assert "cohen-kappa" not in found


def test_resamples_in_front_change_nothing() -> None:
    matrices = [np.array(m) for m in ([[3, 1], [0, 4]], [[2, 2], [1, 3]])]
    each = [hits_of_matrix(matrix) for matrix in matrices]
    both = Hits(
        *(np.stack([getattr(one, name) for one in each]) for name in ("right", "said", "support")),
        8,
        np.stack([one.squares for one in each if one.squares is not None]),
    )
    for name, values in figures(both).items():
        np.testing.assert_allclose(values, [figures(one)[name] for one in each])


def test_a_class_without_images_is_left_out_of_the_means() -> None:
    found = figures(hits_of_matrix(np.array([[3, 1, 0], [0, 0, 0], [1, 0, 1]])))
    assert float(found["balanced-accuracy"]) == pytest.approx((0.75 + 0.5) / 2)
    assert float(found["macro-f1"]) == pytest.approx((6 / 8 + 2 / 3) / 2)
