"""Residual blocks (He et al. 2015, arXiv 1512.03385) and those with pre-activation (2016, arXiv 1603.05027).

Dims that they share: `kernel`; `skip`, the shortcut where shapes differ: "project" (1x1 convolution, option B)
or "pad" (zeros, no parameters, option A); `se`, hidden width of a squeeze-and-excitation over the branch's
width, 0 for none; `act`; `norm`.
"""

from __future__ import annotations

from archsearch.network.blocks.common import conv, gated, scaled, shortcut
from archsearch.network.blocks.registry import block
from archsearch.network.layers import Act, Conv, Expr, Norm, Seq, add, seq


@block("basic", ("spatial", "mix"))
def basic(
    c_in: int,
    width: int,
    stride: int,
    *,
    kernel: int = 3,
    dilation: int = 1,
    skip: str = "project",
    se: float = 0.0,
    act: str = "relu",
    norm: bool = True,
) -> Expr:
    """Two k x k convolutions and a shortcut."""
    branch = seq(
        conv(width, kernel, stride, act=act, norm=norm, dilation=dilation),
        conv(width, kernel, act="", norm=norm, dilation=dilation),
        *gated(width, se, act),
    )
    return seq(add(shortcut(c_in, width, stride, norm=norm, skip=skip), branch), Act(act))


@block("bottleneck")
def bottleneck(
    c_in: int,
    width: int,
    stride: int,
    *,
    kernel: int = 3,
    ratio: float = 0.25,
    dilation: int = 1,
    skip: str = "project",
    se: float = 0.0,
    act: str = "relu",
    norm: bool = True,
) -> Expr:
    """1x1 down to `ratio` of the width, k x k, 1x1 up again, and a shortcut. The stride is the k x k's."""
    inner = scaled(width, ratio)
    branch = seq(
        conv(inner, 1, act=act, norm=norm),
        conv(inner, kernel, stride, act=act, norm=norm, dilation=dilation),
        conv(width, 1, act="", norm=norm),
        *gated(width, se, act),
    )
    return seq(add(shortcut(c_in, width, stride, norm=norm, skip=skip), branch), Act(act))


@block("preact")
def preact(
    c_in: int,
    width: int,
    stride: int,
    *,
    kernel: int = 3,
    ratio: float = 0.0,
    dilation: int = 1,
    skip: str = "project",
    se: float = 0.0,
    act: str = "relu",
    norm: bool = True,
) -> Expr:
    """Norm and activation in front of every convolution, nothing behind the sum.

    Two k x k convolutions, or with a `ratio` a bottleneck. A projection reads the pre-activated input. The last
    sum has no norm: let the head begin with one (`preact = true`).
    """
    shapes = [(width, kernel, stride), (width, kernel, 1)]
    if ratio:
        inner = scaled(width, ratio)
        shapes = [(inner, 1, 1), (inner, kernel, stride), (width, 1, 1)]
    first, *later = (
        Conv(out, size, step, dilation=dilation if size > 1 else 1, bias=not norm) for out, size, step in shapes
    )
    ready = _pre(act, norm)
    rest = seq(*(part for layer in later for part in (ready, layer)), *gated(width, se, act))
    if (stride == 1 and c_in == width) or skip != "project":
        return add(shortcut(c_in, width, stride, skip=skip), seq(ready, first, rest))
    projection = Conv(width, 1, stride, bias=not norm)
    return seq(ready, add(projection, seq(first, rest)))


def _pre(act: str, norm: bool) -> Seq:
    return seq(Norm(), Act(act)) if norm else seq(Act(act))
