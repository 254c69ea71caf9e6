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

from archsearch.errors import SpecError
from archsearch.network.file_size import FileContents, FixedTensor, element_bytes
from archsearch.network.layer_cost import Tensor, leaf_cost
from archsearch.network.layers import Add, Aux, Combinator, Concat, Expr, Leaf, Mul, Seq, Shape, Shared

Parts = tuple[tuple[str, Expr, Shape], ...]
"""The parts of a network in order: name, expression, shape of what it is given."""


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
    auxiliary classifiers, in no other figure. `contents` makes bytes out of values.
    """

    out: Shape
    params: int = 0
    buffers: int = 0
    macs: int = 0
    peak: int = 0
    aux_params: int = 0
    peak_held: int = 0  # with the input kept alive to the end
    view: bool = False  # the output is the input's memory
    contents: FileContents = FileContents()
    fixed: tuple[FixedTensor, ...] = ()  # tensors of a module that are not of the size dtype
    parts: Parts = ()  # of an architecture, for `format_size`

    def size_bytes(self, dtype: str = "fp32") -> int:
        """Upper bound, tight within 16 kB, of the safetensors file with the deployed network.

        At int8 every kernel or weight matrix is one byte a value and one fp32 scale an output channel;
        norms, biases and buffers stay fp32. Header and metadata are included.
        """
        return self.contents.size_bytes(self.params + self.buffers, dtype, self.fixed)

    def peak_activation_bytes(self, dtype: str = "fp32") -> int:
        """The largest sum of live tensors for one image, in bytes at `dtype`."""
        return self.peak * element_bytes(dtype)


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
    if isinstance(expr, Shared):
        return _shared(expr, shape)
    if isinstance(expr, Aux):
        size = prod(shape)
        return Cost(out=shape, peak=size, peak_held=size, view=True, aux_params=measure(expr.parts[0], shape).params)
    if isinstance(expr, Combinator):
        return _branches(expr, shape)
    raise SpecError(f"{expr!r} is no expression over layer specs")


def _shared(expr: Shared, shape: Shape) -> Cost:
    for part in expr.parts:
        if (out := measure(part, shape).out) != shape:
            raise SpecError(f"blocks that share their kernels keep the shape of their map: {shape} becomes {out}")
    return chain(((str(i), part) for i, part in enumerate(expr.parts)), shape)


def chain(parts: Iterable[tuple[str, Expr]], shape: Shape) -> Cost:
    """The cost of named parts one after the other. The names become the module's, so they cost bytes."""
    found = []
    here = shape
    for name, part in parts:
        cost = measure(part, here)
        found.append((name, cost))
        here = cost.out
    return joined(found, shape)


def joined(parts: list[tuple[str, Cost]], shape: Shape, whole: Parts = ()) -> Cost:
    """The cost of named parts one after the other, each measured where the one before leads.

    Args:
        whole: the same parts, where they are all of a network.
    """
    size = peak = held = prod(shape)
    view = True
    for _, cost in parts:
        alive = cost.peak_held if view else size + cost.peak
        peak = cost.peak if cost.peak > peak else peak
        held = alive if alive > held else held
        view = view and cost.view
    return _sum(parts, parts[-1][1].out if parts else shape, (peak, held, view), whole)


def _branches(expr: Combinator, shape: Shape) -> Cost:
    """Branches on one input, from first to last, then the operation that joins them."""
    if len(expr.parts) < 2:
        raise SpecError(f"{expr.kind} needs at least two branches")
    costs = [measure(part, shape) for part in expr.parts]
    named = [(str(i), cost) for i, cost in enumerate(costs)]
    out = _JOINS[type(expr)](expr, [cost.out for cost in costs])
    peaks = _concat_peaks if isinstance(expr, Concat) else _fold_peaks
    return _sum(named, out, (*peaks(costs, prod(shape), prod(out)), False))


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
    elif isinstance(expr, Seq | Shared):
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


def _sum(parts: list[tuple[str, Cost]], out: Shape, live: tuple[int, int, bool], whole: Parts = ()) -> Cost:
    """The sums over named parts; a part's name and a dot stand before the names of its tensors."""
    params = buffers = macs = aux = 0
    tensors = counters = chars = matrices = elements = rows = matrix_chars = 0
    for name, cost in parts:
        # Unpacked at once: in this innermost loop of counting, fields by name make a count 5% slower.
        _, own, kept, work, _, extra, _, _, (count, integers, letters, kernels, values, outs, spelt), _, _ = cost
        aux += extra
        macs += work
        if count:
            prefix = len(name) + 1
            params += own
            buffers += kept
            tensors += count
            counters += integers
            chars += letters + prefix * count
            matrices += kernels
            elements += values
            rows += outs
            matrix_chars += spelt + prefix * kernels
    # By position: by names a warm count is 15% slower.
    contents = FileContents(tensors, counters, chars, matrices, elements, rows, matrix_chars)
    peak, held, view = live
    return Cost(out, params, buffers, macs, peak, aux, held, view, contents, (), whole)


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
        return Cost(out=out, macs=macs, peak=peak, peak_held=peak, view=view)
    return of_tensors(tensors, out, macs, peak, view)


def of_tensors(tensors: Iterable[Tensor], out: Shape, macs: int, peak: int, view: bool = False) -> Cost:
    """The cost of a state that is known tensor by tensor."""
    params = buffers = 0
    entries = counters = chars = matrices = elements = rows = matrix_chars = 0
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
    contents = FileContents(entries, counters, chars, matrices, elements, rows, matrix_chars)
    return Cost(out, params, buffers, macs, peak, 0, peak, view, contents)
