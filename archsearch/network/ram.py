"""How much RAM a runtime takes for a network, before any file is written.

TensorFlow Lite Micro puts everything into one arena: tensors, by a plan that is made before the first run, and behind
them what describes tensors and operators. Both are counted here as it does, for the int8 `.tflite` file of `export`
and its reference kernels on a machine of 64 bits; of 32 bits the descriptions are smaller. The plan is greedy, largest
tensor first, each at the lowest place that is free while it lives. (tflite-micro 0.dev20261023182759.)

Other runtimes are left out. ExecuTorch's plan is of what XNNPACK does not take, which is next to nothing, and XNNPACK
does not tell; neither does LiteRT. ONNX Runtime's arena tells only after it ran.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product

from archsearch.network import tflite_graph as tflite
from archsearch.network.cost import Cost, Parts
from archsearch.network.tflite_graph import Graph, Operator

_ALIGNED = 16
_FILE, _TENSOR = 736, 24
"""Bytes of the arena that are for a file and for each of its tensors, weights included."""
_JOINED = 144
"""For a constant that files with joined branches may quantise: 2 of 25 of `inception` did, none of 175 others."""
_OPERATORS = {
    tflite.CONV: 172, tflite.DEPTHWISE: 172, tflite.LINEAR: 176, tflite.MUL: 116, tflite.SUB: 136, tflite.ADD: 136,
    tflite.PAD: 128, tflite.SLICE: 64, tflite.STRIDED: 184, tflite.TRANSPOSE: 64, tflite.RESHAPE: 104,
    tflite.CONCAT: 160, tflite.MEAN: 136, tflite.MAX: 136, tflite.AVG: 136, tflite.LOGISTIC: 80, tflite.TANH: 80,
    tflite.HARDSWISH: 96, tflite.LEAKY: 104, tflite.RELU: 96, tflite.QUANTIZE: 96, tflite.DEQUANTIZE: 96,
}  # fmt: skip
"""Of the arena, for one operator."""
_SCALED = {tflite.CONV, tflite.DEPTHWISE}
"""Operators with a multiplier and a shift a channel, whatever the scales."""
Span = tuple[int, int, int]
"""Bytes, and the first and last step at which they are needed."""


def ram_bytes(cost: Cost, per_channel: bool = True) -> int:
    """Bytes of TensorFlow Lite Micro's arena for the int8 `.tflite` file of an architecture.

    Args:
        per_channel: with one scale a channel, as `export` writes it where one scale a tensor loses too much accuracy;
            that is an upper bound of both.

    Raises:
        SpecError: a layer of which it is not known, or a cost that is not of an `Arch`.
    """
    if not cost.parts:
        raise tflite.unknown("anything but architectures")
    return _arena(cost.parts, per_channel)


@lru_cache(maxsize=1 << 12)
def _arena(parts: Parts, per_channel: bool) -> int:
    plain = tflite.graph(parts, parts[0][2])
    if all(one.kind != tflite.CONCAT for one in plain.operators):
        return planned(spans(plain)) + described(plain, per_channel)
    pairs = product(tflite.READERS, repeat=2)
    found = dict.fromkeys(tflite.graph(parts, parts[0][2], pair) for pair in pairs)
    return max(planned(spans(one)) + described(one, per_channel) for one in found) + _JOINED


def described(graph: Graph, per_channel: bool) -> int:
    """Bytes for what describes tensors and operators."""
    constants = {one for operator in graph.operators for one in operator.constants}
    tensors = _TENSOR * (len(graph.sizes) + len(constants))
    return _aligned(_FILE + tensors + sum(_operator(operator, per_channel) for operator in graph.operators))


def _operator(operator: Operator, per_channel: bool) -> int:
    kind = operator.kind.removesuffix(tflite.FLOAT)
    scaled = kind in _SCALED or (per_channel and kind == tflite.LINEAR)
    return _OPERATORS[kind] + (2 * _aligned(4 * operator.channels) if scaled else 0)


def spans(graph: Graph) -> list[Span]:
    """What lives in the arena while a network runs: tensors in order, then room for means."""
    steps = len(graph.operators)
    first, last = [0] * len(graph.sizes), [0] * len(graph.sizes)
    more = list[Span]()
    for step, operator in enumerate(graph.operators, 1):
        first[operator.makes] = last[operator.makes] = step
        for read in operator.reads:
            last[read] = step
        if operator.kind == tflite.MEAN:
            more.append((4 * graph.sizes[operator.makes], step, step))
    last[graph.operators[-1].makes] = steps
    return [*zip(graph.sizes, first, last, strict=True), *more]


def planned(found: list[Span]) -> int:
    """Bytes that a greedy plan takes, largest first, of equals the last first."""
    placed: list[tuple[int, int, int, int]] = []  # start, end, first and last step, by start
    order = [*reversed(found)]
    order.sort(key=lambda span: -_aligned(span[0]))
    for size, first, last in order:
        start, wanted = 0, _aligned(size)
        for low, high, begins, ends in placed:
            if begins <= last and first <= ends:
                if low - start >= wanted:
                    break
                start = max(start, high)
        placed.append((start, start + wanted, first, last))
        placed.sort(key=lambda one: one[0])
    return max(high for _, high, *_ in placed)


def _aligned(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED
