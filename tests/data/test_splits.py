"""Splits of images with several labels: laws of iterative stratification."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch.data import split
from archsearch.data.splits import hold_out, hold_out_several

few = settings(max_examples=60)


@st.composite
def flags(draw: st.DrawFn) -> np.ndarray:
    """bool (N, classes), with rare labels, and images without any."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    shares = rng.beta(0.5, 4, draw(st.integers(2, 12)))
    return rng.random((draw(st.integers(2, 300)), len(shares))) < shares


@few
@given(flags(), st.integers(0, 100), st.floats(0.05, 0.5))
def test_every_image_is_on_one_side_and_the_seed_decides(labels: np.ndarray, seed: int, fraction: float) -> None:
    train, validation = split(torch.from_numpy(labels), seed, fraction)
    assert sorted([*train.tolist(), *validation.tolist()]) == list(range(len(labels)))
    again = split(torch.from_numpy(labels), seed, fraction)
    assert torch.equal(train, again[0])


def test_labels_are_nearer_to_their_shares_than_by_a_plain_draw() -> None:
    """No law for each set: labels pull at each other where an image has many. So these sets are always the same."""
    rng = np.random.default_rng(0)
    ours, plain = list[float](), list[float]()
    for _ in range(200):
        shares = rng.beta(0.5, 4, rng.integers(2, 13))
        labels = rng.random((rng.integers(30, 301), len(shares))) < shares
        priority = rng.permutation(len(labels))
        held = hold_out(labels, 0.2, priority)
        for side, missed in ((held, ours), (priority < round(0.2 * len(labels)), plain)):
            missed += np.abs(labels[side].sum(0) - 0.2 * labels.sum(0)).tolist()
        assert abs(held.sum() - 0.2 * len(labels)) <= 1 + 0.06 * len(labels)
    assert np.mean(ours) < np.mean(plain) / 3
    assert max(ours) < max(plain) / 3


def test_rare_labels_are_on_both_sides() -> None:
    rng = np.random.default_rng(0)
    labels = rng.random((1000, 6)) < [0.3, 0.2, 0.1, 0.05, 0, 0]
    labels[[3, 500], 4] = labels[[7, 600, 900], 5] = True
    for seed in range(20):
        held = hold_out_several(labels, 0.2, np.random.default_rng(seed).permutation(1000))
        assert held.sum() == 200
        assert (labels[held].sum(0)[4:] == 1).all()
        assert labels[held].sum(0)[:4] == pytest.approx(0.2 * labels.sum(0)[:4], abs=1)


def test_the_order_of_the_file_does_not_matter() -> None:
    """The same images are held out where each keeps its priority."""
    rng = np.random.default_rng(1)
    labels, priority, moved = rng.random((200, 5)) < 0.2, rng.permutation(200), rng.permutation(200)
    held = hold_out_several(labels, 0.2, priority)
    assert (hold_out_several(labels[moved], 0.2, priority[moved]) == held[moved]).all()


def test_without_any_label_a_share_is_drawn() -> None:
    held = hold_out_several(np.zeros((50, 3), bool), 0.2, np.arange(50))
    assert held.nonzero()[0].tolist() == list(range(10))
