"""Stems: from the image to the first stage."""

from __future__ import annotations

from archsearch.network.blocks.common import conv, normalised
from archsearch.network.blocks.registry import stem
from archsearch.network.layers import Conv, Expr, Pool, seq


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


@stem("patch")
def patch(
    c_in: int,
    *,
    width: int = 16,
    size: int = 4,
    overlap: bool = False,
    act: str = "relu",
    norm: bool = True,
) -> Expr:
    """One vector of `width` channels for every patch of `size` x `size` pixels: a convolution of stride `size`.

    Patches lie side by side (Dosovitskiy et al. 2020, arXiv 2010.11929; pixels beyond the last whole one are left
    out). With `overlap` each sees 2 * `size` - 1 pixels a side (PVTv2, Wang et al. 2021, arXiv 2106.13797).
    """
    kernel, padding = (2 * size - 1, size - 1) if overlap else (size, 0)
    return seq(normalised(Conv(width, kernel, size, padding, bias=not norm), act, norm))
