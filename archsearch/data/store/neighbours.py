"""Labels that the nearest images contradict."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from archsearch.data.pixels import Pixels

_SIDE = 16
_NEAREST = 5
_RELIABLE = 0.97
_MOST = 20_000  # images that are compared with each other
_ROWS = 1024


def features(images: Pixels, side: int = _SIDE) -> Tensor:
    """float32 (N, D): small copies of the images, each of mean 0 and length 1."""
    found = torch.cat([_small(chunk, side) for chunk in images.chunks()])
    return functional.normalize(found - found.mean(1, keepdim=True))


def _small(images: Tensor, side: int) -> Tensor:
    return functional.interpolate(images.float(), size=(side, side), mode="area").flatten(1)


def doubtful(images: Pixels, labels: Tensor, most: int = 20) -> list[tuple[int, int]] | None:
    """Positions of images whose nearest five are all of one other class, with that class; closest first.

    None where that tells nothing: where of the images whose nearest five agree over 3% have another label, as with
    photos that differ more by their background; for more than 20,000 images, which take too long; and for a handful.
    """
    if not _NEAREST < len(images) <= _MOST:
        return None
    found = features(images)
    doubts: list[tuple[float, int, int]] = []
    agree = 0
    for begin in range(0, len(found), _ROWS):
        near = found[begin : begin + _ROWS] @ found.T
        rows = torch.arange(len(near))
        near[rows, begin + rows] = -2
        close, which = near.topk(_NEAREST)
        classes = labels[which]
        alike = (classes == classes[:, :1]).all(1)
        other = alike & (classes[:, 0] != labels[begin : begin + len(near)])
        agree += int(alike.sum())
        doubts += [(-float(close[n].mean()), begin + int(n), int(classes[n, 0])) for n in other.nonzero().view(-1)]
    if len(doubts) > (1 - _RELIABLE) * agree:
        return None
    return [(number, other) for _, number, other in sorted(doubts)[:most]]
