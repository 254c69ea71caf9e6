"""Convolutions in groups with their channels shuffled between them (Zhang et al. 2017, arXiv 1707.01083)."""

from __future__ import annotations

import math

from archsearch.errors import SpecError
from archsearch.network.blocks.common import conv, gated, shortcut
from archsearch.network.blocks.registry import block
from archsearch.network.layers import Act, Expr, Shuffle, add, seq


@block("shuffle")
def shuffle(
    c_in: int,
    width: int,
    stride: int,
    *,
    groups: int = 4,
    kernel: int = 3,
    dilation: int = 1,
    skip: str = "project",
    se: float = 0.0,
    act: str = "relu",
    norm: bool = True,
) -> Expr:
    """Two k x k convolutions in groups, a channel shuffle between them, and a shortcut.

    `groups`: at most so many, as far as they divide the channels. `skip`: as in `basic`.
    """
    first, second = divisor(groups, c_in, width), divisor(groups, width)
    branch = seq(
        conv(width, kernel, stride, act=act, norm=norm, groups=first, dilation=dilation),
        *([Shuffle(first)] if first > 1 else []),
        conv(width, kernel, act="", norm=norm, groups=second, dilation=dilation),
        *gated(width, se, act),
    )
    return seq(add(shortcut(c_in, width, stride, norm=norm, skip=skip), branch), Act(act))


def divisor(groups: int, *channels: int) -> int:
    """The largest number up to `groups` that divides them all. Raises SpecError below 1."""
    if groups < 1:
        raise SpecError(f"groups = {groups}: must be at least 1")
    common = math.gcd(*channels)
    return next(number for number in range(min(groups, common), 0, -1) if common % number == 0)
