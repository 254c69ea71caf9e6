"""What of a network takes time: amounts of work, values and layers by kinds, and what they usually cost.

A layer costs something for every multiplication, for every value that it reads or writes, and for itself. How much
goes by its kind, and by the kernels of a runtime: ONNX Runtime lays maps out in blocks of channels. XNNPACK, which
LiteRT and ExecuTorch run, does not.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from functools import lru_cache
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from archsearch.network.arch import Arch
from archsearch.network.cost import Parts, measure
from archsearch.network.layer_cost import leaf_cost
from archsearch.network.layers import (
    Act,
    AdaptivePool,
    Add,
    Again,
    Aux,
    Combinator,
    Concat,
    Conv,
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

Array = NDArray[np.float64]
_BLOCK, _ALIGNED = 16, 4
"""Channels that kernels compute at once, and of which a multiple can be laid out in such blocks."""


class Price(NamedTuple):
    """What is usual, in nanoseconds: for a multiplication, a value read or written, and a layer."""

    work: float
    moved: float
    once: float


_ONNXRUNTIME = {
    "conv1": Price(0.03, 0.2, 1500),
    "conv3": Price(0.03, 0.2, 1500),
    "conv5": Price(0.03, 0.2, 1500),
    "conv": Price(0.03, 0.2, 1500),
    "depthwise3": Price(0.15, 0.2, 1500),
    "depthwise5": Price(0.15, 0.2, 1500),
    "depthwise": Price(0.15, 0.2, 1500),
    "grouped": Price(0.1, 0.2, 1500),
    "thin": Price(0.05, 0.2, 1500),
    "plain": Price(0.06, 0.2, 1500),
    "plain depthwise": Price(0.5, 0.2, 1500),
    "linear": Price(0.06, 0.2, 1500),
    "norm": Price(0.0, 0.1, 500),
    "cheap": Price(0.0, 0.02, 50),
    "dear": Price(0.0, 0.5, 1500),
    "pool": Price(0.3, 0.2, 1500),
    "mean": Price(0.0, 0.2, 1500),
    "add": Price(0.0, 0.15, 1500),
    "mul": Price(0.0, 0.15, 1500),
    "concat": Price(0.0, 0.15, 1500),
    "shuffle": Price(0.0, 0.2, 3000),
    "reorder": Price(0.0, 0.15, 1500),
    "other": Price(0.1, 0.2, 3000),
}
"""By kinds of layers, in ONNX Runtime.

`cheap` and `dear` are activations: the first hide in what is before, as a sum does. Convolutions work on maps that are
laid out in blocks of channels. `thin` ones read fewer channels than a block, `plain` ones a number that makes no
blocks; both want the usual layout. `reorder` is the way from one to the other. Source: ONNX Runtime's NCHWc kernels.
"""
_XNNPACK = {
    "conv1": Price(0.018, 0.02, 50),
    "conv3": Price(0.019, 0.05, 200),
    "conv5": Price(0.019, 0.15, 500),
    "conv": Price(0.022, 0.1, 2000),
    "depthwise3": Price(0.04, 0.02, 100),
    "depthwise5": Price(0.055, 0.02, 100),
    "depthwise": Price(0.25, 1.0, 300),
    "grouped": Price(0.01, 0.4, 1000),
    "linear": Price(0.08, 0.1, 100),
    "norm": Price(0.0, 0.1, 100),
    "cheap": Price(0.0, 0.002, 5),
    "dear": Price(0.0, 0.1, 50),
    "pool": Price(0.3, 0.2, 100),
    "mean": Price(0.0, 0.1, 50),
    "add": Price(0.0, 0.05, 50),
    "mul": Price(0.0, 0.1, 50),
    "concat": Price(0.0, 0.35, 100),
    "shuffle": Price(0.0, 2.0, 300),
    "other": Price(0.1, 0.2, 300),
}
"""The same in LiteRT: near what 470 networks of `resnin`, `compact`, `photos` and `tiny` took at 32 pixels."""
_PLACE = {name: 3 * i for i, name in enumerate(_ONNXRUNTIME)}
SUMS = 3 * len(_PLACE)
_WIDTHS = 2
"""Behind the amounts: sums of log input and output channels, weighed by multiplications."""
_DEPTHWISE = [_PLACE[name] for name in ("depthwise3", "depthwise5", "depthwise")]
_DENSE = [_PLACE[name] for name in ("conv1", "conv3", "conv5", "conv", "grouped", "linear")]
_ODD = [_PLACE[name] for name in ("thin", "plain", "plain depthwise")]
_NOTHING = Price(0.0, 0.0, 0.0)


class Kernels(NamedTuple):
    """Usual prices (amounts,), and whether maps are laid out in blocks of channels.

    trust: how far a measured network may be from the sum, as a share, where a price is twice the usual one.
    """

    prices: Array
    blocked: bool
    trust: float


def _kernels(usual: Mapping[str, Price], blocked: bool, trust: float) -> Kernels:
    return Kernels(np.array([price for name in _PLACE for price in usual.get(name, _NOTHING)]), blocked, trust)


BLOCKED, FLAT = _kernels(_ONNXRUNTIME, True, 0.05), _kernels(_XNNPACK, False, 0.15)


def kernels_of(runtime: str) -> Kernels:
    """Those of a runtime by its name."""
    return BLOCKED if runtime == "onnxruntime" else FLAT


def amounts(archs: Sequence[Arch], kernels: Kernels = BLOCKED) -> Array:
    """(n, amounts): what the networks' layers are, summed up. Raises SpecError."""
    found = [_whole(arch.cost.parts, kernels.blocked) for arch in archs]
    return np.array(found).reshape(len(archs), SUMS + _WIDTHS)


def described(found: Array) -> Array:
    """(n, 8) logs by which networks differ: work of three sorts, values moved, layers, dear activations, widths."""
    work, moved, once = found[:, 0:SUMS:3], found[:, 1:SUMS:3], found[:, 2:SUMS:3]
    dense, depthwise, odd = (found[:, kinds].sum(1) for kinds in (_DENSE, _DEPTHWISE, _ODD))
    widths = found[:, SUMS:] / np.maximum(work.sum(1), 1)[:, None]
    logs = np.log1p(np.stack([dense, depthwise, odd, moved.sum(1), once.sum(1), found[:, _PLACE["dear"] + 1]], 1))
    return np.hstack([logs, widths])


def _whole(parts: Parts, blocks: bool) -> Array:
    total = np.zeros(SUMS + _WIDTHS)
    for number, (_, expr, shape) in enumerate(parts):
        total += _amounts(expr, shape, _Map(number > 0 and len(shape) == 3), blocks)
    return total


class _Map(NamedTuple):
    """How a map comes: in blocks of channels, and straight from a convolution or linear layer."""

    blocked: bool
    behind_conv: bool = False


class _Layer(NamedTuple):
    """One that is left when the network ships: `flat` and `work[1]` where there are no blocks, "" for nothing there."""

    kind: str
    flat: str
    moved: float
    work: tuple[float, float] = (0.0, 0.0)
    widths: tuple[float, float] = (0.0, 0.0)


@lru_cache(maxsize=1 << 14)
def _amounts(expr: Expr, shape: Shape, given: _Map, blocks: bool) -> Array:
    """Of one part; candidates of a space have most parts in common. `given`: how its map comes."""
    total = np.zeros(SUMS + _WIDTHS)
    for layer in _layers(expr, shape, given):
        kind, work = (layer.kind, layer.work[0]) if blocks else (layer.flat, layer.work[1])
        if kind:
            total[_PLACE[kind] : _PLACE[kind] + 3] += work, layer.moved, 1
            total[SUMS:] += np.array(layer.widths) * work
    return total


_Layers = Generator[_Layer, None, _Map]
_ALWAYS = ("relu", "leaky_relu")
_DEAR = ("silu", "gelu", "tanh", "sigmoid")
_CLAMPS = ("relu", "relu6")


def _layers(expr: Expr, shape: Shape, given: _Map) -> _Layers:
    """Every layer, and how the map comes out."""
    if isinstance(expr, Leaf):
        return (yield from _leaf(expr, shape, given))
    if isinstance(expr, Seq | Shared):
        for part in expr.parts:
            given = yield from _layers(part, shape, given)
            shape = measure(part, shape).out
        return given
    if isinstance(expr, Combinator) and not isinstance(expr, Aux):
        return (yield from _joined(expr, shape, given))
    return given


def _joined(expr: Combinator, shape: Shape, given: _Map) -> _Layers:
    if isinstance(expr, Mul) and Seq(()) in expr.parts:
        given = yield from _reordered(shape, given, False)
    outs, found = [measure(part, shape).out for part in expr.parts], list[_Map]()
    for part in expr.parts:
        found.append((yield from _layers(part, shape, _Map(given.blocked))))
    blocked = all(one.blocked for one in found) and not isinstance(expr, Mul)
    if isinstance(expr, Concat):
        blocked = blocked and all(out[0] % _BLOCK == 0 for out in outs)
    for out, one in zip(outs, found, strict=True):
        yield from _reordered(out, one, blocked)
    kind = "add" if isinstance(expr, Add) else "concat" if isinstance(expr, Concat) else "mul"
    hidden = kind == "add" and blocked and any(one.behind_conv for one in found)
    yield _Layer("cheap" if hidden else kind, kind, sum(prod(out) for out in (*outs, measure(expr, shape).out)))
    return _Map(blocked, hidden)


def _reordered(shape: Shape, given: _Map, blocked: bool) -> _Layers:
    """Nothing where a map has the layout already, or is none."""
    if given.blocked != blocked and len(shape) == 3:
        yield _Layer("reorder", "", 2 * prod(shape))
    return _Map(blocked and len(shape) == 3)


def _leaf(leaf: Leaf, shape: Shape, given: _Map) -> _Layers:
    leaf = leaf.of if isinstance(leaf, Again) else leaf
    found = leaf_cost(leaf, shape)
    if isinstance(leaf, Conv):
        return (yield from _conv(leaf, shape, given))
    if found.view or (isinstance(leaf, Norm) and given.behind_conv):
        if isinstance(leaf, Flatten):
            yield from _reordered(shape, given, False)
            return _Map(False)
        return given
    moved, work = _moved(leaf, shape), (float(found.macs), float(found.macs))
    if isinstance(leaf, Act):
        hidden = leaf.name in _ALWAYS or (leaf.name not in _DEAR and given.behind_conv and given.blocked)
        yield _Layer("cheap" if hidden else "dear", "cheap" if leaf.name in _CLAMPS else "dear", moved)
        return _Map(given.blocked)
    if isinstance(leaf, Pool):
        pooled = float(prod(found.out) * leaf.kernel**2)
        yield _Layer("pool", "pool", moved, (pooled, pooled))
        return _Map(given.blocked)
    if isinstance(leaf, Norm):
        yield _Layer("norm", "norm", moved, work)
        return _Map(given.blocked)
    yield from _reordered(shape, given, False)
    if isinstance(leaf, Linear):
        yield _Layer("linear", "linear", moved, work, (math.log(shape[0]), math.log(leaf.out)))
        return _Map(False, True)
    moves = isinstance(leaf, AdaptivePool | Subsample | Take)
    kind = "mean" if moves else "shuffle" if isinstance(leaf, Shuffle) else "other"
    yield _Layer(kind, kind, moved, work)
    return _Map(False)


def _moved(leaf: Leaf, shape: Shape) -> int:
    found = leaf_cost(leaf, shape)
    return prod(shape) + prod(found.out) + sum(prod(one.shape) for one in found.tensors if one.kind == "param")


def _conv(leaf: Conv, shape: Shape, given: _Map) -> _Layers:
    flat = _sort(leaf, shape)
    kind = _odd(leaf, shape) or flat
    plain = kind.startswith("plain")
    yield from _reordered(shape, given, not plain and kind != "thin")
    macs = leaf_cost(leaf, shape).macs
    padded = macs * (-(-leaf.out // _BLOCK) * _BLOCK / leaf.out)
    widths = math.log(shape[0] / leaf.groups), math.log(leaf.out)
    yield _Layer(kind, flat, _moved(leaf, shape), (macs if plain else padded, padded), widths)
    return _Map(not plain, True)


def _sort(leaf: Conv, shape: Shape) -> str:
    """By groups and kernel."""
    if leaf.groups == shape[0] and leaf.groups > 1:
        return f"depthwise{leaf.kernel}" if leaf.kernel in (3, 5) else "depthwise"
    if leaf.groups > 1:
        return "grouped"
    return f"conv{leaf.kernel}" if leaf.kernel in (1, 3, 5) else "conv"


def _odd(leaf: Conv, shape: Shape) -> str:
    """The kind of one whose channels do not fill blocks, "" for others."""
    if leaf.groups > 1:
        return "plain depthwise" if leaf.groups == shape[0] and leaf.out % _ALIGNED else ""
    if shape[0] < _BLOCK:
        return "thin"
    return "plain" if shape[0] % _ALIGNED else ""
