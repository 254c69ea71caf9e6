"""int8 by ONNX Runtime's static quantisation: one scale an output channel for weights, one a tensor for activations."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from archsearch.inference.onnx import IMAGES, need

CALIBRATION = 512
"""Train images from which the ranges of activations are taken, where nothing else is said."""
_BATCH = 32


def quantized(model: Any, images: Tensor) -> Any:
    """An ONNX model with int8 weights and activations (QDQ), the normalisation of pixels left as it is.

    Args:
        model: an `onnx.ModelProto` in fp32.
        images: uint8 (N, C, H, W), train images for calibration, all of which are used.

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
            per_channel=True,
            # Seven bits for weights: on x86 without VNNI the sums of two products of eight bits saturate, and the
            # same file would answer differently there.
            reduce_range=True,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_exclude=list(_normalisation(model)),
        )
        return onnx.load(path)


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
