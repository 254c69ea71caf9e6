"""Stems: from the image to the first stage."""

from __future__ import annotations

from archsearch.network.blocks.common import conv
from archsearch.network.blocks.registry import stem
from archsearch.network.layers import Expr, Pool, seq


@stem("none")
def none(c_in: int) -> Expr:
    """No stem: the first stage reads the image."""
    return seq()


@stem("conv")
def conv_stem(
    c_in: int,
    *,
    width: int = 16,
    kernel: int = 3,
    stride: int = 1,
    pool: bool = False,
    act: str = "relu",
    norm: bool = True,
) -> Expr:
    """One convolution; `pool` adds a 3x3 max pooling of stride 2 (with kernel 7, stride 2: ImageNet's stem)."""
    tail = [Pool("max", 3, 2, 1)] if pool else []
    return seq(conv(width, kernel, stride, act=act, norm=norm), *tail)
