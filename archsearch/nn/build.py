"""The fold that builds the `nn.Module` of an expression. The only place that turns layer specs into torch."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from archsearch.errors import SpecError
from archsearch.network.arch import Arch
from archsearch.network.cost import measure
from archsearch.network.layers import (
    Act,
    AdaptivePool,
    Add,
    Again,
    Aux,
    Combinator,
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
)
from archsearch.nn.batchnorm import BatchNorm2d
from archsearch.nn.depthwise import DepthwiseConv2d, DilatedConv2d


class Sum(nn.ModuleList):
    """The sum of its branches' outputs on one input."""

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self[0](x)
        for branch in self[1:]:
            total = total + branch(x)
        return total


class Cat(nn.ModuleList):
    """Its branches' outputs on one input, side by side along the channels."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self], dim=1)


class Product(nn.ModuleList):
    """The product of its branches' outputs on one input."""

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self[0](x)
        for branch in self[1:]:
            total = total * branch(x)
        return total


class PadShortcut(nn.Module):
    """Every `stride`-th pixel of (N, C, H, W), then `extra` channels of zeros behind."""

    def __init__(self, extra: int, stride: int) -> None:
        super().__init__()
        self.extra = extra
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))

    def extra_repr(self) -> str:
        return f"extra={self.extra}, stride={self.stride}"


class Channels(nn.Module):
    """`out` channels of (N, C, H, W) from `start` on."""

    def __init__(self, start: int, out: int) -> None:
        super().__init__()
        self.start = start
        self.out = out

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.start : self.start + self.out]

    def extra_repr(self) -> str:
        return f"start={self.start}, out={self.out}"


class SameLayer(nn.Module):
    """A layer that stands in another place too, where its weights are kept."""

    def __init__(self) -> None:
        super().__init__()
        self._of: tuple[nn.Module, ...] = ()  # in a tuple: a module would be one of its own, and saved twice

    def link(self, layer: nn.Module) -> None:
        """Say which layer it is."""
        self._of = (layer,)

    @property
    def layer(self) -> nn.Module:
        """Which layer it is."""
        return self._of[0]

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        return out


def untied(module: nn.Module) -> nn.Module:
    """The module, or a copy in which every place has kernels of its own, as runtimes need to fold norms into them."""
    if not any(isinstance(part, SameLayer) for part in module.modules()):
        return module
    found = copy.deepcopy(module)
    for name, part in list(found.named_modules()):
        if isinstance(part, SameLayer):
            found.set_submodule(name, copy.deepcopy(part.layer))
    return found


class AuxHead(nn.Module):
    """Passes its input on; in training it keeps `logits` of an auxiliary classifier, (N, classes)."""

    def __init__(self, head: nn.Module, weight: float) -> None:
        super().__init__()
        self.head = head
        self.weight = weight
        self.logits: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.logits = self.head(x) if self.training else None
        return x


def aux_prefixes(module: nn.Module) -> tuple[str, ...]:
    """How the names of a state begin that belong to auxiliary classifiers, which no file holds."""
    return tuple(f"{name}.head." for name, part in module.named_modules() if isinstance(part, AuxHead))


def build(arch: Arch) -> nn.Sequential:
    """The network of an architecture: named parts stem, stage1 .., head; images (N, C, H, W) to logits.

    Raises:
        SpecError: the architecture makes no network.
    """
    return build_chain(arch.parts(), arch.input_shape)


def build_expr(expr: Expr, shape: Shape) -> nn.Module:
    """The module of an expression for inputs (N, *shape).

    Raises:
        SpecError: the expression makes no network at this shape.
    """
    if isinstance(expr, Custom):
        return expr.build(shape)
    if isinstance(expr, Leaf):
        measure(expr, shape)
        return _LEAVES[type(expr)](expr, shape)
    if isinstance(expr, Seq):
        return build_chain(((str(i), part) for i, part in enumerate(expr.parts)), shape)
    if isinstance(expr, Shared):
        return _shared(expr, shape)
    if isinstance(expr, Aux):
        return AuxHead(build_expr(expr.parts[0], shape), expr.weight)
    if isinstance(expr, Combinator) and type(expr) in _JOINS:
        measure(expr, shape)
        return _JOINS[type(expr)](build_expr(part, shape) for part in expr.parts)
    raise SpecError(f"{expr!r} is no expression over layer specs")


def _shared(expr: Shared, shape: Shape) -> nn.Module:
    measure(expr, shape)
    built = build_chain(((str(i), part) for i, part in enumerate(expr.parts)), shape)
    for part in built[1:]:
        for name, place in part.named_modules():
            if isinstance(place, SameLayer):
                place.link(built[0].get_submodule(name))
    return built


def build_chain(parts: Iterable[tuple[str, Expr]], shape: Shape) -> nn.Sequential:
    """Named parts one after the other, each built for the output shape of the one before."""
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    for name, part in parts:
        modules[name] = build_expr(part, shape)
        shape = measure(part, shape).out
    return nn.Sequential(modules)


class ThinConv2d(nn.Conv2d):
    """A strided 1x1 convolution of under 8 channels, as a subsampling and a convolution of stride 1.

    oneDNN 3.13 (torch 2.15) writes past its buffers in the backward pass of the strided one on AVX2 and
    takes the process down; the sum is the same.
    """

    def forward(self, x: Tensor) -> Tensor:
        step = self.stride[0]
        return functional.conv2d(x[:, :, ::step, ::step], self.weight, self.bias)


class WideConv2d(nn.Conv2d):
    """A convolution whose kernel reaches beyond the whole map: in training it leaves out what meets only padding.

    On a map of 2x2 pixels a 5x5 kernel has 9 places that ever meet a pixel. The sum is the same, and so is every
    gradient (zero for the rest); in evaluation, and in what is exported, it is a plain convolution.
    """

    def forward(self, x: Tensor) -> Tensor:
        extra = beyond(self.kernel_size[0], int(self.padding[0]), max(x.shape[2:]))
        if not self.training or not extra:
            return super().forward(x)
        inner = slice(extra, self.kernel_size[0] - extra)
        padding = int(self.padding[0]) - extra
        return functional.conv2d(x, self.weight[:, :, inner, inner], self.bias, self.stride, padding, 1, self.groups)


def beyond(kernel: int, padding: int, side: int) -> int:
    """Rows at each edge of a kernel that meet nothing but padding on a map of this side."""
    return max(0, padding - (side - 1)) if kernel == 2 * padding + 1 else 0


def _conv(leaf: Conv, shape: Shape) -> nn.Module:
    kind = _kind(leaf, shape)
    return kind(shape[0], leaf.out, leaf.kernel, leaf.stride, leaf.padding, leaf.dilation, leaf.groups, leaf.bias)


def _kind(leaf: Conv, shape: Shape) -> type[nn.Conv2d]:
    if leaf.kernel == 1 and leaf.stride > 1 and shape[0] < 8 and (leaf.padding, leaf.groups) == (0, 1):
        return ThinConv2d
    if leaf.dilation == 1 and beyond(leaf.kernel, leaf.padding, max(shape[1:])):
        return WideConv2d
    if (leaf.groups, leaf.out, leaf.bias) == (shape[0], shape[0], False):
        return DepthwiseConv2d
    return DilatedConv2d if leaf.groups > 1 and leaf.dilation > 1 else nn.Conv2d


def _norm(leaf: Norm, shape: Shape) -> nn.Module:
    kind = BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d
    return kind(shape[0], eps=leaf.eps)


def _pool(leaf: Pool, shape: Shape) -> nn.Module:
    if leaf.kind == "max":
        return nn.MaxPool2d(leaf.kernel, leaf.stride, leaf.padding, ceil_mode=leaf.ceil)
    return nn.AvgPool2d(leaf.kernel, leaf.stride, leaf.padding, ceil_mode=leaf.ceil)


_ACTS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
    "hardswish": nn.Hardswish,
    "gelu": nn.GELU,
    "sigmoid": nn.Sigmoid,
    "hardsigmoid": nn.Hardsigmoid,
    "relu6": nn.ReLU6,
}
_LEAVES: dict[type[Leaf], Callable[..., nn.Module]] = {
    Conv: _conv,
    Norm: _norm,
    Act: lambda leaf, shape: _ACTS[leaf.name](),
    Pool: _pool,
    AdaptivePool: lambda leaf, shape: nn.AdaptiveAvgPool2d(leaf.size),
    Subsample: lambda leaf, shape: PadShortcut(leaf.out - shape[0], leaf.stride),
    Take: lambda leaf, shape: Channels(leaf.start, leaf.out),
    Shuffle: lambda leaf, shape: nn.ChannelShuffle(leaf.groups),
    Again: lambda leaf, shape: SameLayer(),
    Flatten: lambda leaf, shape: nn.Flatten(),
    Linear: lambda leaf, shape: nn.Linear(shape[0], leaf.out, leaf.bias),
    Dropout: lambda leaf, shape: nn.Dropout(leaf.p),
}
_JOINS: dict[type[Combinator], Callable[..., nn.Module]] = {Add: Sum, Concat: Cat, Mul: Product}
