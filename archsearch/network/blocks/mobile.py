"""Blocks for the smallest budgets: few parameters in space, most of them in 1x1 convolutions.

Howard et al. 2017 (MobileNet, arXiv 1704.04861); Sandler et al. 2018 (MobileNetV2, arXiv 1801.04381); Howard et
al. 2019 (MobileNetV3, arXiv 1905.02244).

Dims that they share: `kernel` and `dilation` of the depthwise convolution; `se`, hidden width of a
squeeze-and-excitation behind it over its channels, 0 for none; `act`; `norm`.
"""

from __future__ import annotations

from archsearch.network.blocks.common import conv, depthwise, dropped, gated, scaled, with_input
from archsearch.network.blocks.registry import block
from archsearch.network.layers import Expr, seq


@block("pointwise")
def pointwise(
    c_in: int,
    width: int,
    stride: int,
    *,
    se: float = 0.0,
    dropout: float = 0.0,
    act: str = "relu",
    norm: bool = True,
) -> Expr:
    """A 1x1 convolution: channels are mixed, pixels are not."""
    return seq(conv(width, 1, stride, act=act, norm=norm), *gated(width, se, act), *dropped(dropout))


@block("separable", ("depthwise", "project"))
def separable(
    c_in: int,
    width: int,
    stride: int,
    *,
    kernel: int = 3,
    dilation: int = 1,
    residual: bool = False,
    se: float = 0.0,
    act: str = "relu",
    norm: bool = True,
) -> Expr:
    """A depthwise convolution, then a 1x1 one: about k * k times fewer parameters than a full convolution.

    `residual`: add the input where shapes agree.
    """
    layers = seq(
        depthwise(c_in, kernel, stride, act=act, norm=norm, dilation=dilation),
        *gated(c_in, se, act),
        conv(width, 1, act=act, norm=norm),
    )
    return with_input(layers, c_in, width, stride) if residual else layers


@block("inverted", ("expand", "depthwise", "project"))
def inverted(
    c_in: int,
    width: int,
    stride: int,
    *,
    expand: float = 4.0,
    kernel: int = 3,
    dilation: int = 1,
    se: float = 0.0,
    act: str = "relu",
    norm: bool = True,
) -> Expr:
    """MBConv: 1x1 up to `expand` times the input's channels, depthwise, 1x1 down without activation.

    The input is added where shapes agree. With `expand` 1 there is no first convolution.
    """
    hidden = scaled(c_in, expand)
    up = [conv(hidden, 1, act=act, norm=norm)] if hidden != c_in else []
    layers = seq(
        *up,
        depthwise(hidden, kernel, stride, act=act, norm=norm, dilation=dilation),
        *gated(hidden, se, act),
        conv(width, 1, act="", norm=norm),
    )
    return with_input(layers, c_in, width, stride)
