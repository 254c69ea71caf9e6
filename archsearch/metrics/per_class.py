"""Precision, recall and F1 per class, and the figures that follow from the same counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Hits:
    """Counts per class, (..., classes): in front stand as many resamples as there are.

    `right`: images of the class that were said to be of it; `said`: all that were said to be; `support`: all that are.
    `n`: images. `squares`: of one label per image, sum of squared distances between label and answer, (...);
    None: an image may have several labels.
    """

    right: Ints
    said: Ints
    support: Ints
    n: int
    squares: Ints | None = None

    @property
    def several(self) -> bool:
        """Whether an image may have several labels."""
        return self.squares is None


@dataclass(frozen=True)
class Rates:
    """Shares per class, (..., classes), as scikit-learn's `precision_recall_fscore_support`; nan where undefined."""

    precision: Floats
    recall: Floats
    f1: Floats


def hits_of_matrix(confusion: Ints) -> Hits:
    """Of a confusion matrix (classes, classes): row i has the images of class i by what was said."""
    places = np.arange(len(confusion))
    squares = ((places[:, None] - places) ** 2 * confusion).sum()
    return Hits(
        confusion.diagonal().copy(), confusion.sum(0), confusion.sum(1), int(confusion.sum()), np.asarray(squares)
    )


def hits_of_several(answers: NDArray[np.bool_], labels: NDArray[np.bool_]) -> Hits:
    """Of what is said of each class, and what is so: bool (N, classes)."""
    return Hits((answers & labels).sum(0), answers.sum(0), labels.sum(0), len(labels))


def rates(hits: Hits) -> Rates:
    """The shares; precision is undefined where a class is never said, recall where no image has it, F1 where both."""
    return Rates(
        _share(hits.right, hits.said),
        _share(hits.right, hits.support),
        _share(2 * hits.right, hits.said + hits.support),
    )


def accuracies(hits: Hits) -> Floats:
    """Per class: of one label per image the recall, of several the share of right yes and no."""
    if not hits.several:
        return rates(hits).recall
    return 1 - (hits.said + hits.support - 2 * hits.right) / hits.n


def figures(hits: Hits) -> dict[str, Floats]:
    """The metrics of `every_metric` that follow from the counts, by name, each (...).

    A class that has no image, as in a resample, is left out of the means.
    """
    found, recall = rates(hits), rates(hits).recall
    if hits.several:
        others = hits.n - hits.support
        recall = (recall + _share(others - (hits.said - hits.right), others)) / 2
        accuracy = accuracies(hits).mean(-1)
    else:
        accuracy = hits.right.sum(-1) / hits.n
    named = {
        "accuracy": accuracy,
        "balanced-accuracy": mean(recall),
        "macro-f1": mean(np.where(hits.support > 0, found.f1, np.nan)),
    }
    if hits.squares is None:
        return named
    return {**named, "cohen-kappa": _kappa(hits), "quadratic-kappa": _quadratic(hits, hits.squares)}


def mean(values: Floats) -> Floats:
    """Over the last axis, of what is defined; nan where nothing is."""
    known = ~np.isnan(values)
    return _share(np.where(known, values, 0).sum(-1), known.sum(-1))


def _kappa(hits: Hits) -> Floats:
    by_chance = (hits.said / hits.n * hits.support / hits.n).sum(-1)
    return _share(hits.right.sum(-1) / hits.n - by_chance, 1 - by_chance)


def _quadratic(hits: Hits, squares: Ints) -> Floats:
    """1 - distance seen / distance by chance, which follows from first and second moments of labels and answers."""
    places = np.arange(hits.said.shape[-1], dtype=np.float64)
    first, second = ((counts * places).sum(-1) / hits.n for counts in (hits.said, hits.support))
    moments = ((hits.said + hits.support) * places**2).sum(-1) / hits.n
    by_chance = moments - 2 * first * second
    return 1 - _share(squares / hits.n, by_chance)


def _share(part: NDArray[np.generic], whole: NDArray[np.generic]) -> Floats:
    """part / whole; nan where whole is 0."""
    known = np.asarray(whole, np.float64)
    found = np.full(np.broadcast(part, known).shape, np.nan)
    np.divide(part, known, out=found, where=known > 0)
    return found
