"""An ONNX file that archsearch wrote, as the network that is in it: the way on for whoever kept that file alone.

Eight-bit weights with their scales are exact numbers. What is lost is what rounding took when the file was written.
Norms that were folded into kernels stay there: in their places are identities with a shift.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from archsearch._utils.formats import FORMATS
from archsearch.errors import InputError
from archsearch.inference.onnx import IMAGES, content, load, need
from archsearch.network.arch import Arch
from archsearch.nn import weights
from archsearch.nn.build import aux_prefixes, build

RESTORED = "restored"
"""The key of `info` that says at which precision the file had the weights."""
_OTHERS = ("dtype", "weights", "val_accuracy", "val_score", "test_accuracy", "test_score")
"""What a file says of itself, or of the weights that it was made from."""
_KERNELS = (nn.Conv2d, nn.Linear)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_NORM = "BatchNormalization"


class _Unlike(Exception):
    """A graph is not its architecture's, or holds weights in a way that is not known here."""


def reopened(path: Path) -> tuple[nn.Module, Arch, dict[str, Any]]:
    """The network of an ONNX file in fp32, in evaluation mode on the CPU, and what the file says of it.

    `info` has the normalisation, which is in the graph, and `restored`: the precision that the weights had there.

    Raises:
        InputError: a package is missing, archsearch did not write the file, or its weights cannot be told in the graph:
            those of layers other than convolutions, linear layers and norms, and of layers that stand in two places.
    """
    onnx = need("onnx")
    metadata, _ = load(path)  # what ONNX Runtime refuses is refused in its words
    found, held = weights.described(metadata, path), content(path)
    try:
        if found.arch.cost.params > len(held):  # before anything of that size is allocated
            raise _Unlike(f"which is too short for the {found.arch.cost.params:,} parameters of its architecture")
        module = build(found.arch).eval()
        graph = _Graph.of(onnx, onnx.load_model_from_string(held), found.arch)
        _fill(module, found.arch, graph)
        mean, std = graph.normalisation(found.arch.input_shape[0])
    except _Unlike as error:
        raise InputError(
            f"{path}: its weights cannot be read out of the graph, {error}: export from a safetensors file"
        ) from None
    info = {key: value for key, value in found.info.items() if key not in _OTHERS}
    dtype = found.info.get("dtype")
    kept = dtype if dtype in FORMATS["onnx"].dtypes else "int8"
    return module, found.arch, {**info, "normalisation": {"mean": mean, "std": std}, RESTORED: kept}


@dataclass(frozen=True)
class _Operator:
    """One that has weights, with the names of these in their order."""

    kind: str
    names: tuple[str, ...]
    flipped: bool = False


@dataclass(frozen=True)
class _Graph:
    """The operators of a graph that have weights, by which constants pixels are changed, and the values of all."""

    operators: tuple[_Operator, ...]
    pixels: Mapping[str, str]
    values: Mapping[str, Tensor]

    @classmethod
    def of(cls, onnx: Any, model: Any, arch: Arch) -> _Graph:
        """Raises InputError where ONNX Runtime is missing."""
        constants = {one.name for one in model.graph.initializer}
        for node in model.graph.node:  # in the order of computation, so constants come first
            if constants.issuperset(node.input):
                constants.update(node.output)
        operators, pixels = tuple(_operators(model.graph, constants)), dict(_pixels(model.graph, constants))
        names = dict.fromkeys([*(name for one in operators for name in one.names), *pixels.values()])
        return cls(operators, pixels, _values(onnx, model, [*names], arch))

    def normalisation(self, channels: int) -> tuple[list[float], list[float]]:
        """Mean and deviation a channel, of pixels from 0 to 1. Raises _Unlike."""
        scale, shift = (
            self.values[self.pixels[kind]].double().flatten() if kind in self.pixels else torch.full((channels,), other)
            for kind, other in (("Mul", 1.0), ("Sub", 0.0))
        )
        if not len(scale) == len(shift) == channels or not bool((scale > 0).all()):
            raise _Unlike("which normalises pixels in another way")
        return (shift / scale).tolist(), (1 / scale).tolist()


def _operators(graph: Any, constants: set[str]) -> Iterator[_Operator]:
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul") and node.input[1] in constants:
            plain = node.op_type == "Conv" or any(one.name == "transB" and one.i for one in node.attribute)
            yield _Operator(node.op_type, tuple(node.input)[1:], not plain)
        elif node.op_type == _NORM:
            yield _Operator(_NORM, tuple(node.input)[1:])


def _pixels(graph: Any, constants: set[str]) -> Iterator[tuple[str, str]]:
    """The constants by which pixels are multiplied, and that are taken from them, by operator."""
    here = IMAGES
    for kind in ("Mul", "Sub"):
        node = next((node for node in graph.node if here in node.input), None)
        if node is not None and node.op_type == kind:
            other = next(name for name in node.input if name != here)
            if other in constants:
                yield kind, other
                here = node.output[0]


def _values(onnx: Any, model: Any, names: list[str], arch: Arch) -> dict[str, Tensor]:
    """Constants as the runtime computes them, in float."""
    runtime = need("onnxruntime")
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = session.run(names, {IMAGES: np.zeros((1, *arch.input_shape), np.float32)})
    return {name: torch.from_numpy(value.astype(np.float32)) for name, value in zip(names, found, strict=True)}


@torch.no_grad()
def _fill(module: nn.Module, arch: Arch, graph: _Graph) -> None:
    """Give the layers the weights of a graph, one after the other as both compute. Raises _Unlike."""
    layers, operators = deque(_in_order(module, arch)), deque(graph.operators)
    filled = {id(tensor) for layer in layers for tensor in layer.parameters()}
    auxiliary = aux_prefixes(module)
    for name, tensor in module.named_parameters():
        if id(tensor) not in filled and not name.startswith(auxiliary):
            raise _Unlike(f"where {name} is neither of a convolution, a linear layer nor a norm")
    while operators:
        operator = operators.popleft()
        layer = layers.popleft() if layers else None
        if operator.kind == _NORM:
            _fill_norm(layer, [graph.values[name] for name in operator.names])
            continue
        norms = len([*takewhile(lambda layer: isinstance(layer, _NORMS), layers)])
        left = len([*takewhile(lambda operator: operator.kind == _NORM, operators)])
        folded = layers.popleft() if norms > left else None
        _fill_kernel(layer, operator, folded, graph.values)
    if layers:
        raise _Unlike(f"which has {len(layers)} layers less than its architecture")


def _in_order(module: nn.Module, arch: Arch) -> list[nn.Module]:
    """Kernels and norms as they are computed. Raises _Unlike where one is twice."""
    found = list[nn.Module]()
    parts = [part for part in module.modules() if isinstance(part, _KERNELS + _NORMS)]
    hooks = [part.register_forward_hook(lambda layer, *_: found.append(layer)) for part in parts]
    module(torch.zeros(1, *arch.input_shape))
    for hook in hooks:
        hook.remove()
    if len({id(layer) for layer in found}) < len(found):
        raise _Unlike("where some stand in two places with other norms behind")
    return found


def _fill_norm(layer: nn.Module | None, values: list[Tensor]) -> None:
    if not isinstance(layer, _NORMS):
        raise _Unlike("which has a norm where its architecture has none")
    for name, value in zip(("weight", "bias", "running_mean", "running_var"), values, strict=True):
        _put(layer, name, value)


def _fill_kernel(
    layer: nn.Module | None, operator: _Operator, folded: nn.Module | None, values: Mapping[str, Tensor]
) -> None:
    """`folded`: the norm behind the layer, which the operator has in its weights."""
    if not isinstance(layer, nn.Conv2d if operator.kind == "Conv" else nn.Linear):
        raise _Unlike(f"which has a {operator.kind} where its architecture has none")
    kernel, *biases = (values[name] for name in operator.names)
    _put(layer, "weight", kernel.T if operator.flipped else kernel)
    bias = biases[0] if biases else kernel.new_zeros(layer.weight.shape[0])
    if isinstance(folded, _NORMS):
        _fill_norm(folded, [torch.ones_like(bias), bias, torch.zeros_like(bias), torch.full_like(bias, 1 - folded.eps)])
        bias = torch.zeros_like(bias)
    if layer.bias is not None:
        _put(layer, "bias", bias)
    elif bias.any():
        raise _Unlike(f"which has a {operator.kind} with a bias where its architecture has none")


def _put(layer: nn.Module, name: str, value: Tensor) -> None:
    tensor = getattr(layer, name)
    if tensor.shape != value.shape:
        raise _Unlike(f"which has a {name} of {tuple(value.shape)} where its architecture has {tuple(tensor.shape)}")
    tensor.copy_(value)
