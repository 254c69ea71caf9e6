"""What one layer costs: its output shape, its tensors, its multiply-accumulates, by the rule of its kind."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import NamedTuple

from archsearch.errors import SpecError
from archsearch.network.layers import (
    ACTIVATIONS,
    POOLS,
    Act,
    AdaptivePool,
    Again,
    Conv,
    Custom,
    Dropout,
    Flatten,
    Leaf,
    Linear,
    Norm,
    Pool,
    Shape,
    Shuffle,
    Subsample,
    Take,
)

_WIDEST = 2**31 - 1
"""Pixels under a kernel; PyTorch's convolutions on a CPU end the process from about 2^32 on."""


class Tensor(NamedTuple):
    """One entry of a module's state: `kind` is param, buffer, or counter (one 64-bit integer)."""

    name: str
    shape: Shape
    kind: str = "param"


class LeafCost(NamedTuple):
    """What one layer costs: output shape, its state, multiply-accumulates.

    `view`: the output shares the input's memory (or is the input).
    """

    out: Shape
    tensors: tuple[Tensor, ...] = ()
    macs: int = 0
    view: bool = False


def leaf_cost(leaf: Leaf, shape: Shape) -> LeafCost:
    """One layer's output shape, state and MACs for an input of `shape`. Raises SpecError."""
    if isinstance(leaf, Custom):
        return leaf.cost(shape)
    rule = _RULES.get(type(leaf))
    if rule is None:
        raise SpecError(f"{type(leaf).__name__} is no known layer: derive it from archsearch.network.Custom")
    return rule(leaf, shape)


def _positive(what: str, **values: int) -> None:
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise SpecError(f"{what} {name} = {value!r}: must be a whole number of at least 1")


def _image(what: str, shape: Shape) -> tuple[int, int, int]:
    if len(shape) != 3:
        raise SpecError(f"{what} needs an image (channels, height, width), not {shape}")
    return shape[0], shape[1], shape[2]


def _window(what: str, size: int, kernel: int, stride: int, padding: int, ceil: bool = False) -> int:
    """Output size of a sliding window, as torch counts it."""
    span = size + 2 * padding - kernel
    if span < 0:
        raise SpecError(f"{what} window of {kernel} is larger than its map of {size} + 2 x {padding}")
    steps = -(-span // stride) if ceil else span // stride
    if ceil and steps * stride >= size + padding:
        steps -= 1  # the last window must start inside the map or its left padding
    return steps + 1


def _conv(leaf: Conv, shape: Shape) -> LeafCost:
    channels, height, width = _image("a convolution", shape)
    kernel, groups = leaf.kernel, leaf.groups
    _positive("convolution", out=leaf.out, kernel=kernel, stride=leaf.stride, dilation=leaf.dilation, groups=groups)
    if channels % groups or leaf.out % groups:
        raise SpecError(f"convolution groups = {groups}: must divide {channels} input and {leaf.out} output channels")
    if leaf.padding < 0:
        raise SpecError(f"convolution padding = {leaf.padding}: must be at least 0, or -1 to keep the size")
    span = leaf.dilation * (kernel - 1) + 1
    if max(leaf.dilation, leaf.padding, span) > _WIDEST:
        raise SpecError(
            f"convolution kernel = {kernel}, dilation = {leaf.dilation}, padding = {leaf.padding}: too wide,"
            f" at most {_WIDEST} pixels"
        )
    rows = _window("a convolution's", height, span, leaf.stride, leaf.padding)
    columns = _window("a convolution's", width, span, leaf.stride, leaf.padding)
    weight = Tensor("weight", (leaf.out, channels // groups, kernel, kernel))
    tensors = (weight, Tensor("bias", (leaf.out,))) if leaf.bias else (weight,)
    return LeafCost((leaf.out, rows, columns), tensors, prod(weight.shape) * rows * columns)


def _norm(leaf: Norm, shape: Shape) -> LeafCost:
    if not 0 < leaf.eps < 1:
        raise SpecError(f"normalisation eps = {leaf.eps!r}: must be in (0, 1)")
    size = (shape[0],)
    return LeafCost(
        shape,
        (
            Tensor("weight", size),
            Tensor("bias", size),
            Tensor("running_mean", size, "buffer"),
            Tensor("running_var", size, "buffer"),
            Tensor("num_batches_tracked", (), "counter"),
        ),
    )


def _act(leaf: Act, shape: Shape) -> LeafCost:
    if leaf.name not in ACTIVATIONS:
        raise SpecError(f"activation {leaf.name!r}: use one of {', '.join(ACTIVATIONS)}")
    return LeafCost(shape)


def _pool(leaf: Pool, shape: Shape) -> LeafCost:
    channels, height, width = _image("pooling", shape)
    if leaf.kind not in POOLS:
        raise SpecError(f"pooling {leaf.kind!r}: use one of {', '.join(POOLS)}")
    _positive("pooling", kernel=leaf.kernel, stride=leaf.stride)
    if not 0 <= 2 * leaf.padding <= leaf.kernel:
        raise SpecError(f"pooling padding = {leaf.padding}: at most half of the kernel {leaf.kernel}")
    window = (leaf.kernel, leaf.stride, leaf.padding, leaf.ceil)
    return LeafCost((channels, _window("a pooling", height, *window), _window("a pooling", width, *window)))


def _adaptive(leaf: AdaptivePool, shape: Shape) -> LeafCost:
    channels, _, _ = _image("adaptive pooling", shape)
    _positive("adaptive pooling", size=leaf.size)
    return LeafCost((channels, leaf.size, leaf.size))


def _subsample(leaf: Subsample, shape: Shape) -> LeafCost:
    channels, height, width = _image("a subsampling shortcut", shape)
    _positive("subsampling shortcut", out=leaf.out, stride=leaf.stride)
    if leaf.out < channels:
        raise SpecError(f"a subsampling shortcut adds channels and cannot go from {channels} to {leaf.out}")
    return LeafCost((leaf.out, -(-height // leaf.stride), -(-width // leaf.stride)))


def _take(leaf: Take, shape: Shape) -> LeafCost:
    channels, height, width = _image("a part of the channels", shape)
    _positive("a part of the channels", out=leaf.out)
    if leaf.start < 0 or leaf.start + leaf.out > channels:
        raise SpecError(f"channels {leaf.start} to {leaf.start + leaf.out}: the map has {channels}")
    return LeafCost((leaf.out, height, width))


def _shuffle(leaf: Shuffle, shape: Shape) -> LeafCost:
    channels, _, _ = _image("a channel shuffle", shape)
    _positive("channel shuffle", groups=leaf.groups)
    if channels % leaf.groups:
        raise SpecError(f"channel shuffle groups = {leaf.groups}: must divide {channels} channels")
    return LeafCost(shape)


def _again(leaf: Again, shape: Shape) -> LeafCost:
    return leaf_cost(leaf.of, shape)._replace(tensors=())


def _flatten(leaf: Flatten, shape: Shape) -> LeafCost:
    return LeafCost((prod(shape),), view=True)


def _linear(leaf: Linear, shape: Shape) -> LeafCost:
    if len(shape) != 1:
        raise SpecError(f"a linear layer needs (features,), not {shape}: put Flatten() before it")
    _positive("linear", out=leaf.out)
    weight = Tensor("weight", (leaf.out, shape[0]))
    tensors = (weight, Tensor("bias", (leaf.out,))) if leaf.bias else (weight,)
    return LeafCost((leaf.out,), tensors, leaf.out * shape[0])


def _dropout(leaf: Dropout, shape: Shape) -> LeafCost:
    if not 0 <= leaf.p < 1:
        raise SpecError(f"dropout p = {leaf.p!r}: must be in [0, 1)")
    return LeafCost(shape, view=True)


_RULES: dict[type[Leaf], Callable[..., LeafCost]] = {
    Conv: _conv,
    Norm: _norm,
    Act: _act,
    Pool: _pool,
    AdaptivePool: _adaptive,
    Subsample: _subsample,
    Take: _take,
    Shuffle: _shuffle,
    Again: _again,
    Flatten: _flatten,
    Linear: _linear,
    Dropout: _dropout,
}
