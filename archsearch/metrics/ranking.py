"""AUROC and average precision of resampled images, without sorting them again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from archsearch.metrics.per_class import Floats


@dataclass(frozen=True)
class Ranking:
    """Images by their score for a class, the highest first; those of one score are a group.

    `order`: int64 (N,); `positives`: int64 (P,), the class's own images in that order; of each group with some of these
    `begins` says where in `positives` they begin, `before` and `upto` how many images lie before its first and up to
    its last one.
    """

    order: NDArray[np.int64]
    positives: NDArray[np.int64]
    begins: NDArray[np.int64]
    before: NDArray[np.int64]
    upto: NDArray[np.int64]


def ranking(scores: Floats, mine: NDArray[np.bool_]) -> Ranking:
    """Of the scores (N,) for a class and whether images are of it (N,), at least one of which is."""
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1) + 1
    places = np.flatnonzero(mine[order])
    groups, begins = np.unique(np.searchsorted(ends, places, side="right"), return_index=True)
    return Ranking(order, order[places], begins, np.append(0, ends)[groups], ends[groups])


def weighted(ranked: Ranking, weights: NDArray[np.int32]) -> tuple[Floats, Floats]:
    """AUROC and average precision (R,) where each image counts `weights` (R, N) times, as scikit-learn has them.

    nan where the images are all of the class, or none is.
    """
    sums = np.cumsum(weights[:, ranked.order], axis=1, dtype=np.int32)
    upto = sums[:, ranked.upto - 1].astype(np.float64)
    before = np.where(ranked.before > 0, sums[:, ranked.before - 1], 0)
    own = np.add.reduceat(weights[:, ranked.positives], ranked.begins, axis=1, dtype=np.float64)
    own_upto = own.cumsum(1)
    mine = own_upto[:, -1]
    others = sums[:, -1] - mine
    others_here = upto - before - own
    below = others[:, None] - (upto - own_upto)
    with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0 is what is not defined
        auroc = (own * (below + others_here / 2)).sum(1) / (mine * others)
        precision = np.where(own > 0, own_upto / upto, 0)
        return auroc, np.where(others > 0, (own * precision).sum(1) / mine, np.nan)
