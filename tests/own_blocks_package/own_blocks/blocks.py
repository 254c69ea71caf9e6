"""A ConvNeXt-like block (Liu et al. 2022, arXiv 2201.03545), with a layer of our own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from archsearch.network import Custom, Expr, LeafCost, Shape, Tensor, add, block, conv, depthwise, scaled, seq, shortcut

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True)
class LayerScale(Custom):
    """One learned factor a channel (Touvron et al. 2021, arXiv 2103.17239), at first `init`."""

    init: float = 0.1

    def cost(self, shape: Shape) -> LeafCost:
        return LeafCost(out=shape, tensors=(Tensor("gamma", (shape[0],)),))

    def build(self, shape: Shape) -> nn.Module:
        from own_blocks.modules import Scale  # torch only when something is built

        return Scale(shape[0], self.init)


@block("convnext")
def convnext(c_in: int, width: int, stride: int, *, kernel: int = 7, expand: float = 2.0) -> Expr:
    """Depthwise k x k, 1x1 up to `expand` times the width, 1x1 down, scaled, and a shortcut."""
    branch = seq(
        depthwise(c_in, kernel, stride, act=""),
        conv(scaled(width, expand), 1, act="gelu", norm=False),
        conv(width, 1, act="", norm=False),
        LayerScale(),
    )
    return add(shortcut(c_in, width, stride), branch)
