"""A network is an expression over layer specs: pure data, no torch.

Leaves say what one layer is; `Seq`, `Add`, `Concat`, `Mul` and `Shared` say how they are put together. What a leaf
costs stands in `layer_cost`, what it builds in `nn.build`; a leaf of your own is a `Custom` that brings both.

    seq(Conv(16), Norm(), Act("relu"))           one after the other
    add(seq(), seq(Conv(16), Norm()))            a residual sum with an identity shortcut
    concat(Conv(8, 1), Conv(8, 3))               inception: side by side along the channels
    mul(seq(), gate)                             squeeze-and-excitation: scaled channel by channel
    shared(block, 3)                             three times the same kernels, each time with norms of its own

Shapes are (channels, height, width), or (features,) behind `Flatten`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from torch import nn

    from archsearch.network.layer_cost import LeafCost

Shape = tuple[int, ...]
COLOURS = {"grey": 1, "rgb": 3}
"""Names of images by their channels."""
ACTIVATIONS = ("relu", "leaky_relu", "tanh", "silu", "hardswish", "gelu", "sigmoid", "hardsigmoid", "relu6")
POOLS = ("max", "avg")


class Expr:
    """Any expression: a leaf or a combinator."""

    __slots__ = ()


class Leaf(Expr):
    """One layer. Equal fields mean equal layers."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Conv(Leaf):
    """2-d convolution to `out` channels; `padding` -1 keeps the size at stride 1 (odd kernels)."""

    out: int
    kernel: int = 3
    stride: int = 1
    padding: int = -1
    dilation: int = 1
    groups: int = 1
    bias: bool = False

    def __post_init__(self) -> None:
        if self.padding == -1:
            object.__setattr__(self, "padding", self.dilation * (self.kernel - 1) // 2)


@dataclass(frozen=True, slots=True)
class Norm(Leaf):
    """Batch normalisation over channels (or features): scale, shift, running mean and variance, a counter."""

    eps: float = 1e-5


@dataclass(frozen=True, slots=True)
class Act(Leaf):
    """An activation by name, one of `ACTIVATIONS`."""

    name: str = "relu"


@dataclass(frozen=True, slots=True)
class Pool(Leaf):
    """Max or average pooling; `stride` 0 means the kernel's size; `ceil` rounds the output size up."""

    kind: str = "max"
    kernel: int = 2
    stride: int = 0
    padding: int = 0
    ceil: bool = False

    def __post_init__(self) -> None:
        if self.stride == 0:
            object.__setattr__(self, "stride", self.kernel)


@dataclass(frozen=True, slots=True)
class AdaptivePool(Leaf):
    """Average pooling to a `size` x `size` map whatever the input; size 1 is global average pooling."""

    size: int = 1


@dataclass(frozen=True, slots=True)
class Subsample(Leaf):
    """Every `stride`-th pixel, and channels of zeros up to `out`: a shortcut without parameters.

    Option A of He et al. 2015 (arXiv 1512.03385), as in their networks for CIFAR-10.
    """

    out: int
    stride: int = 1


@dataclass(frozen=True, slots=True)
class Take(Leaf):
    """`out` channels from `start` on: a part of a map for one branch of a `concat`."""

    start: int
    out: int


@dataclass(frozen=True, slots=True)
class Shuffle(Leaf):
    """Channels of `groups` groups dealt out in turn, so that the next convolution in groups sees all of them.

    Zhang et al. 2017 (ShuffleNet, arXiv 1707.01083).
    """

    groups: int


@dataclass(frozen=True, slots=True)
class Flatten(Leaf):
    """(C, H, W) to (C * H * W,)."""


@dataclass(frozen=True, slots=True)
class Linear(Leaf):
    """Fully connected layer on (features,)."""

    out: int
    bias: bool = True


@dataclass(frozen=True, slots=True)
class Again(Leaf):
    """A convolution or linear layer with the weights of another one, which `Shared` says."""

    of: Conv | Linear


@dataclass(frozen=True, slots=True)
class Dropout(Leaf):
    """Zeroes single activations with probability `p` in training."""

    p: float = 0.5


@dataclass(frozen=True, slots=True)
class Custom(Leaf):
    """Base of a leaf with your own torch code: a frozen dataclass with `cost` and `build` that agree.

    Its fields must be numbers, strings, booleans or tuples of them: they identify the network.
    """

    def cost(self, shape: Shape) -> LeafCost:
        """Output shape, tensors and multiply-accumulates for an input of `shape` (without the batch)."""
        raise NotImplementedError(f"{type(self).__name__} must define cost")

    def build(self, shape: Shape) -> nn.Module:
        """The module for an input of `shape` (without the batch)."""
        raise NotImplementedError(f"{type(self).__name__} must define build")


class Combinator(Expr):
    """Parts put together. Hash and identity are cheap, so that costs can be cached per expression."""

    __slots__ = ("_hash", "parts")
    kind: ClassVar[str] = ""

    def __init__(self, parts: tuple[Expr, ...]) -> None:
        self.parts = parts
        self._hash = hash((self.kind, parts))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Combinator) and self.kind == other.kind and self.parts == other.parts
        )

    def __repr__(self) -> str:
        return f"{self.kind}({', '.join(map(repr, self.parts))})"


class Seq(Combinator):
    """One after the other; `Seq(())` is the identity."""

    __slots__ = ()
    kind = "seq"


class Shared(Combinator):
    """One after the other: a part, then the same with `Again` for its convolutions and linear layers.

    Norms stay each part's own: the statistics of two places differ, though their kernels are the same.
    """

    __slots__ = ()
    kind = "shared"


class Add(Combinator):
    """The sum of branches on one input; all outputs have one shape."""

    __slots__ = ()
    kind = "add"


class Concat(Combinator):
    """Branches on one input, side by side along the channels."""

    __slots__ = ()
    kind = "concat"


class Mul(Combinator):
    """The product of branches on one input; a (C, 1, 1) factor is spread over the map."""

    __slots__ = ()
    kind = "mul"


class Aux(Combinator):
    """An auxiliary classifier on the features that pass here: used in training only, never deployed.

    `weight`: its share of the loss. The features go on unchanged.
    """

    __slots__ = ("weight",)
    kind = "aux"

    def __init__(self, head: Expr, weight: float = 0.3) -> None:
        self.weight = weight
        super().__init__((head,))
        self._hash = hash((self._hash, weight))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Aux) and super().__eq__(other) and self.weight == other.weight

    __hash__ = Combinator.__hash__


def seq(*parts: Expr) -> Seq:
    """Parts one after the other; nested sequences are spliced in, so that `seq` is associative."""
    if any(isinstance(part, Seq) for part in parts):
        parts = tuple(_spliced(parts))
    return Seq(parts)


def add(*branches: Expr) -> Add:
    """The sum of at least two branches."""
    return Add(branches)


def concat(*branches: Expr) -> Concat:
    """At least two branches side by side."""
    return Concat(branches)


def mul(*branches: Expr) -> Mul:
    """The product of at least two branches."""
    return Mul(branches)


def shared(part: Expr, times: int) -> Shared:
    """A part so many times, at least once, whose convolutions and linear layers have one set of weights."""
    return Shared((part, *[_again(part)] * (times - 1)))


def _again(expr: Expr) -> Expr:
    if isinstance(expr, Conv | Linear):
        return Again(expr)
    if isinstance(expr, Aux) or not isinstance(expr, Combinator):
        return expr
    return type(expr)(tuple(map(_again, expr.parts)))


def canonical(expr: Expr) -> list[Any]:
    """The expression as nested lists of plain values: equal networks give equal lists.

    Source of the candidate id. Auxiliary classifiers are part of it, since they change the training.
    """
    if isinstance(expr, Again):
        return ["Again", canonical(expr.of)]
    if isinstance(expr, Leaf):
        return [type(expr).__name__, *(getattr(expr, name) for name in getattr(expr, "__dataclass_fields__", ()))]
    if isinstance(expr, Seq):
        parts = [canonical(part) for part in flat(expr)]
        return parts[0] if len(parts) == 1 else ["seq", *parts]
    if not isinstance(expr, Combinator):
        raise TypeError(f"{expr!r} is no expression over layer specs")
    extra = [expr.weight] if isinstance(expr, Aux) else []
    return [expr.kind, *extra, *map(canonical, expr.parts)]


def flat(expr: Seq) -> Iterator[Expr]:
    """The parts of a sequence with nested sequences spliced in."""
    return _spliced(expr.parts)


def _spliced(parts: Iterable[Expr]) -> Iterator[Expr]:
    for part in parts:
        if isinstance(part, Seq):
            yield from _spliced(part.parts)
        else:
            yield part
