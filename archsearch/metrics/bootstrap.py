"""What a figure of so few images is worth: 95% intervals by resampling the images.

The percentile bootstrap (Efron 1979), 1,000 resamples, one fixed seed. It says nothing where all resamples agree, as of
7 right ones of 7. There the interval of a share is Wilson's (1927), and that of another figure is None.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from archsearch.metrics.per_class import Floats, Hits, Ints, Rates, rates

RESAMPLES, SEED = 1000, 0
_OUTSIDE = (2.5, 97.5)
_Z = 1.959964
_CHUNK = 1_000_000
_LEAST = 100
_SAME = 1e-9
Interval = tuple[float, float] | None


def interval(figure: float, draws: Floats) -> Interval:
    """The middle 95% of the resampled values (R,), widened to hold the figure; None where they are one value."""
    known = draws[~np.isnan(draws)]
    if math.isnan(figure) or not len(known):
        return None
    low, high = (float(bound) for bound in np.percentile(known, _OUTSIDE))
    return (min(low, figure), max(high, figure)) if high - low > _SAME else None


def of_share(right: int, n: int, draws: Floats) -> Interval:
    """The interval of right / n; Wilson's where none or all are right, None where n is 0."""
    if not n:
        return None
    if 0 < right < n:
        return interval(right / n, draws)
    return wilson(right, n)


def wilson(right: int, n: int) -> tuple[float, float]:
    """Wilson's score interval of right / n, 95%; n is at least 1."""
    share, z = right / n, _Z * _Z / n
    middle, half = share + z / 2, math.sqrt(z * share * (1 - share) + z * z / 4)
    return max(0.0, min(share, (middle - half) / (1 + z))), min(1.0, max(share, (middle + half) / (1 + z)))


def of_rates(hits: Hits, resampled: Hits) -> dict[str, list[Interval]]:
    """Per class the intervals of `precision`, `recall` and `f1`.

    F1 is no share, but grows with that of the right ones among those that are or were said to be of the class.
    """
    drawn: Rates = rates(resampled)
    either = hits.said + hits.support - hits.right
    whole = {"precision": hits.said, "recall": hits.support, "f1": either}
    found: dict[str, list[Interval]] = {name: [] for name in whole}
    for name, totals in whole.items():
        draws: Floats = getattr(drawn, name)
        one = _of_f1 if name == "f1" else of_share
        counts = zip(hits.right.tolist(), totals.tolist(), strict=True)
        found[name] = [one(right, n, draws[:, k]) for k, (right, n) in enumerate(counts)]
    return found


def _of_f1(right: int, either: int, draws: Floats) -> Interval:
    """Of 2 s / (1 + s), where s is right / either."""
    if 0 < right < either or not either:
        return interval(2 * right / (either + right), draws) if either else None
    low, high = wilson(right, either)
    return 2 * low / (1 + low), 2 * high / (1 + high)


def resampled_matrix(confusion: Ints, resamples: int = RESAMPLES) -> Hits:
    """The counts of a confusion matrix (classes, classes) of resampled images, by multinomial draws of its cells."""
    size, n = len(confusion), int(confusion.sum())
    rows, columns = np.nonzero(confusion)  # sorted by rows
    drawn = np.random.default_rng(SEED).multinomial(n, confusion[rows, columns] / n, resamples)
    by_column = np.argsort(columns, kind="stable")
    same = rows == columns
    right = np.zeros((resamples, size), np.int64)
    right[:, rows[same]] = drawn[:, same]
    return Hits(
        right,
        _sums(drawn[:, by_column], columns[by_column], size),
        _sums(drawn, rows, size),
        n,
        drawn @ (rows - columns) ** 2,
    )


def _sums(drawn: Ints, groups: Ints, size: int) -> Ints:
    """Of columns (R, k) by their sorted groups: (R, size)."""
    found = np.zeros((len(drawn), size), np.int64)
    begins = np.flatnonzero(np.diff(groups, prepend=-1))
    found[:, groups[begins]] = np.add.reduceat(drawn, begins, axis=1)
    return found


def resampled_several(answers: NDArray[np.bool_], labels: NDArray[np.bool_], resamples: int = RESAMPLES) -> Hits:
    """The counts of `hits_of_several` of resampled images."""
    parts = [answers & labels, answers, labels]
    drawn = [[chunk @ part.astype(np.float32) for part in parts] for chunk in image_weights(len(labels), resamples)]
    right, said, support = (np.concatenate([one[i] for one in drawn]).round().astype(np.int64) for i in range(3))
    return Hits(right, said, support, len(labels))


def affordable(cells: int, budget: float = 2e8) -> int:
    """How many resamples of so many images x classes are taken where each takes a pass over them; 0 for too many."""
    found = int(min(RESAMPLES, budget // max(cells, 1)))
    return found if found >= _LEAST else 0


def image_weights(n: int, resamples: int = RESAMPLES) -> Iterator[NDArray[np.int32]]:
    """How often each of n images is in each resample, (r, n), some resamples at a time."""
    generator = np.random.default_rng(SEED)
    size = max(1, _CHUNK // n)
    for begin in range(0, resamples, size):
        number = min(size, resamples - begin)
        chosen = generator.integers(n, size=(number, n)) + np.arange(number)[:, None] * n
        yield np.bincount(chosen.ravel(), minlength=number * n).reshape(number, n).astype(np.int32)
