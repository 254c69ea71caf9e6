"""A network as data, and its exact cost. Needs neither torch nor optuna.

What authors of blocks need is imported from here: decorators, layer specs, combinators, costs.

    from archsearch.network import Expr, block, conv, seq
"""

from archsearch.errors import SpecError
from archsearch.network.blocks.common import conv, depthwise, scaled, shortcut, squeeze_excite
from archsearch.network.blocks.registry import block, head, stem
from archsearch.network.layer_cost import LeafCost, Tensor
from archsearch.network.layers import (
    ACTIVATIONS,
    POOLS,
    Act,
    AdaptivePool,
    Add,
    Again,
    Aux,
    Concat,
    Conv,
    Custom,
    Dropout,
    Expr,
    Flatten,
    Leaf,
    Linear,
    Mul,
    Norm,
    Pool,
    Seq,
    Shape,
    Shared,
    Shuffle,
    Subsample,
    Take,
    add,
    concat,
    mul,
    seq,
    shared,
)

__all__ = [
    "ACTIVATIONS", "POOLS", "Act", "AdaptivePool", "Add", "Again", "Aux", "Concat", "Conv", "Custom", "Dropout", "Expr",
    "Flatten", "Leaf", "LeafCost", "Linear", "Mul", "Norm", "Pool", "Seq", "Shape", "Shared", "Shuffle", "SpecError",
    "Subsample", "Take", "Tensor", "add", "block", "concat", "conv", "depthwise", "head", "mul", "scaled", "seq",
    "shared", "shortcut", "squeeze_excite", "stem",
]  # fmt: skip
