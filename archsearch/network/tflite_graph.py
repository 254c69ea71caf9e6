"""The operators of the int8 `.tflite` file that `export` writes, from a network's layers alone; nothing is converted.

litert-torch marks what is int8: convolutions, linear layers, means, products, concatenations, sums with a ReLU behind
them, max pooling behind one of these. Anything else, such as a sum or a hardswish, is int8 only where it reads nothing
but what these make, and only these read it, through pooling too. Else it is computed in fp32, four bytes a value,
behind a DEQUANTIZE and before a QUANTIZE.
A norm behind a convolution or linear layer is folded into it, and so is a ReLU. A norm by itself is four operators in
fp32. (litert-torch 0.10.0, `quantize/pt2e_quantizer_utils.py`, and the files that it wrote.)
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from itertools import cycle
from math import prod
from typing import NamedTuple

from archsearch.errors import SpecError
from archsearch.network.cost import Parts, measure
from archsearch.network.layers import (
    Act,
    AdaptivePool,
    Add,
    Again,
    Aux,
    Combinator,
    Concat,
    Conv,
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
    Take,
)

CONV, DEPTHWISE, LINEAR, MUL, SUB, ADD = "conv", "depthwise", "linear", "mul", "sub", "add"
PAD, SLICE, STRIDED, TRANSPOSE, RESHAPE, CONCAT = "pad", "slice", "strided_slice", "transpose", "reshape", "concat"
MEAN, MAX, AVG, LOGISTIC, TANH = "mean", "max", "avg", "logistic", "tanh"
HARDSWISH, LEAKY, RELU, QUANTIZE, DEQUANTIZE = "hardswish", "leaky_relu", "relu", "quantize", "dequantize"
FLOAT = "_fp32"
"""Behind the name of an operator that is computed in fp32."""
POOLS, ALL, NONE = READERS = "pools", "all", "none"
"""What reads joined branches that are pooled in another scale than they have: that hangs on a network's weights."""
_LOWEST = "lowest"  # the constant that pads what is pooled
_ADD_RELU = "add_relu"
_MARKED = {CONV, DEPTHWISE, LINEAR, MUL, MEAN, LOGISTIC, QUANTIZE, _ADD_RELU,
           PAD, SLICE, STRIDED, TRANSPOSE, RESHAPE, CONCAT}  # fmt: skip
"""What is int8 wherever it stands."""
_SAME_SCALE = {AVG, MAX}
"""What is int8 wherever what it makes is read as int8, and asks that of what it reads."""
_FUSED = {CONV, DEPTHWISE, LINEAR, ADD, MUL}
"""What takes in the ReLU behind it."""
_FOLDED = {CONV, DEPTHWISE, LINEAR}
"""What takes in the norm behind it."""
_CLAMPS, _THIN = {"relu", "relu6"}, 8
"""Channels below which a strided 1x1 convolution is sliced first (`nn.build.ThinConv2d`)."""


class Operator(NamedTuple):
    """One operator of a file.

    `reads`, `makes`: places in `Graph.sizes`. `channels`: output channels with a multiplier each. `constants`: the
    tensors that it reads from the file; those of equal keys are one.
    """

    kind: str
    reads: tuple[int, ...]
    makes: int
    channels: int = 0
    constants: tuple[Hashable, ...] = ()


class Graph(NamedTuple):
    """A file: bytes of the tensors that are computed, the image first, and operators in the order they run."""

    sizes: tuple[int, ...]
    operators: tuple[Operator, ...]


class _Node(NamedTuple):
    """An operator before it is decided what is int8; `reads` and `makes` are places among values."""

    kind: str
    reads: tuple[int, ...]
    makes: int
    channels: int
    constants: tuple[Hashable, ...]


class _Trace:
    """Values, by how many numbers they are, and the nodes that make them."""

    def __init__(self, shape: Shape) -> None:
        self.values = [prod(shape)]
        self.nodes: list[_Node] = []
        self._constants = 0

    def node(self, kind: str, reads: Iterable[int], size: int, constants: Iterable[Hashable] = (), out: int = 0) -> int:
        """Add a node; its value."""
        self.values.append(size)
        made = len(self.values) - 1
        self.nodes.append(_Node(kind, tuple(reads), made, out, tuple(constants)))
        return made

    def own(self, count: int) -> list[Hashable]:
        """So many constants that nothing else reads."""
        self._constants += count
        return [("own", self._constants - i) for i in range(count)]

    def mark(self, value: int) -> None:
        """A ReLU follows the sum that makes a value, if it is one."""
        node = self.nodes[value - 1]
        if node.kind == ADD:
            self.nodes[value - 1] = node._replace(kind=_ADD_RELU)

    def kind(self, value: int) -> str:
        """What makes a value, "" for the image."""
        return self.nodes[value - 1].kind if value else ""


def graph(parts: Parts, shape: Shape, readers: Sequence[str] = (POOLS,)) -> Graph:
    """The int8 file of a network. `readers`: of `READERS`, of joined branches that are pooled, again and again.

    Raises:
        SpecError: a layer of which it is not known what the file has for it.
    """
    trace = _Trace(shape)
    size, here = prod(shape), 0
    if isinstance(_first(Seq(tuple(expr for _, expr, _ in parts))), Flatten):
        raise unknown("networks that begin with Flatten()")
    here = trace.node(RESHAPE if shape[0] == 1 else TRANSPOSE, [here], size, [("order", 0)])
    here = trace.node(MUL, [here], size, trace.own(1))
    here = trace.node(SUB, [here], size, trace.own(1))
    free = False
    for _, expr, given in parts:
        here, free = _put(trace, expr, given, here, free)
    if trace.kind(here) in (CONV, DEPTHWISE):  # flattened, with no linear layer behind it that takes it as it is
        trace.node(RESHAPE, [here], trace.values[here], trace.own(1))
    return _typed(trace, readers)


def unknown(what: str) -> SpecError:
    """Of what no file has been read."""
    return SpecError(f"RAM is not known of {what}: leave the limit on it out, and measure it on the board")


def _first(expr: Expr) -> Expr | None:
    return next(iter(_leaves(expr)), None)


def _leaves(expr: Expr) -> Iterable[Expr]:
    if isinstance(expr, Leaf):
        yield expr
    elif isinstance(expr, Combinator) and not isinstance(expr, Aux):
        for part in expr.parts:
            yield from _leaves(part)


def _put(trace: _Trace, expr: Expr, shape: Shape, value: int, free: bool) -> tuple[int, bool]:
    """Add an expression that reads `value`; its own value, and whether only what follows at once reads that.

    free: the same of `value`: what makes it may take in a norm or a ReLU.
    """
    if isinstance(expr, Seq | Shared):
        for part in expr.parts:
            value, free = _put(trace, part, shape, value, free)
            shape = measure(part, shape).out
        return value, free
    if isinstance(expr, Aux):
        return value, free
    if isinstance(expr, Combinator):
        return _join(trace, expr, shape, value), True
    assert isinstance(expr, Leaf)
    return _leaf(trace, expr, shape, value, free)


def _join(trace: _Trace, expr: Combinator, shape: Shape, value: int) -> int:
    """Branches from first to last; a sum or product runs as soon as two are there."""
    out = prod(measure(expr, shape).out)
    if isinstance(expr, Concat):
        # Each slice has the scale of its own channels. With some weights the first one reads what all are taken of.
        sliced = [part for part in expr.parts if isinstance(_first(part), Take)]
        copies, reads = {part: trace.node(QUANTIZE, [value], prod(shape)) for part in sliced}, list[int]()
        for part in expr.parts:
            read, _ = _put(trace, part, shape, copies.get(part, value), False)
            alone = trace.kind(read) in _SAME_SCALE  # with its scale, not that of the joined ones
            reads.append(trace.node(QUANTIZE, [read], trace.values[read]) if alone else read)
        return trace.node(CONCAT, reads, out)
    kind = ADD if isinstance(expr, Add) else MUL
    total, *_ = _put(trace, expr.parts[0], shape, value, False)
    for part in expr.parts[1:]:
        total = trace.node(kind, [total, _put(trace, part, shape, value, False)[0]], out)
    return total


def _leaf(trace: _Trace, leaf: Leaf, shape: Shape, value: int, free: bool) -> tuple[int, bool]:
    leaf = leaf.of if isinstance(leaf, Again) else leaf  # its norm is folded in: a kernel of its own
    size = prod(measure(leaf, shape).out)
    if isinstance(leaf, Take):
        return trace.node(SLICE, [value], size, [*trace.own(1), ("size", measure(leaf, shape).out)]), True
    if isinstance(leaf, Shuffle):
        for order, parts in ((1, leaf.groups), (2, 1)):  # to channels first and back
            value = trace.node(TRANSPOSE, [value], size, [("order", order)])
            value = trace.node(RESHAPE, [value], size, [("shape", (parts, *shape))])
        return trace.node(TRANSPOSE, [value], size, [("order", 0)]), True
    if isinstance(leaf, Conv):
        return _conv(trace, leaf, shape, value), True
    if isinstance(leaf, Linear):
        return trace.node(LINEAR, [value], size, trace.own(2), leaf.out), True
    if isinstance(leaf, Norm):
        return _norm(trace, shape, value, free)
    if isinstance(leaf, Act):
        return _act(trace, leaf, size, value, free)
    if isinstance(leaf, Pool):
        return _pool(trace, leaf, shape, value), True
    if isinstance(leaf, AdaptivePool) and leaf.size == 1:
        return trace.node(MEAN, [value], size, ["axes"]), True
    if isinstance(leaf, Flatten):
        return _flatten(trace, shape, value), True
    if isinstance(leaf, Dropout):
        return value, free
    raise unknown(f"the layer {type(leaf).__name__}")


def _conv(trace: _Trace, leaf: Conv, shape: Shape, value: int) -> int:
    channels, height, width = shape
    if leaf.kernel == 1 and leaf.stride > 1 and channels < _THIN and (leaf.padding, leaf.groups) == (0, 1):
        half = -(-height // leaf.stride)
        value = trace.node(STRIDED, [value], channels * half * width, [*trace.own(2), "begin"])
        value = trace.node(QUANTIZE, [value], trace.values[value])  # with some weights
        value = trace.node(STRIDED, [value], channels * half * -(-width // leaf.stride), [*trace.own(2), "begin"])
    elif leaf.padding and (leaf.stride > 1 or 2 * leaf.padding != leaf.dilation * (leaf.kernel - 1)):
        value = trace.node(PAD, [value], _padded(shape, leaf.padding), [("padding", leaf.padding)])
    size = prod(measure(leaf, shape).out)
    kind = DEPTHWISE if leaf.groups == channels else CONV
    return trace.node(kind, [value], size, trace.own(2), leaf.out)


def _norm(trace: _Trace, shape: Shape, value: int, free: bool) -> tuple[int, bool]:
    if free and trace.kind(value) in _FOLDED:
        return value, True
    for kind in (SUB, MUL, MUL, ADD):
        value = trace.node(kind + FLOAT, [value], prod(shape), trace.own(1))
    return value, True


def _act(trace: _Trace, leaf: Act, size: int, value: int, free: bool) -> tuple[int, bool]:
    name = leaf.name
    if name in _CLAMPS:
        maker = trace.kind(value).removesuffix(FLOAT)
        if free and maker in _FUSED:
            if maker == ADD and name == "relu":
                trace.mark(value)
            return value, False
        return trace.node(RELU, [value], size), False
    if name == "silu":
        gate = trace.node(LOGISTIC + FLOAT, [value], size)
        return trace.node(MUL + FLOAT, [value, gate], size), False
    if name == "hardsigmoid":
        value = trace.node(ADD + FLOAT, [value], size, trace.own(1))
        return trace.node(MUL + FLOAT, [value], size, trace.own(1)), False
    kinds = {"hardswish": HARDSWISH, "leaky_relu": LEAKY, "tanh": TANH, "sigmoid": LOGISTIC}
    if name not in kinds:
        raise unknown(f"the activation {name}, which TensorFlow Lite Micro does not run")
    return trace.node(kinds[name], [value], size), False


def _pool(trace: _Trace, leaf: Pool, shape: Shape, value: int) -> int:
    if leaf.ceil or (leaf.kind == "avg" and leaf.padding):
        raise unknown("pooling that rounds up, or averages padding")
    if leaf.padding and (leaf.stride > 1 or 2 * leaf.padding != leaf.kernel - 1):
        value = trace.node(PAD, [value], _padded(shape, leaf.padding), [("padding", leaf.padding), _LOWEST])
    return trace.node(MAX if leaf.kind == "max" else AVG, [value], prod(measure(leaf, shape).out))


def _padded(shape: Shape, by: int) -> int:
    return shape[0] * (shape[1] + 2 * by) * (shape[2] + 2 * by)


def _flatten(trace: _Trace, shape: Shape, value: int) -> int:
    if len(shape) == 1 or prod(shape[1:]) == 1:
        return value
    value = trace.node(TRANSPOSE, [value], prod(shape), [("order", 1)])
    return trace.node(RESHAPE, [value], prod(shape), [("shape", prod(shape))])


def _typed(trace: _Trace, readers: Sequence[str]) -> Graph:
    """With int8 and fp32 decided, and what converts between them."""
    marked, whole = _marked(trace.nodes), _whole(trace.nodes)
    pools = {node for node in trace.nodes if node.kind in _SAME_SCALE or _LOWEST in node.constants}
    pooled = {node.reads[0] for node in pools}
    quantised = {read for node, int8 in zip(trace.nodes, whole, strict=True) if int8 for read in node.reads}
    real = {read for node, int8 in zip(trace.nodes, whole, strict=True) if not int8 for read in node.reads}
    sizes, operators = [trace.values[0]], list[Operator]()
    at, at_real, at_pool, each = {0: 0}, dict[int, int](), dict[int, int](), cycle(readers)

    def put(kind: str, reads: Iterable[int], size: int, node: _Node | None = None) -> int:
        sizes.append(size)
        more = (node.channels, node.constants) if node else (0, ())
        operators.append(Operator(kind, tuple(reads), len(sizes) - 1, *more))
        return len(sizes) - 1

    for node, int8 in zip(trace.nodes, whole, strict=True):
        size, made = trace.values[node.makes], node.makes
        if int8:
            here, kind = at | at_pool if node in pools else at, ADD if node.kind == _ADD_RELU else node.kind
            at[made] = put(kind, [here[read] for read in node.reads], size, node)
            if node.kind == CONCAT and made in pooled and (by := next(each)) != NONE:
                at_pool[made] = put(QUANTIZE, [at[made]], size)
                at[made] = at_pool[made] if by == ALL else at[made]
            if node.kind == AVG and node.reads[0] in marked:
                at[made] = put(QUANTIZE, [at[made]], size)
            if made in real:
                at_real[made] = put(DEQUANTIZE, [at[made]], 4 * size)
            continue
        kind = node.kind.removesuffix(FLOAT) + FLOAT
        at_real[made] = put(kind, [at_real[read] for read in node.reads], 4 * size, node)
        if made in quantised:
            at[made] = put(QUANTIZE, [at_real[made]], size)
    return Graph(tuple(sizes), tuple(operators))


def _whole(nodes: list[_Node]) -> list[bool]:
    """Of every node, whether it is int8."""
    marked, raw, found = _marked(nodes), set[int](), list[bool]()
    for node in reversed(nodes):
        int8 = node.makes in marked
        if not int8 and node.makes not in raw and not node.kind.endswith(FLOAT):
            int8 = node.kind in _SAME_SCALE or marked.issuperset(node.reads)
        found.append(int8)
        if not (node.makes in marked or (int8 and node.kind in _SAME_SCALE)):
            raw |= {*node.reads}
    return found[::-1]


def _marked(nodes: list[_Node]) -> set[int]:
    """The values that are int8 by what makes them."""
    found, copied = {0}, {node.reads[0] for node in nodes if node.kind in (SLICE, QUANTIZE)}
    for node in nodes:
        summed = node.kind == ADD and node.makes in copied and found.issuperset(node.reads)
        if node.kind in _MARKED or summed or (node.kind == MAX and node.reads[0] in found):
            found.add(node.makes)
    return found
