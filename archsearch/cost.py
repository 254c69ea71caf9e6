"""What an expression costs, counted without building it: folds over the tree, exact, no torch.

Parameters, buffers and bytes are those of the deployed network: auxiliary classifiers are counted apart.
MACs are the multiplications of convolutions and linear layers for one image, biases not counted.
Peak activation: every layer reads its input and writes a new tensor; the largest sum of tensors that are
alive at once (input, output, and what other branches still need), for one image, branches from first to last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import Field
from functools import lru_cache
from math import prod
from typing import NamedTuple

from archsearch.errors import InputError, SpecError
from archsearch.layers import (
    ACTIVATIONS,
    POOLS,
    Act,
    AdaptivePool,
    Add,
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
    Subsample,
)

DTYPE_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1}
METADATA_BYTES = 8192
"""Room kept in a weights file for its metadata: architecture, recipe, normalisation, class names."""
SCALE_SUFFIX = "_scale"
"""At int8 the tensor `weight` comes with `weight_scale`, one fp32 value an output channel."""
_ENTRY = len('"":{"dtype":"","shape":[],"data_offsets":[,]},')
_CODES = {"fp32": "F32", "fp16": "F16", "bf16": "BF16"}
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


class Layer(NamedTuple):
    """One row of a network's table: parameters, MACs, values read and written for one image."""

    name: str
    kind: str
    params: int
    macs: int
    activation: int


class Cost(NamedTuple):
    """The exact cost of an expression at an input shape, for one image.

    `params`, `buffers` and `peak` (live activations) are numbers of values; `aux_params` are those of
    auxiliary classifiers, in no other figure. The fields behind them make bytes out of values.
    """

    out: Shape
    params: int = 0
    buffers: int = 0
    macs: int = 0
    peak: int = 0
    aux_params: int = 0
    peak_held: int = 0  # with the input kept alive to the end
    view: bool = False  # the output is the input's memory
    matrices: int = 0  # tensors that int8 quantises: kernels and weight matrices
    matrix_elements: int = 0
    matrix_rows: int = 0  # their output channels, one scale each
    matrix_chars: int = 0  # characters of their names and numbers of rows
    tensors: int = 0
    counters: int = 0
    chars: int = 0  # characters of all names and shapes

    def size_bytes(self, dtype: str = "fp32") -> int:
        """Upper bound, tight within 16 kB, of the safetensors file with the deployed network.

        At int8 every kernel or weight matrix is one byte a value and one fp32 scale an output channel;
        norms, biases and buffers stay fp32. Header and metadata are included.
        """
        width = element_bytes(dtype)
        others = self.params + self.buffers - self.matrix_elements - self.counters
        vectors = self.tensors - self.matrices - self.counters
        chars = self.chars
        # Entries (how many, characters of the dtype, bytes of data), in the order in which the file has them.
        regions = [(self.counters, 3, 8 * self.counters)]
        if dtype == "int8":
            regions.append((vectors + self.matrices, 3, 4 * (others + self.matrix_rows)))
            regions.append((self.matrices, 2, self.matrix_elements))
            chars += self.matrix_chars + self.matrices * len(SCALE_SUFFIX)
        else:
            regions.append((vectors + self.matrices, len(_CODES[dtype]), width * (others + self.matrix_elements)))
        end = 0
        for entries, code, data in regions:
            end += data
            chars += entries * (_ENTRY + code + 2 * len(str(end)))
        return end + chars + METADATA_BYTES + 16

    def peak_activation_bytes(self, dtype: str = "fp32") -> int:
        """The largest sum of live tensors for one image, in bytes at `dtype`."""
        return self.peak * element_bytes(dtype)


def element_bytes(dtype: str) -> int:
    """Bytes a value of fp32, fp16, bf16 or int8 takes. Raises InputError for another dtype."""
    if dtype not in DTYPE_BYTES:
        raise InputError(f"unknown dtype {dtype!r}: use one of {', '.join(DTYPE_BYTES)}")
    return DTYPE_BYTES[dtype]


@lru_cache(maxsize=1 << 15)
def measure(expr: Expr, shape: Shape) -> Cost:
    """The cost of an expression for one input of `shape`, without the batch.

    Raises:
        SpecError: a layer cannot take its input: wrong rank, a kernel larger than the map, sums of unequal
            shapes, values out of range.
    """
    if isinstance(expr, Leaf):
        return _leaf(expr, shape)
    if isinstance(expr, Seq):
        return chain(((str(i), part) for i, part in enumerate(expr.parts)), shape)
    if isinstance(expr, Aux):
        size = prod(shape)
        return Cost(shape, peak=size, peak_held=size, view=True, aux_params=measure(expr.parts[0], shape).params)
    if isinstance(expr, Combinator):
        return _branches(expr, shape)
    raise SpecError(f"{expr!r} is no expression over layer specs")


def chain(parts: Iterable[tuple[str, Expr]], shape: Shape) -> Cost:
    """The cost of named parts one after the other. The names become the module's, so they cost bytes."""
    found = []
    here = shape
    for name, part in parts:
        cost = measure(part, here)
        found.append((name, cost))
        here = cost.out
    return joined(found, shape)


def joined(parts: list[tuple[str, Cost]], shape: Shape) -> Cost:
    """The cost of named parts one after the other, each measured where the one before leads."""
    size = peak = held = prod(shape)
    view = True
    for _, cost in parts:
        alive = cost.peak_held if view else size + cost.peak
        peak = cost.peak if cost.peak > peak else peak
        held = alive if alive > held else held
        view = view and cost.view
    return _sum(parts, parts[-1][1].out if parts else shape, peak, held, view)


def _branches(expr: Combinator, shape: Shape) -> Cost:
    """Branches on one input, from first to last, then the operation that joins them."""
    if len(expr.parts) < 2:
        raise SpecError(f"{expr.kind} needs at least two branches")
    costs = [measure(part, shape) for part in expr.parts]
    named = [(str(i), cost) for i, cost in enumerate(costs)]
    out = _JOINS[type(expr)](expr, [cost.out for cost in costs])
    peaks = _concat_peaks if isinstance(expr, Concat) else _fold_peaks
    return _sum(named, out, *peaks(costs, prod(shape), prod(out)), False)


def _concat_peaks(costs: list[Cost], size: int, out: int) -> tuple[int, int]:
    """Peak without and with the input held, where all outputs wait for one joining operation."""
    aliased = any(cost.view for cost in costs)
    waiting = peak = held = 0
    for i, cost in enumerate(costs):
        needed_later = aliased or i + 1 < len(costs)
        peak = max(peak, waiting + (cost.peak_held if needed_later else cost.peak))
        held = max(held, waiting + cost.peak_held)
        waiting += 0 if cost.view else prod(cost.out)
    join = waiting + out
    return max(peak, join + size * aliased), max(held, join + size)


def _fold_peaks(costs: list[Cost], size: int, out: int) -> tuple[int, int]:
    """Peak without and with the input held, where every output joins a running total as soon as it is there."""
    first, *rest = costs
    peak = held = first.peak_held
    waiting = 0 if first.view else out
    aliased = first.view
    for i, cost in enumerate(rest, 1):
        needed_later = aliased or cost.view or i + 1 < len(costs)
        join = waiting + (0 if cost.view else prod(cost.out)) + out
        peak = max(peak, waiting + (cost.peak_held if needed_later else cost.peak), join + size * needed_later)
        held = max(held, waiting + cost.peak_held, join + size)
        waiting, aliased = out, False
    return peak, held


def layers(parts: Iterable[tuple[str, Expr]], shape: Shape) -> Iterator[Layer]:
    """Every layer of named parts one after the other, under the names that the built module gives them."""
    for name, part in parts:
        yield from _layers(name, part, shape)
        shape = measure(part, shape).out


def _layers(name: str, expr: Expr, shape: Shape) -> Iterator[Layer]:
    if isinstance(expr, Leaf):
        cost = measure(expr, shape)
        yield Layer(name, _label(expr), cost.params, cost.macs, cost.peak)
    elif isinstance(expr, Seq):
        yield from layers(((f"{name}.{i}", part) for i, part in enumerate(expr.parts)), shape)
    elif isinstance(expr, Combinator) and not isinstance(expr, Aux):
        for i, part in enumerate(expr.parts):
            yield from _layers(f"{name}.{i}", part, shape)


def _label(leaf: Leaf) -> str:
    """A leaf without what goes without saying: `Conv(out=64, kernel=3, stride=2)`."""
    fields: dict[str, Field[object]] = getattr(leaf, "__dataclass_fields__", {})
    shown = [
        f"{name}={getattr(leaf, name)!r}"
        for name, spec in fields.items()
        if name in ("out", "kernel", "kind") or (name != "padding" and getattr(leaf, name) != spec.default)
    ]
    return f"{type(leaf).__name__}({', '.join(shown)})"


def _sum(parts: list[tuple[str, Cost]], out: Shape, peak: int, held: int, view: bool) -> Cost:
    """The sums over named parts; a part's name stands before the names of its tensors."""
    params = buffers = macs = aux = matrices = elements = rows = matrix_chars = tensors = counters = chars = 0
    for name, cost in parts:
        # Unpacked at once: this is the innermost loop of counting.
        _, own, kept, work, _, extra, _, _, kernels, values, outs, kernel_chars, entries, counts, letters = cost
        aux += extra
        if entries:
            prefix = len(name) + 1
            params += own
            buffers += kept
            macs += work
            matrices += kernels
            elements += values
            rows += outs
            matrix_chars += kernel_chars + prefix * kernels
            tensors += entries
            counters += counts
            chars += letters + prefix * entries
    return Cost(
        out, params, buffers, macs, peak, aux, held, view,
        matrices, elements, rows, matrix_chars, tensors, counters, chars,
    )  # fmt: skip


def _join_add(expr: Combinator, outs: list[Shape]) -> Shape:
    if any(out != outs[0] for out in outs):
        raise SpecError(f"a residual sum needs equal shapes, not {' + '.join(map(str, outs))}")
    return outs[0]


def _join_concat(expr: Combinator, outs: list[Shape]) -> Shape:
    if any(out[1:] != outs[0][1:] for out in outs):
        raise SpecError(f"a concatenation needs equal maps, not {', '.join(map(str, outs))}")
    return (sum(out[0] for out in outs), *outs[0][1:])


def _join_mul(expr: Combinator, outs: list[Shape]) -> Shape:
    ones = (outs[0][0], *(1 for _ in outs[0][1:]))
    if any(out not in (outs[0], ones) for out in outs):
        raise SpecError(f"a product needs equal shapes or one value a channel, not {', '.join(map(str, outs))}")
    return outs[0]


_JOINS: dict[type[Combinator], Callable[[Combinator, list[Shape]], Shape]] = {
    Add: _join_add,
    Concat: _join_concat,
    Mul: _join_mul,
}


def _leaf(leaf: Leaf, shape: Shape) -> Cost:
    """One layer's totals from its rule."""
    out, tensors, macs, view = leaf_cost(leaf, shape)
    peak = prod(shape) if view else prod(shape) + prod(out)
    if not tensors:
        return Cost(out, macs=macs, peak=peak, peak_held=peak, view=view)
    return of_tensors(tensors, out, macs, peak, view)


def of_tensors(tensors: Iterable[Tensor], out: Shape, macs: int, peak: int, view: bool = False) -> Cost:
    """The cost of a state that is known tensor by tensor."""
    params = buffers = matrices = elements = rows = matrix_chars = entries = counters = chars = 0
    for name, dims, kind in tensors:
        count = prod(dims)
        entries += 1
        chars += len(name) + len(",".join(map(str, dims)))
        if kind != "param":
            buffers += count
            if kind == "counter":
                counters += count
            continue
        params += count
        if len(dims) > 1:
            matrices += 1
            elements += count
            rows += dims[0]
            matrix_chars += len(name) + len(str(dims[0]))
    return Cost(
        out, params, buffers, macs, peak, 0, peak, view,
        matrices, elements, rows, matrix_chars, entries, counters, chars,
    )  # fmt: skip


def leaf_cost(leaf: Leaf, shape: Shape) -> LeafCost:
    """One layer's output shape, state and MACs for an input of `shape`. Raises SpecError."""
    if isinstance(leaf, Custom):
        return leaf.cost(shape)
    rule = _RULES.get(type(leaf))
    if rule is None:
        raise SpecError(f"{type(leaf).__name__} is no known layer: derive it from archsearch.layers.Custom")
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
    Flatten: _flatten,
    Linear: _linear,
    Dropout: _dropout,
}
