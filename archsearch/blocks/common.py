"""Pieces that several families share."""

from __future__ import annotations

from archsearch.errors import SpecError
from archsearch.layers import Act, AdaptivePool, Conv, Expr, Norm, Seq, mul, seq

MAX_RATIO = 100


def conv(
    out: int,
    kernel: int = 3,
    stride: int = 1,
    *,
    act: str = "relu",
    norm: bool = True,
    groups: int = 1,
    dilation: int = 1,
) -> Seq:
    """Convolution, normalisation, activation. Without norm it has a bias; with act "" it stays linear."""
    parts: list[Expr] = [Conv(out, kernel, stride, dilation=dilation, groups=groups, bias=not norm)]
    if norm:
        parts.append(Norm())
    if act:
        parts.append(Act(act))
    return seq(*parts)


def shortcut(c_in: int, width: int, stride: int, *, norm: bool = True) -> Seq:
    """The identity where shapes agree, else a 1x1 projection (He et al. 2015, option B)."""
    if stride == 1 and c_in == width:
        return seq()
    return conv(width, 1, stride, act="", norm=norm)


def squeeze_excite(channels: int, ratio: float, act: str = "relu") -> Expr:
    """Scale every channel by a gate computed from the channel means (Hu et al. 2018).

    `ratio`: width of the gate's hidden layer over `channels`.
    """
    hidden = scaled(channels, ratio)
    gate = seq(
        AdaptivePool(1),
        Conv(hidden, 1, bias=True),
        Act(act),
        Conv(channels, 1, bias=True),
        Act("sigmoid"),
    )
    return mul(seq(), gate)


def scaled(width: int, ratio: float) -> int:
    """`width` times `ratio`, at least 1 channel. Raises SpecError: a ratio that is not above zero and finite."""
    if not 0 < ratio <= MAX_RATIO:
        raise SpecError(f"ratio = {ratio!r}: must be above zero and at most {MAX_RATIO}")
    return max(1, round(width * ratio))
