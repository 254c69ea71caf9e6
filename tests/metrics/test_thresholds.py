"""From which probability on a label is said."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from archsearch.metrics.thresholds import best_thresholds, said, thresholds_in


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(2, 60), st.integers(1, 8))
def test_no_other_threshold_has_a_higher_f1(seed: int, count: int, levels: int) -> None:
    """Also where many images have one probability."""
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.integers(-levels, levels + 1, (count, 3)) / 2.0)
    labels = torch.from_numpy(rng.random((count, 3)) < 0.4)
    found = said(logits, best_thresholds(logits, labels))
    for n in range(3):
        mine, score = labels[:, n].numpy(), logits[:, n].numpy()
        others = [f1_score(mine, score > cut, zero_division=0.0) for cut in [-99, *np.unique(score)]]
        assert f1_score(mine, found[:, n].numpy(), zero_division=0.0) == pytest.approx(max(others))


def test_a_label_that_no_image_has_keeps_one_half() -> None:
    labels = torch.tensor([[True, False], [False, False]])
    found = best_thresholds(torch.tensor([[2.0, 1.0], [-2.0, 3.0]]), labels)
    assert found[1] == 0.5
    assert 1 / (1 + np.exp(2)) < found[0] < 1 / (1 + np.exp(-2))


def test_without_thresholds_a_label_is_said_where_it_is_likelier_than_not() -> None:
    assert said(torch.tensor([[-1.0, 0.0, 1.0]])).tolist() == [[False, False, True]]


@pytest.mark.parametrize(
    ("info", "wanted"),
    [
        ({}, None),
        ({"labels": "several"}, (0.5, 0.5)),
        ({"labels": "several", "thresholds": [0.25, 1]}, (0.25, 1.0)),
        ({"labels": "several", "thresholds": [0.25]}, (0.5, 0.5)),
        ({"labels": "several", "thresholds": [0.25, "x"]}, (0.5, 0.5)),
        ({"labels": "several", "thresholds": [0.25, 7]}, (0.5, 0.5)),
        ({"thresholds": [0.25, 0.5]}, None),
    ],
)
def test_what_a_file_says(info: dict[str, object], wanted: tuple[float, ...] | None) -> None:
    assert thresholds_in(info, 2) == wanted
