"""AUROC and average precision of weighted images, against scikit-learn's with `sample_weight`."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from archsearch.metrics.ranking import ranking, weighted


@given(st.integers(0, 10_000), st.integers(2, 40), st.integers(0, 2))
@settings(max_examples=80)
def test_they_are_those_of_scikit_learn(seed: int, n: int, digits: int) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.random(n).round(digits)  # few digits: many ties
    mine = generator.random(n) < 0.4
    mine[0], mine[1] = True, False
    weights = generator.integers(0, 4, size=(5, n)).astype(np.int32)
    weights[:, :2] = 1
    auroc, precision = weighted(ranking(scores, mine), weights)
    for k, counts in enumerate(weights):
        np.testing.assert_allclose(auroc[k], roc_auc_score(mine, scores, sample_weight=counts), atol=1e-9)
        np.testing.assert_allclose(precision[k], average_precision_score(mine, scores, sample_weight=counts), atol=1e-9)


def test_a_resample_of_one_kind_alone_has_neither() -> None:
    ranked = ranking(np.array([0.1, 0.9, 0.5]), np.array([True, False, True]))
    auroc, precision = weighted(ranked, np.array([[0, 3, 0], [2, 0, 1]], np.int32))
    assert np.isnan(auroc).all()
    assert np.isnan(precision).all()
