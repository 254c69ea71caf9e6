"""How many bytes the file of another format has, from the layers alone: a bound, by amounts that real files show.

A file is its weights, something for every operator, and our metadata. What an operator costs depends on what stands
before it: a norm behind a convolution is folded into it, an activation may be. So layers are put down as amounts
of `FEATURES`, and the bytes of a format at a precision are a sum over them. The factors are in `format_table`;
`benchmarks/format_sizes.py` fits them, as the least that is below no real file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from archsearch._utils.formats import FORMATS
from archsearch.errors import InputError
from archsearch.network.cost import Cost, Parts, measure
from archsearch.network.file_size import SAFETENSORS, Written
from archsearch.network.format_table import FACTORS
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
    Custom,
    Dropout,
    Expr,
    Flatten,
    Leaf,
    Linear,
    Norm,
    Pool,
    Seq,
    Shape,
    Shared,
    Shuffle,
    Subsample,
    Take,
)

OPERATORS = (
    "conv", "grouped", "padded", "thin", "linear", "norm", "linear_norm", "relu", "relu_conv", "relu_sum", "leaky_relu",
    "tanh", "silu", "hardswish", "gelu", "sigmoid", "hardsigmoid", "relu6", "max", "avg", "pool_padded", "mean",
    "adaptive", "ragged", "subsample", "take", "shuffle", "flatten", "add", "mul", "concat", "concatenated", "custom",
)  # fmt: skip
FEATURES = (
    "file", "values", "grouped_values", "linear_values", "outs", "norm_channels", "chars", "weight_digits",
    "map_digits", "ragged_values", *OPERATORS,
)  # fmt: skip
"""What a file's bytes are a sum over.

`file`: 1. `values`: of kernels and weight matrices; `grouped_values`, `linear_values`: those of convolutions in groups
and of linear layers once more, which some int8 files keep in fp32. `outs`: output channels of all, a bias each.
`chars`: of the names of these tensors. `weight_digits`, `map_digits`: of their sizes, and those of maps.
`padded`: convolutions whose padding is no plain "same". `thin`: those that are sliced first (`nn.build.ThinConv2d`).
`norm`: norms that no convolution takes in; `linear_norm`: those behind a linear layer. `relu_conv`, `relu_sum`: ReLUs
behind a convolution or linear layer, and behind a sum. `mean`: global pooling. `ragged`: adaptive pooling of maps
whose sides its own do not divide; `ragged_values`: what its windows read, of which LiteRT has a table. `concatenated`:
inputs of `concat`. `custom`: leaves of somebody's own and their tensors. The others are layers by their names.
"""
Amounts = tuple[tuple[str, int], ...]
ROOM, SHARE = 4096, 0.02
"""How far above a file the bound may be: bytes, or a share of it, the larger. `beyond` is a share of that."""
_UNLIKE = 0.0025
"""A share on top at other precisions than fp32, of which few files were fitted."""
_METADATA = {"onnx": (1000, 140, 14)}
_PACKED = (800, 48, 8)
"""Bytes kept for our metadata: for all, for every part, for every class name. Packed: as a zip archive."""
_PREFIX = "network"
_CONV, _LINEAR, _SUM, _OTHER = "conv", "linear", "sum", ""
"""What an operator stands behind."""


@dataclass(frozen=True, eq=False)
class Factors:
    """Bytes for one of every feature; one object is one key of the cache."""

    of: Mapping[str, float]

    def __call__(self, found: Amounts) -> float:
        """The sum over amounts."""
        return sum(amount * self.of.get(name, 0.0) for name, amount in found)


def file_bytes(cost: Cost, written: Written) -> int:
    """Upper bound of the file with the deployed network, its metadata included.

    What is kept for metadata is enough for class names of 10 characters.

    Raises:
        InputError: the format is not safetensors, and the cost is not that of an `Arch`.
    """
    if written.form == SAFETENSORS:
        return cost.size_bytes(written.dtype)
    if not cost.parts:
        raise InputError(f"the bytes of {FORMATS[written.form].words} files are counted of architectures alone")
    return graph_bytes(cost, written) + metadata_bytes(written.form, cost)


def graph_bytes(cost: Cost, written: Written) -> int:
    """Upper bound of a file without our metadata."""
    factors = _fitted(written)
    found = weighed(cost.parts, factors)
    unlike = _UNLIKE if written.dtype != "fp32" else 0.0
    return math.ceil(found * (1 + unlike) + factors.of.get("beyond", 0.0) * max(ROOM, SHARE * found))


def metadata_bytes(form: str, cost: Cost) -> int:
    """What is kept for our metadata in a file of a network."""
    once, for_part, for_class = _METADATA.get(form, _PACKED)
    return once + for_part * len(cost.parts) + for_class * cost.out[0]


def check_written(written: Written) -> None:
    """Raises InputError where a file's bytes cannot be counted: no such format, or not at this precision."""
    form, dtype = written.form, written.dtype
    if form == SAFETENSORS:
        return
    if form not in FACTORS:
        raise InputError(f"unknown size format {form!r}: use one of {', '.join([SAFETENSORS, *FACTORS])}")
    if dtype not in FACTORS[form]:
        words = FORMATS[form].words
        raise InputError(f"{words} files are counted at {', '.join(FACTORS[form])}, not at {dtype}: set --size-dtype")


def amounts(parts: Parts) -> dict[str, float]:
    """How much of every feature a network has."""
    return {name: weighed(parts, unit) for name, unit in _units().items()}


def weighed(parts: Parts, factors: Factors) -> float:
    """The sum over all amounts of a network's parts, each times its factor."""
    total, after = factors((("file", 1),)), _OTHER
    for name, expr, shape in parts:
        found, named, after = _weigh(expr, shape, after, factors)
        total += found + factors((("chars", (len(_PREFIX) + len(name) + 2) * named),))
    return total


@lru_cache(maxsize=16)
def _fitted(written: Written) -> Factors:
    return Factors(FACTORS[written.form][written.dtype])


@lru_cache(maxsize=1)
def _units() -> dict[str, Factors]:
    return {name: Factors({name: 1.0}) for name in FEATURES}


@lru_cache(maxsize=1 << 15)
def _weigh(expr: Expr, shape: Shape, after: str, factors: Factors) -> tuple[float, int, str]:
    """The sum over an expression, how many of its tensors have names, and what it ends in."""
    if isinstance(expr, Leaf):
        all_of_it, last = _RULES.get(type(expr), _custom)(expr, shape, after)
        return factors(all_of_it), sum(name == "chars" for name, _ in all_of_it), last
    if isinstance(expr, Aux):
        return 0.0, 0, after
    assert isinstance(expr, Combinator)
    total, named, char, here, branches = 0.0, 0, factors.of.get("chars", 0.0), shape, not isinstance(expr, Seq | Shared)
    for i, part in enumerate(expr.parts):
        weight, tensors, last = _weigh(part, here, _OTHER if branches else after, factors)
        total += weight + (len(str(i)) + 1) * tensors * char
        named += tensors
        if not branches:
            here, after = measure(part, here).out, last
    if branches:
        joint, after = _join(expr, measure(expr, shape).out)
        total += factors(joint)
    return total, named, after


def _join(expr: Combinator, out: Shape) -> tuple[Amounts, str]:
    digits = ("map_digits", _digits(out))
    if isinstance(expr, Concat):
        return (("concat", 1), ("concatenated", len(expr.parts)), digits), _OTHER
    kind, last = ("add", _SUM) if isinstance(expr, Add) else ("mul", _OTHER)
    return ((kind, len(expr.parts) - 1), digits), last


def _digits(shape: Shape) -> int:
    return len("".join(map(str, shape)))


def _weight(dims: Shape) -> Amounts:
    return (("values", math.prod(dims)), ("outs", dims[0]), ("chars", len("weight")), ("weight_digits", _digits(dims)))


def _conv(leaf: Conv, shape: Shape, after: str) -> tuple[Amounts, str]:
    same = 2 * leaf.padding == leaf.dilation * (leaf.kernel - 1)
    thin = leaf.kernel == 1 and leaf.stride > 1 and shape[0] < 8
    weight = (leaf.out, shape[0] // leaf.groups, leaf.kernel, leaf.kernel)
    kind = (("grouped", 1), ("grouped_values", math.prod(weight))) if leaf.groups > 1 else (("conv", 1),)
    found = (
        *kind,
        *_weight(weight),
        ("map_digits", _digits(measure(leaf, shape).out)),
        ("padded", int(leaf.padding > 0 and (leaf.stride > 1 or not same))),
        ("thin", int(thin)),
    )
    return found, _CONV


def _linear(leaf: Linear, shape: Shape, after: str) -> tuple[Amounts, str]:
    weight, digits = (leaf.out, shape[0]), ("map_digits", _digits((leaf.out,)))
    return (("linear", 1), ("linear_values", math.prod(weight)), *_weight(weight), digits), _LINEAR


def _norm(leaf: Norm, shape: Shape, after: str) -> tuple[Amounts, str]:
    if after == _CONV:
        return (), _CONV
    kind = "linear_norm" if after == _LINEAR else "norm"
    return ((kind, 1), ("norm_channels", shape[0]), ("map_digits", _digits(shape))), _OTHER


def _act(leaf: Act, shape: Shape, after: str) -> tuple[Amounts, str]:
    behind = {_CONV: "relu_conv", _LINEAR: "relu_conv", _SUM: "relu_sum"} if leaf.name == "relu" else {}
    return ((behind.get(after, leaf.name), 1), ("map_digits", _digits(shape))), _OTHER


def _pool(leaf: Pool, shape: Shape, after: str) -> tuple[Amounts, str]:
    padded = ("pool_padded", int(leaf.padding > 0 or leaf.ceil))
    return ((leaf.kind, 1), padded, ("map_digits", _digits(measure(leaf, shape).out))), _OTHER


def _adaptive(leaf: AdaptivePool, shape: Shape, after: str) -> tuple[Amounts, str]:
    size, side = leaf.size, max(shape[1:])
    digits = ("map_digits", _digits(measure(leaf, shape).out))
    if all(one % size == 0 for one in shape[1:]):
        return (("mean" if size == 1 else "adaptive", 1), digits), _OTHER
    window = max(-(-(i + 1) * side // size) - i * side // size for i in range(size))
    return (("ragged", 1), ("ragged_values", shape[0] * (size * window) ** 2), digits), _OTHER


def _subsample(leaf: Subsample, shape: Shape, after: str) -> tuple[Amounts, str]:
    return (("subsample", 1), ("map_digits", _digits(measure(leaf, shape).out))), _OTHER


def _take(leaf: Take, shape: Shape, after: str) -> tuple[Amounts, str]:
    return (("take", 1), ("map_digits", _digits(measure(leaf, shape).out))), _OTHER


def _shuffle(leaf: Shuffle, shape: Shape, after: str) -> tuple[Amounts, str]:
    return (("shuffle", 1), ("map_digits", 3 * _digits(shape))), _OTHER


def _again(leaf: Again, shape: Shape, after: str) -> tuple[Amounts, str]:
    """The kernel once more: a file has it with the norm behind it folded in."""
    return _RULES[type(leaf.of)](leaf.of, shape, after)


def _flatten(leaf: Flatten, shape: Shape, after: str) -> tuple[Amounts, str]:
    return (("flatten", 1),) if len(shape) > 1 else (), _OTHER


def _dropout(leaf: Dropout, shape: Shape, after: str) -> tuple[Amounts, str]:
    return (), after


def _custom(leaf: Custom, shape: Shape, after: str) -> tuple[Amounts, str]:
    """A leaf of somebody's own: its tensors, and as much as the dearest operator for each of them and for itself."""
    cost = leaf_cost(leaf, shape)
    tensors = [one for one in cost.tensors if one.kind != "counter"]
    weights = tuple(pair for one in tensors for pair in _weight(one.shape or (1,)))
    return (("custom", 1 + len(tensors)), *weights, ("map_digits", _digits(cost.out))), _OTHER


_RULES: dict[type[Expr], Callable[..., tuple[Amounts, str]]] = {
    Conv: _conv,
    Linear: _linear,
    Norm: _norm,
    Act: _act,
    Pool: _pool,
    AdaptivePool: _adaptive,
    Subsample: _subsample,
    Take: _take,
    Shuffle: _shuffle,
    Again: _again,
    Flatten: _flatten,
    Dropout: _dropout,
}
