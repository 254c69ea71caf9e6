"""Residual blocks (He et al. 2015, arXiv 1512.03385)."""

from __future__ import annotations

from archsearch.blocks.common import conv, scaled, shortcut
from archsearch.blocks.registry import block
from archsearch.layers import Act, Expr, add, seq


@block("basic")
def basic(c_in: int, width: int, stride: int, *, kernel: int = 3, act: str = "relu", norm: bool = True) -> Expr:
    """Two k x k convolutions and a shortcut."""
    branch = seq(conv(width, kernel, stride, act=act, norm=norm), conv(width, kernel, act="", norm=norm))
    return seq(add(shortcut(c_in, width, stride, norm=norm), branch), Act(act))


@block("bottleneck")
def bottleneck(
    c_in: int,
    width: int,
    stride: int,
    *,
    kernel: int = 3,
    ratio: float = 0.25,
    act: str = "relu",
    norm: bool = True,
) -> Expr:
    """1x1 down to `ratio` of the width, k x k, 1x1 up again, and a shortcut. The stride is the k x k's."""
    inner = scaled(width, ratio)
    branch = seq(
        conv(inner, 1, act=act, norm=norm),
        conv(inner, kernel, stride, act=act, norm=norm),
        conv(width, 1, act="", norm=norm),
    )
    return seq(add(shortcut(c_in, width, stride, norm=norm), branch), Act(act))
