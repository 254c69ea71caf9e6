"""Intervals: they hold the figure, are as wide as they should be, and are the same each time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix

from archsearch.metrics.bootstrap import (
    RESAMPLES,
    affordable,
    image_weights,
    interval,
    of_rates,
    of_share,
    resampled_matrix,
    resampled_several,
    wilson,
)
from archsearch.metrics.per_class import figures, hits_of_matrix, hits_of_several, rates


@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(1, 40))
@settings(max_examples=50)
def test_intervals_hold_the_figure(seed: int, classes: int, n: int) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.integers(classes, size=n)
    answers = np.where(generator.random(n) < 0.6, labels, generator.integers(classes, size=n))
    matrix = confusion_matrix(labels, answers, labels=range(classes))
    hits, drawn = hits_of_matrix(matrix), resampled_matrix(matrix, 200)
    for name, value in figures(hits).items():
        span = interval(float(value), figures(drawn)[name])
        assert span is None or span[0] <= value <= span[1]
    found = rates(hits)
    for name, spans in of_rates(hits, drawn).items():
        for value, span in zip(getattr(found, name), spans, strict=True):
            assert (span is None) == (math.isnan(value))
            assert span is None or 0 <= span[0] <= value <= span[1] <= 1
            assert span is None or span[0] < span[1]


@pytest.mark.parametrize(("right", "n"), [(7, 7), (0, 7), (1, 1), (300, 300), (3, 7)])
def test_wilsons_interval(right: int, n: int) -> None:
    wanted = binomtest(right, n).proportion_ci(0.95, "wilson")
    assert wilson(right, n) == pytest.approx((wanted.low, wanted.high), abs=1e-6)


def test_what_all_resamples_agree_on() -> None:
    same = np.ones(10)
    assert interval(1.0, same) is None
    assert interval(1 / 3, np.array([1 / 3] * 999 + [0.5])) is None
    assert of_share(7, 7, same) == wilson(7, 7)
    assert of_share(0, 0, same) is None
    assert interval(math.nan, np.arange(3.0)) is None


def test_six_of_404_images_are_within_the_interval() -> None:
    low, high = interval(380 / 404, figures(resampled_matrix(np.array([[200, 12], [12, 180]])))["accuracy"]) or (0, 0)
    half = 1.96 * math.sqrt(380 * 24 / 404**3)
    assert (low, high) == pytest.approx((380 / 404 - half, 380 / 404 + half), abs=0.005)
    assert low < 374 / 404 < 386 / 404 < high


def test_cells_are_drawn_as_images_are() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(4, size=150)
    answers = np.where(generator.random(150) < 0.7, labels, generator.integers(4, size=150))
    matrix = confusion_matrix(labels, answers, labels=range(4))
    drawn = resampled_matrix(matrix)
    assert (drawn.support.sum(1) == 150).all()
    assert (drawn.said.sum(1) == 150).all()
    assert (drawn.right <= np.minimum(drawn.said, drawn.support)).all()
    places = generator.integers(150, size=(1000, 150))
    images = [hits_of_matrix(confusion_matrix(labels[at], answers[at], labels=range(4))) for at in places]
    for name, draws in figures(drawn).items():
        theirs = np.array([float(figures(one)[name]) for one in images])
        assert np.percentile(draws, [2.5, 50, 97.5]) == pytest.approx(np.percentile(theirs, [2.5, 50, 97.5]), abs=0.025)


def test_several_labels_are_drawn_by_images() -> None:
    generator = np.random.default_rng(1)
    labels, answers = generator.random((30, 3)) < 0.4, generator.random((30, 3)) < 0.5
    drawn = resampled_several(answers, labels, 50)
    weights = np.concatenate(list(image_weights(30, 50)))
    for k, counts in enumerate(weights):
        rows = np.repeat(np.arange(30), counts)
        one = hits_of_several(answers[rows], labels[rows])
        np.testing.assert_array_equal(drawn.right[k], one.right)
        np.testing.assert_array_equal(drawn.said[k], one.said)
        np.testing.assert_array_equal(drawn.support[k], one.support)


@pytest.mark.parametrize("n", [1, 7, 6_000, 5_000_000])
def test_each_resample_has_as_many_images(n: int) -> None:
    number = 3 if n > 10_000 else 1000
    chunks = list(image_weights(n, number))
    assert sum(map(len, chunks)) == number
    assert all((chunk.sum(1) == n).all() for chunk in chunks)


def test_it_is_the_same_each_time() -> None:
    matrix = np.array([[30, 4], [2, 9]])
    assert all(
        np.array_equal(one, other)
        for one, other in zip(
            figures(resampled_matrix(matrix)).values(), figures(resampled_matrix(matrix)).values(), strict=True
        )
    )


def test_an_interval_holds_the_truth_nineteen_times_of_twenty() -> None:
    generator, held = np.random.default_rng(5), 0
    for _ in range(300):
        right = int(generator.binomial(120, 0.85))
        matrix = np.array([[right, 120 - right], [0, 0]])
        low, high = of_share(right, 120, figures(resampled_matrix(matrix, 400))["accuracy"]) or (0, 0)
        held += low <= 0.85 <= high
    assert 0.9 <= held / 300 <= 0.99


def test_large_sets_get_fewer_resamples_and_huge_ones_none() -> None:
    assert affordable(100_000) == RESAMPLES
    assert affordable(1_000_000) == 200
    assert affordable(50_000_000) == 0
