"""Pieces that several families share."""

from __future__ import annotations

from archsearch.errors import SpecError
from archsearch.network.layers import Act, AdaptivePool, Conv, Dropout, Expr, Norm, Seq, Subsample, add, mul, seq

MAX_RATIO = 100
SKIPS = ("project", "pad")


def conv(
    out: int,
    kernel: int = 3,
    stride: int = 1,
    *,
    act: str = "relu",
    norm: bool | Norm = True,
    groups: int = 1,
    dilation: int = 1,
) -> Seq:
    """Convolution, normalisation, activation. Without norm it has a bias; with act "" it stays linear."""
    return normalised(Conv(out, kernel, stride, dilation=dilation, groups=groups, bias=not norm), act, norm)


def normalised(layer: Conv, act: str, norm: bool | Norm) -> Seq:
    """A convolution, its normalisation and its activation; "" for none."""
    norms = [norm if isinstance(norm, Norm) else Norm()] if norm else []
    return seq(layer, *norms, *([Act(act)] if act else []))


def depthwise(
    channels: int, kernel: int, stride: int, *, act: str = "relu", norm: bool = True, dilation: int = 1
) -> Seq:
    """A k x k convolution of every channel by itself, normalised and activated."""
    return conv(channels, kernel, stride, act=act, norm=norm, groups=channels, dilation=dilation)


def shortcut(c_in: int, width: int, stride: int, *, norm: bool = True, skip: str = "project") -> Seq:
    """The identity where shapes agree, else what `skip` says (He et al. 2015).

    "project": a 1x1 projection (option B); "pad": every stride-th pixel and channels of zeros (option A).
    """
    if skip not in SKIPS:
        raise SpecError(f"skip = {skip!r}: must be one of {', '.join(SKIPS)}")
    if stride == 1 and c_in == width:
        return seq()
    return seq(Subsample(width, stride)) if skip == "pad" else conv(width, 1, stride, act="", norm=norm)


def with_input(layers: Seq, c_in: int, width: int, stride: int) -> Expr:
    """Layers plus their input where shapes agree, else the layers alone."""
    return add(seq(), layers) if stride == 1 and c_in == width else layers


def squeeze_excite(channels: int, ratio: float, act: str = "relu") -> Expr:
    """Scale every channel by a gate computed from the channel means (Hu et al. 2018, arXiv 1709.01507).

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


def gated(channels: int, se: float, act: str = "relu") -> list[Expr]:
    """Squeeze-and-excitation of ratio `se`, nothing where it is 0."""
    return [squeeze_excite(channels, se, act or "relu")] if se else []


def dropped(p: float) -> list[Expr]:
    """Dropout with probability `p`, nothing where it is 0."""
    return [Dropout(p)] if p else []


def scaled(width: int, ratio: float) -> int:
    """`width` times `ratio`, at least 1 channel. Raises SpecError: a ratio that is not above zero and finite."""
    if not 0 < ratio <= MAX_RATIO:
        raise SpecError(f"ratio = {ratio!r}: must be above zero and at most {MAX_RATIO}")
    return max(1, round(width * ratio))
