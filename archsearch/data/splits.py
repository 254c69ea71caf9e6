"""Stratified splits: which images of each class go where."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from archsearch.errors import DataError

_SMALL = 10_000
_SHARE, _ENOUGH = 0.2, 10_000


def validation_share(images: int) -> float:
    """The share of so many train images that judges candidates: a fifth, but 10,000 images at most.

    How much the number of images does for the order of candidates: benchmarks/validation_noise.py.
    """
    return min(_SHARE, _ENOUGH / images)


def split(labels: Tensor, seed: int, fraction: float | None = None) -> tuple[Tensor, Tensor]:
    """Sorted int64 indices of a train and a validation part that the seed fixes.

    labels: int64 (N,); seed: a whole number from 0; fraction: the validation part's share, by default 0.2
    under 10,000 images and 0.1 from there, as in every study that does not say (before 2026-11-27).
    Every class is divided within one image of that share, and a class of two or more images has at
    least one on each side. A bad seed or fraction: DataError.
    """
    if seed < 0:
        raise DataError(f"seed {seed}: must be a whole number from 0")
    if fraction is None:
        fraction = 0.2 if len(labels) < _SMALL else 0.1
    if not 0 < fraction < 1:
        raise DataError(f"validation fraction {fraction}: must lie between 0 and 1, such as 0.2")
    priority = np.random.default_rng(seed).permutation(len(labels))
    held_out = hold_out(labels.numpy(), fraction, priority)
    return torch.from_numpy(np.flatnonzero(~held_out)), torch.from_numpy(np.flatnonzero(held_out))


def hold_out(labels: NDArray[np.int64], fraction: float, priority: NDArray[np.int64]) -> NDArray[np.bool_]:
    """bool (N,): round(N * fraction) of N images, in each class those of least priority.

    Every class gives its share within one image; one of two or more images gives some and keeps some,
    which is the only case in which the total differs.
    """
    _, classes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    order = np.lexsort((priority, classes))
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.asarray(rank < _quotas(sizes, fraction)[classes])


def _quotas(sizes: NDArray[np.int64], fraction: float) -> NDArray[np.int64]:
    """(classes,) whole shares by largest remainders, then at least one image on each side."""
    shares = sizes * fraction
    quotas = np.floor(shares).astype(np.int64)
    by_remainder = np.argsort(quotas - shares, kind="stable")
    quotas[by_remainder[: round(shares.sum()) - quotas.sum()]] += 1
    kept: NDArray[np.int64] = np.minimum(np.maximum(quotas, np.minimum(1, sizes - 1)), sizes - 1)
    return kept
