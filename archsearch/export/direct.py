"""The ONNX graph of a network straight from its layers, as torch's exporter leaves it, in milliseconds.

torch traces, decomposes and optimises for seconds. What comes out is regular, so a network of layers that are known
here is written at once: the same operators on the same values in the same order. What is not known, torch writes.
Which operators torch and its optimiser choose is theirs: `export.graphs` looks at theirs before it trusts this.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from archsearch.inference.onnx import IMAGES, LOGITS, need
from archsearch.inference.pixels import PixelNetwork
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
from archsearch.nn.build import ThinConv2d

_OPSET, _IR = 20, 10
_LAST = 2**63 - 1
"""The end of a slice that has none."""
_MERGED = 1024
"""Values of a tensor, at most, that equal ones are merged with."""
_BENT = ("Relu", "Clip")
"""Operators of which two in a row become one."""

_Values = NDArray[Any]


class _Unknown(Exception):
    """What torch has to write."""


@dataclass
class _Node:
    op: str
    inputs: list[str]
    output: str
    attributes: dict[str, Any]


@dataclass
class _Graph:
    """Nodes in order, and tensors by name."""

    nodes: list[_Node] = field(default_factory=list)
    tensors: dict[str, _Values] = field(default_factory=dict)

    def tensor(self, values: Any) -> str:
        name = f"t{len(self.tensors)}"
        self.tensors[name] = values.detach().numpy() if isinstance(values, Tensor) else np.asarray(values)
        return name

    def integers(self, *values: int) -> str:
        return self.tensor(np.array(values, np.int64))

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        output = f"v{len(self.nodes)}"
        self.nodes.append(_Node(op, list(inputs), output, attributes))
        return output

    def slice(self, x: str, axis: int, start: int, end: int, step: int) -> str:
        where = (self.integers(one) for one in (start, end, axis, step))
        return self.node("Slice", x, *where)


def direct_model(network: PixelNetwork, arch: Arch) -> Any | None:
    """An `onnx.ModelProto` as `write.onnx_model` makes it at fp32; None where only torch can.

    Raises:
        InputError: onnx is missing.
    """
    onnx = need("onnx")
    if network.dtype != torch.float32:
        return None
    graph = _Graph()
    try:
        _network(graph, network, arch)
        _check(graph)
    except _Unknown:
        return None
    _fold(graph)
    _merge(graph)
    return _proto(onnx, graph, arch)


def _network(graph: _Graph, network: PixelNetwork, arch: Arch) -> None:
    if any(arch.input_shape[0] == 1 and float(one) in (0, 1) for one in (network.scale, network.shift)):
        raise _Unknown
    x = graph.node("Mul", IMAGES, graph.tensor(network.scale))
    x = graph.node("Sub", x, graph.tensor(network.shift))
    shape = arch.input_shape
    for name, part in arch.parts():
        x = _expr(graph, part, network.network.get_submodule(name), x, shape)
        shape = measure(part, shape).out
    graph.nodes[-1].output = LOGITS


def _expr(graph: _Graph, expr: Expr, module: nn.Module, x: str, shape: Shape) -> str:
    """Write a part that reads `x`; the name of what it gives."""
    if isinstance(expr, Leaf):
        leaf = expr.of if isinstance(expr, Again) else expr
        if type(leaf) not in _LEAVES:
            raise _Unknown
        return _LEAVES[type(leaf)](graph, leaf, module, x, shape)
    if isinstance(expr, Aux):
        return x
    assert isinstance(expr, Combinator)
    parts = zip(expr.parts, module.children(), strict=True)
    if isinstance(expr, Seq | Shared):
        for part, built in parts:
            x = _expr(graph, part, built, x, shape)
            shape = measure(part, shape).out
        return x
    branches = [_expr(graph, part, built, x, shape) for part, built in parts]
    if isinstance(expr, Concat):
        return graph.node("Concat", *branches, axis=1)
    total = branches[0]
    for branch in branches[1:]:
        total = graph.node(_JOINS[type(expr)], total, branch)
    return total


def _conv(graph: _Graph, leaf: Conv, module: nn.Module, x: str, shape: Shape) -> str:
    step = leaf.stride
    if isinstance(module, ThinConv2d):
        x, step = _every(graph, x, step), 1
    attributes = {
        "group": leaf.groups, "pads": [leaf.padding] * 4, "dilations": [leaf.dilation] * 2,
        "strides": [step] * 2, "kernel_shape": [leaf.kernel] * 2, "auto_pad": "NOTSET",
    }  # fmt: skip
    return graph.node("Conv", x, *_weights(graph, module), **attributes)


def _weights(graph: _Graph, module: nn.Module) -> list[str]:
    """Weight and, where there is one, bias."""
    return [graph.tensor(one) for one in (module.weight, module.bias) if isinstance(one, Tensor)]


def _every(graph: _Graph, x: str, step: int) -> str:
    """Every so many rows and columns."""
    for axis in (2, 3) if step > 1 else ():
        x = graph.slice(x, axis, 0, _LAST, step)
    return x


def _linear(graph: _Graph, leaf: Linear, module: nn.Module, x: str, shape: Shape) -> str:
    return graph.node("Gemm", x, *_weights(graph, module), transB=1, alpha=1.0, beta=1.0)


def _norm(graph: _Graph, leaf: Norm, module: nn.Module, x: str, shape: Shape) -> str:
    state = (module.weight, module.bias, module.running_mean, module.running_var)
    tensors = [graph.tensor(one) for one in state]
    momentum = module.momentum if isinstance(module.momentum, float) else 0.0
    return graph.node("BatchNormalization", x, *tensors, epsilon=leaf.eps, momentum=1 - momentum)


def _act(graph: _Graph, leaf: Act, module: nn.Module, x: str, shape: Shape) -> str:
    if leaf.name == "silu":
        return graph.node("Mul", x, graph.node("Sigmoid", x))
    if leaf.name == "relu6":
        return graph.node("Clip", x, *(graph.tensor(np.float32(end)) for end in (0, 6)))
    op, attributes = _ACTS[leaf.name]
    return graph.node(op, x, **attributes)


_ACTS: dict[str, tuple[str, dict[str, Any]]] = {
    "relu": ("Relu", {}),
    "leaky_relu": ("LeakyRelu", {"alpha": 0.01}),
    "tanh": ("Tanh", {}),
    "hardswish": ("HardSwish", {}),
    "gelu": ("Gelu", {"approximate": "none"}),
    "sigmoid": ("Sigmoid", {}),
    "hardsigmoid": ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
}


def _pool(graph: _Graph, leaf: Pool, module: nn.Module, x: str, shape: Shape) -> str:
    attributes = {
        "ceil_mode": int(leaf.ceil), "pads": [leaf.padding] * 4, "strides": [leaf.stride] * 2,
        "kernel_shape": [leaf.kernel] * 2, "auto_pad": "NOTSET",
    }  # fmt: skip
    if leaf.kind == "max":
        return graph.node("MaxPool", x, storage_order=0, dilations=[1, 1], **attributes)
    return graph.node("AveragePool", x, count_include_pad=1, **attributes)


def _adaptive(graph: _Graph, leaf: AdaptivePool, module: nn.Module, x: str, shape: Shape) -> str:
    if leaf.size == 1:
        return graph.node("ReduceMean", x, graph.integers(-1, -2), keepdims=1, noop_with_empty_axes=0)
    if any(side % leaf.size for side in shape[1:]):
        raise _Unknown
    windows = [side // leaf.size for side in shape[1:]]
    return graph.node(
        "AveragePool", x, count_include_pad=1, ceil_mode=0, pads=[0] * 4, strides=windows, kernel_shape=windows,
        auto_pad="NOTSET",
    )  # fmt: skip


def _subsample(graph: _Graph, leaf: Subsample, module: nn.Module, x: str, shape: Shape) -> str:
    pads = graph.integers(*[0] * 5, leaf.out - shape[0], 0, 0)
    return graph.node("Pad", _every(graph, x, leaf.stride), pads, mode="constant")


def _take(graph: _Graph, leaf: Take, module: nn.Module, x: str, shape: Shape) -> str:
    if leaf.out == shape[0]:
        return x
    return graph.slice(x, 1, leaf.start, leaf.start + leaf.out, 1)


def _shuffle(graph: _Graph, leaf: Shuffle, module: nn.Module, x: str, shape: Shape) -> str:
    channels, *sides = shape
    groups = leaf.groups
    x = graph.node("Reshape", x, graph.integers(-1, groups, channels // groups, *sides), allowzero=1)
    x = graph.node("Transpose", x, perm=[0, 2, 1, 3, 4])
    return graph.node("Reshape", x, graph.integers(-1, channels, *sides), allowzero=1)


def _flatten(graph: _Graph, leaf: Flatten, module: nn.Module, x: str, shape: Shape) -> str:
    if len(shape) == 1:
        return x
    return graph.node("Reshape", x, graph.integers(-1, int(np.prod(shape))), allowzero=1)


_LEAVES: dict[type[Leaf], Callable[..., str]] = {
    Conv: _conv,
    Norm: _norm,
    Act: _act,
    Pool: _pool,
    AdaptivePool: _adaptive,
    Subsample: _subsample,
    Take: _take,
    Shuffle: _shuffle,
    Flatten: _flatten,
    Linear: _linear,
    Dropout: lambda graph, leaf, module, x, shape: x,
}
_JOINS: dict[type[Combinator], str] = {Add: "Add", Mul: "Mul"}


def _check(graph: _Graph) -> None:
    """Raises _Unknown where torch's optimiser would make one of two operators in a row."""
    made = {node.output: node.op for node in graph.nodes}
    for node in graph.nodes:
        before = made.get(node.inputs[0], "")
        bent = node.op in _BENT and before in _BENT
        if bent or (before, node.op) in (("Reshape", "Reshape"), ("Pad", "Conv")):
            raise _Unknown


def _fold(graph: _Graph) -> None:
    """Norms into the convolutions and linear layers that nothing else reads; biases that are zero are left out."""
    read = Counter(name for node in graph.nodes for name in node.inputs)
    made = {node.output: node for node in graph.nodes}
    kept = []
    for node in graph.nodes:
        layer = made.get(node.inputs[0])
        if node.op == "BatchNormalization" and layer and layer.op in ("Conv", "Gemm") and read[layer.output] == 1:
            _scale(graph, layer, node)
        else:
            kept.append(node)
    for node in kept:
        if node.op in ("Conv", "Gemm") and len(node.inputs) == 3 and not graph.tensors[node.inputs[2]].any():
            node.inputs.pop()
    graph.nodes = kept


def _scale(graph: _Graph, layer: _Node, norm: _Node) -> None:
    scale, shift, mean, variance = (graph.tensors[name] for name in norm.inputs[1:])
    scale = scale / np.sqrt(variance + np.float32(norm.attributes["epsilon"]))
    weight = graph.tensors[layer.inputs[1]]
    bias = graph.tensors[layer.inputs[2]] if len(layer.inputs) == 3 else np.zeros_like(mean)
    folded = weight * scale.reshape(-1, *[1] * (weight.ndim - 1)), (bias - mean) * scale + shift
    layer.inputs[1:] = [graph.tensor(values) for values in folded]
    layer.output = norm.output


def _merge(graph: _Graph) -> None:
    """One tensor for small ones that are equal, and one node for all that do the same with the same."""
    first: dict[Any, str] = {}
    same: dict[str, str] = {}
    for name, values in graph.tensors.items():
        if values.size <= _MERGED:
            same[name] = first.setdefault((values.shape, values.dtype, values.tobytes()), name)
    done: dict[Any, str] = {}
    kept = []
    for node in graph.nodes:
        node.inputs = [same.get(name, name) for name in node.inputs]
        known = done.setdefault((node.op, *node.inputs, repr(node.attributes)), node.output)
        if known == node.output:
            kept.append(node)
        else:
            same[node.output] = known
    graph.nodes = kept


def _proto(onnx: Any, graph: _Graph, arch: Arch) -> Any:
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    read = {name for node in graph.nodes for name in node.inputs}
    tensors = [onnx.numpy_helper.from_array(values, name) for name, values in graph.tensors.items() if name in read]
    images = helper.make_tensor_value_info(IMAGES, floats, ["batch", *arch.input_shape])
    logits = helper.make_tensor_value_info(LOGITS, floats, ["batch", arch.classes])
    nodes = [helper.make_node(node.op, node.inputs, [node.output], **node.attributes) for node in graph.nodes]
    made = helper.make_graph(nodes, "network", [images], [logits], tensors)
    return helper.make_model(made, ir_version=_IR, opset_imports=[helper.make_opsetid("", _OPSET)])
