"""Heads: from the last map to the logits."""

from __future__ import annotations

from archsearch.blocks.common import conv
from archsearch.blocks.registry import head
from archsearch.layers import AdaptivePool, Conv, Dropout, Expr, Flatten, Linear, Shape, seq


@head("linear")
def linear(shape: Shape, classes: int, *, dropout: float = 0.0) -> Expr:
    """Global average pooling and one linear layer."""
    drop = [Dropout(dropout)] if dropout else []
    return seq(AdaptivePool(1), Flatten(), *drop, Linear(classes))


@head("nin")
def nin(
    shape: Shape, classes: int, *, hidden: int = 0, act: str = "relu", norm: bool = True, dropout: float = 0.0
) -> Expr:
    """A 1x1 convolution to one map a class, then global average pooling (Lin, Chen, Yan 2013).

    `hidden`: channels of a 1x1 convolution before it, 0 for none.
    """
    drop = [Dropout(dropout)] if dropout else []
    mix = [conv(hidden, 1, act=act, norm=norm)] if hidden else []
    return seq(*drop, *mix, Conv(classes, 1, bias=True), AdaptivePool(1), Flatten())
