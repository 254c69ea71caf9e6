"""Fronts, ranks and areas against brute force."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch import pareto

POINTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=12)


def beats(a, b):
    return all(x <= y for x, y in zip(a, b, strict=True)) and a != b


@given(POINTS)
def test_front_is_what_nothing_beats(points):
    kept = [point for point, on in zip(points, pareto.front(points), strict=True) if on]
    expected = {p for p in points if not any(beats(q, p) for q in points)}
    assert sorted(kept) == sorted(expected)


@given(POINTS)
def test_ranks_peel_front_after_front(points):
    left, level, expected = set(points), 0, {}
    while left:
        now = {p for p in left if not any(beats(q, p) for q in left)}
        expected |= dict.fromkeys(now, level)
        left, level = left - now, level + 1
    assert pareto.ranks(points).tolist() == [expected[p] for p in points]


@given(POINTS)
def test_hypervolume_counts_unit_squares(points):
    cells = itertools.product(range(6), repeat=2)
    area = sum(any(p[0] <= x and p[1] <= y for p in points) for x, y in cells)
    assert pareto.hypervolume(points, (6, 6)) == pytest.approx(area)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_hypervolume_against_monte_carlo(seed):
    rng = np.random.default_rng(seed)
    points, darts = rng.random((8, 2)), rng.random((20_000, 2))
    hit = (points[None] <= darts[:, None]).all(-1).any(1).mean()
    assert pareto.hypervolume(points, (1, 1)) == pytest.approx(hit, abs=0.02)


def test_no_points_have_no_area():
    assert pareto.hypervolume(np.zeros((0, 2)), (1, 1)) == 0.0


@pytest.mark.parametrize("points", [[[1.0, float("nan")]], [1.0, 2.0]])
def test_bad_points_are_named(points):
    with pytest.raises(ValueError, match="points must"):
        pareto.front(points)


def test_hypervolume_wants_two_objectives():
    with pytest.raises(ValueError, match="two objectives"):
        pareto.hypervolume([[1.0, 2.0, 3.0]], (1, 1, 1))
