"""Pareto fronts on plain arrays.

Convention of this module: every objective is minimised. Negate what is to be maximised.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def _points(values: ArrayLike) -> NDArray[np.float64]:
    points = np.asarray(values, dtype=np.float64)
    if points.ndim != 2:
        raise ValueError(f"points must have shape (n, objectives), not {points.shape}")
    if np.isnan(points).any():
        raise ValueError("points must not contain NaN")
    return points


def dominated_by(values: ArrayLike) -> NDArray[np.bool_]:
    """Who dominates whom.

    Args:
        values: (n, m), minimised.

    Returns:
        (n, n) bool: entry [i, j] says that j dominates i (nowhere worse, somewhere better).
    """
    points = _points(values)
    no_worse = (points[None, :, :] <= points[:, None, :]).all(-1)
    better = (points[None, :, :] < points[:, None, :]).any(-1)
    return np.asarray(no_worse & better)


def front(values: ArrayLike) -> NDArray[np.bool_]:
    """Mask of the non-dominated points; of equal points only the first is kept.

    Args:
        values: (n, m), minimised.

    Returns:
        (n,) bool.
    """
    points = _points(values)
    if points.shape[1] == 2:
        return _front_of_two(points)
    _, first = np.unique(points, axis=0, return_index=True)
    keep = np.zeros(len(points), dtype=bool)
    keep[first] = True
    return keep & ~dominated_by(points).any(1)


def _front_of_two(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The same in n log n: by the first objective, a point stays that is below all before it in the second."""
    order = np.lexsort((points[:, 1], points[:, 0]))
    second = points[order, 1]
    best = np.minimum.accumulate(second)
    keep = np.zeros(len(points), dtype=bool)
    keep[order] = np.append(True, second[1:] < best[:-1])[: len(points)]
    return keep


def ranks(values: ArrayLike) -> NDArray[np.int64]:
    """Non-dominated rank of every point: 0 is the front, 1 the front of the rest, and so on.

    Equal points share a rank. Source: Goldberg 1989; Deb et al. 2002 (NSGA-II).

    Args:
        values: (n, m), minimised.

    Returns:
        (n,) int64.
    """
    worse_than = dominated_by(values)
    rank = np.full(len(worse_than), -1, dtype=np.int64)
    level = 0
    while (rank < 0).any():
        open_ = rank < 0
        now = open_ & ~(worse_than & open_[None, :]).any(1)
        rank[now] = level
        level += 1
    return rank


def hypervolume(values: ArrayLike, reference: ArrayLike) -> float:
    """Area between the front of two-objective points and a reference point.

    Points that are not strictly better than the reference in both objectives add nothing.

    Args:
        values: (n, 2), minimised.
        reference: (2,), the worst corner.

    Returns:
        The dominated area, in the product of the two units.

    Raises:
        ValueError: points of another number of objectives, or NaN.
    """
    points = _points(values)
    corner = np.asarray(reference, dtype=np.float64)
    if points.shape[1] != 2 or corner.shape != (2,):
        raise ValueError(f"hypervolume needs two objectives, not {points.shape[1]}")
    inside = points[(points < corner).all(1)]
    inside = inside[np.argsort(inside[:, 0])]
    widths = np.diff(inside[:, 0], append=corner[0])
    heights = corner[1] - np.minimum.accumulate(inside[:, 1])
    return float((widths * heights).sum())
