"""Stratified splits: which images of each class go where, also where an image may have several."""

from __future__ import annotations

from collections.abc import Iterable

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

    labels: int64 (N,) or bool (N, classes); seed: a whole number from 0; fraction: the validation part's share, by
    default 0.2 under 10,000 images and 0.1 from there, as in every study that does not say (before 2026-11-27).
    Every class is divided within one image of that share, and a class of two or more images has at
    least one on each side; of several labels an image as nearly so as `hold_out_several` finds it.
    A bad seed or fraction: DataError.
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


Labels = NDArray[np.int64] | NDArray[np.bool_]
"""int64 (N,), or bool (N, classes) where an image may have several."""


def hold_out(labels: Labels, fraction: float, priority: NDArray[np.int64]) -> NDArray[np.bool_]:
    """bool (N,): round(N * fraction) of N images, in each class those of least priority.

    Every class gives its share within one image; one of two or more images gives some and keeps some,
    which is the only case in which the total differs. Several labels an image: see `hold_out_several`.
    """
    if labels.ndim == 2:
        return hold_out_several(labels.astype(np.bool_), fraction, priority)
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


def hold_out_several(labels: NDArray[np.bool_], fraction: float, priority: NDArray[np.int64]) -> NDArray[np.bool_]:
    """bool (N,): about N * fraction of N images with several labels each, bool (N, classes), by rare labels first.

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011, doi 10.1007/978-3-642-23808-6_10), with ties
    by priority: the images of the label with the fewest left go where that label is wanted most, then where images
    are. A label of two or more images wants one on each side, which no other label may allow. Images without a
    label come last and make up for the total.
    """
    sizes = labels.sum(0)
    given = _quotas(sizes, fraction) if len(sizes) else sizes
    wanted = np.stack([sizes - given, given]).astype(np.int64)  # train, held out
    room = np.array([len(labels) - round(len(labels) * fraction), round(len(labels) * fraction)])
    held, left = np.zeros(len(labels), np.bool_), np.ones(len(labels), np.bool_)
    remaining = sizes.copy()
    order = np.argsort(priority, kind="stable")
    while (remaining > 0).any():
        label = int(np.where(remaining > 0, remaining, len(labels) + 1).argmin())
        mine = order[left[order] & labels[order, label]]
        _place(labels, mine, label, (wanted, room), held)
        left[mine] = False
        remaining = remaining - labels[mine].sum(0)
    rest = order[left[order]]
    held[rest[: max(0, int(room[1]))]] = True
    return held


def _place(
    labels: NDArray[np.bool_],
    images: Iterable[int],
    label: int,
    free: tuple[NDArray[np.int64], NDArray[np.int64]],
    held: NDArray[np.bool_],
) -> None:
    """Put the images of one label where it is wanted most; what is wanted and the room left are changed."""
    wanted, room = free
    for image in images:
        train, out = wanted[0, label], wanted[1, label]
        side = int(out > train or (out == train and room[1] > room[0]))
        held[image] = side == 1
        wanted[side] -= labels[image]
        room[side] -= 1
