"""Multilayer perceptrons for small images: the stem `flatten`, blocks `dense`, the head `linear`."""

from __future__ import annotations

from archsearch.errors import SpecError
from archsearch.network.blocks.common import dropped
from archsearch.network.blocks.registry import block, stem
from archsearch.network.layers import Act, Expr, Flatten, Linear, Norm, Pool, seq


@stem("flatten")
def flatten(c_in: int, *, pool: int = 1) -> Expr:
    """The image as one vector, (C, H, W) to (C * H * W,); `pool`: side of an average pooling before it."""
    shrink = [Pool("avg", pool)] if pool != 1 else []
    return seq(*shrink, Flatten())


@block("dense")
def dense(c_in: int, width: int, stride: int, *, dropout: float = 0.0, act: str = "relu", norm: bool = True) -> Expr:
    """A fully connected layer, normalised and activated, on (features,). A map is flattened first.

    Raises:
        SpecError: a stride; there is nothing to stride over.
    """
    if stride != 1:
        raise SpecError(f"stride = {stride}: a dense layer has none")
    middle = [Norm()] if norm else []
    return seq(Flatten(), Linear(width, bias=not norm), *middle, Act(act), *dropped(dropout))
