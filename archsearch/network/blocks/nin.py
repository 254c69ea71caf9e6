"""Network in Network: a spatial convolution followed by 1x1 ones (Lin, Chen, Yan 2013, arXiv 1312.4400).

Dims that they share: `kernel` of the spatial convolution; `points`, the number of 1x1 ones; `se`, hidden width of a
squeeze-and-excitation behind them over `width`, 0 for none; `act`; `norm`.
"""

from __future__ import annotations

from archsearch.errors import SpecError
from archsearch.network.blocks.common import conv, gated, shortcut
from archsearch.network.blocks.registry import block
from archsearch.network.layers import Act, Expr, Seq, add, seq

MAX_POINTS = 100


@block("nin", ("spatial", "mix"))
def nin(
    c_in: int,
    width: int,
    stride: int,
    *,
    kernel: int = 3,
    points: int = 2,
    se: float = 0.0,
    act: str = "relu",
    norm: bool = True,
) -> Expr:
    """An mlpconv: k x k, then `points` 1x1 convolutions, each normalised and activated."""
    return seq(_mlpconv(width, stride, kernel, points, act, norm), Act(act), *gated(width, se, act))


@block("resnin", ("spatial", "mix"))
def resnin(
    c_in: int,
    width: int,
    stride: int,
    *,
    kernel: int = 3,
    points: int = 2,
    se: float = 0.0,
    act: str = "relu",
    norm: bool = True,
) -> Expr:
    """A residual block whose branch is an mlpconv; the last activation follows the sum."""
    branch = seq(_mlpconv(width, stride, kernel, points, act, norm), *gated(width, se, act))
    return seq(add(shortcut(c_in, width, stride, norm=norm), branch), Act(act))


def _mlpconv(width: int, stride: int, kernel: int, points: int, act: str, norm: bool) -> Seq:
    """The mlpconv up to its last activation."""
    if not 1 <= points <= MAX_POINTS:
        raise SpecError(f"points = {points}: an mlpconv has 1 to {MAX_POINTS} 1x1 convolutions")
    hidden = [conv(width, 1, act=act, norm=norm) for _ in range(points - 1)]
    return seq(conv(width, kernel, stride, act=act, norm=norm), *hidden, conv(width, 1, act="", norm=norm))
