"""Eight bits in ONNX files: weights and activations by ONNX Runtime's static quantisation, or weights alone."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from archsearch.inference.onnx import IMAGES, need

CALIBRATION = 512
"""Train images from which the ranges of activations are taken, where nothing else is said."""
_BATCH = 32
_NODE = 64
"""Bytes, about, of a node and of a tensor without its values."""


def quantized(model: Any, images: Tensor, *, per_channel: bool = True, bits: int = 7) -> Any:
    """An ONNX model with int8 weights and uint8 activations (QDQ), biases and the normalisation of pixels in float.

    Args:
        model: an `onnx.ModelProto` in fp32.
        images: uint8 (N, C, H, W), train images for calibration, all of which are used.
        per_channel: weights have a scale an output channel, not one a tensor. Activations have one a tensor.
        bits: of weights. With 8 the sums of two products saturate on x86 without VNNI, and the same file would
            answer differently there; with 7 they do not.

    Raises:
        InputError: ONNX Runtime is missing.
    """
    quantization, onnx = need("onnxruntime.quantization"), need("onnx")
    copy = onnx.ModelProto()
    copy.CopyFrom(model)  # the quantiser moves the tensors of its model out into files
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "model.onnx"
        quantization.quantize_static(
            copy,
            path,
            _Reader(images),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=per_channel,
            reduce_range=bits == 7,
            # On x86 ONNX Runtime computes in uint8, and leaves much of a graph that says int8 in float.
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_exclude=list(_normalisation(model)),
            # ONNX Runtime rounds biases itself; integers with their scales take three times the bytes.
            extra_options={"QuantizeBias": False},
        )
        return onnx.load(path)


def weights_quantized(model: Any) -> Any:
    """An ONNX model that computes in float with int8 weights, symmetric, one scale an output channel.

    Weights are those of convolutions and linear layers, where that saves bytes. The given model is left as it is.

    Raises:
        InputError: onnx is missing.
    """
    onnx = need("onnx")
    found = onnx.ModelProto()
    found.CopyFrom(model)
    graph = found.graph
    axes = dict(_weights(onnx, graph))
    for tensor in [one for one in graph.initializer if one.name in axes]:
        values, axis = onnx.numpy_helper.to_array(tensor), axes[tensor.name]
        others = tuple(i for i in range(values.ndim) if i != axis)
        largest = np.abs(values).max(others, keepdims=True)
        if 3 * values.size <= 4 * largest.size + _NODE:
            continue
        scale = np.where(largest > 0, largest, 1).astype(np.float32) / 127
        name, names = tensor.name, [f"{tensor.name}_int8", f"{tensor.name}_scale"]
        for made, content in zip(names, (np.round(values / scale).astype(np.int8), scale.reshape(-1)), strict=True):
            graph.initializer.append(onnx.numpy_helper.from_array(content, made))
        graph.initializer.remove(tensor)
        graph.node.insert(0, onnx.helper.make_node("DequantizeLinear", names, [name], axis=axis))
    return found


def _weights(onnx: Any, graph: Any) -> Iterator[tuple[str, int]]:
    """The names of weights, each with the axis of its output channels."""
    dims = {one.name: len(one.dims) for one in graph.initializer if one.data_type == onnx.TensorProto.FLOAT}
    for node in graph.node:
        name = node.input[1] if len(node.input) > 1 else ""
        if name in dims and node.op_type in ("Conv", "Gemm", "MatMul"):
            flipped = any(one.name == "transB" and one.i for one in node.attribute)
            yield name, 0 if node.op_type == "Conv" or flipped else dims[name] - 1


def evenly(images: int, most: int) -> Tensor:
    """Positions of at most `most` of so many images, evenly spaced, for datasets sorted by class."""
    return torch.linspace(0, images - 1, most).long() if images > most else torch.arange(images)


class _Reader:
    """Calibration images as ONNX Runtime asks for them."""

    def __init__(self, images: Tensor) -> None:
        self.batches = iter(torch.split(images, _BATCH))

    def get_next(self) -> dict[str, Any] | None:
        """The next batch, None after the last one."""
        batch = next(self.batches, None)
        return None if batch is None else {IMAGES: (batch.float() / 255).numpy()}


def _normalisation(model: Any) -> Iterator[str]:
    """The names of the nodes between the pixels and the network: eight bits are too few for both."""
    here = IMAGES
    for wanted in ("Mul", "Sub"):
        node = next((node for node in model.graph.node if here in node.input), None)
        if node is None or node.op_type != wanted:
            return
        yield node.name
        here = node.output[0]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without its advice to preprocess: norms are folded already."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(level)
