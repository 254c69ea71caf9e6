"""The multiply-accumulates of one operator, and the two tensors that it multiplies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

_CONVOLUTIONS = {"aten.convolution", "aten._convolution", "aten.convolution_overrideable"}
_LAST_TWO = {
    f"aten.{name}"
    for name in ("mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "addbmm", "dot", "vdot", "_addmm_activation")
}
_FIRST_TWO = {
    f"aten.{name}"
    for name in (
        "linear", "mkldnn_linear", "_int_mm", "_scaled_mm", "_grouped_mm", "_scaled_grouped_mm",
        "_weight_int8pack_mm", "_weight_int4pack_mm", "_weight_int4pack_mm_for_cpu",
    )
}  # fmt: skip
_OPAQUE = {
    f"aten.{name}"
    for name in (
        "mkldnn_rnn_layer", "_cudnn_rnn", "miopen_rnn", "_lstm_mps", "quantized_lstm", "quantized_gru", "to_mkldnn",
        "_native_multi_head_attention", "_transformer_encoder_layer_fwd",
    )
}  # fmt: skip
_KNOWN = ("aten", "prim", "prims", "quantized_decomposed", "torchvision", "profiler")


class Product(NamedTuple):
    """The multiply-accumulates of an operator; a weight that is no tensor (a packed one) is None."""

    macs: int
    left: Tensor | None
    right: Tensor | None
    convolution: bool = False


def product_of(name: str, args: Any, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> list[Product]:
    """What an operator multiplies: nothing, one pair of tensors, or for attention two.

    Args:
        name: with its namespace, without its overload: aten.mm.
        inputs: the tensors among its arguments, in order.
    """
    if name in _CONVOLUTIONS:
        return [_convolution(inputs, outputs, args[6])]
    if name == "torchvision.deform_conv2d":
        return [_convolution(inputs, outputs, False)]
    if name in _LAST_TWO or name in _FIRST_TWO:
        left, right = inputs[-2:] if name in _LAST_TWO else inputs[:2]
        batches = left.shape[0] if name == "aten.addbmm" else 1
        return [Product(batches * outputs[0].numel() * left.shape[-1], left, right)]
    if name == "aten._trilinear":  # nn.Bilinear: one multiplication a weight
        return [Product(outputs[0].numel() * prod(inputs[1].shape[1:]), inputs[0], inputs[1])]
    if name.startswith("aten._scaled_dot_product") and "backward" not in name:
        return _attention(*inputs[:3])
    if name.startswith("quantized."):
        return [_packed(name, weight, inputs, outputs) for weight in _weights(args) if inputs]
    return []


def is_opaque(name: str, mixes: bool) -> bool:
    """Whether an operator may multiply in a way that is not known.

    Args:
        mixes: it takes both a weight of several dimensions and an activation.
    """
    if name in _OPAQUE:
        return True
    namespace = name.partition(".")[0]
    if namespace == "quantized":
        return not name.endswith("pack") and any(
            part in name for part in ("linear", "conv", "matmul", "lstm", "gru", "rnn")
        )
    return mixes and namespace not in _KNOWN


def _convolution(inputs: Sequence[Tensor], outputs: Sequence[Tensor], transposed: bool) -> Product:
    values = inputs[0] if transposed else outputs[0]  # transposed: every input value is spread over one window
    return Product(values.numel() * prod(inputs[1].shape[1:]), inputs[0], inputs[1], True)


def _attention(query: Tensor, key: Tensor, value: Tensor) -> list[Product]:
    scores = query.numel() // max(query.shape[-1], 1) * key.shape[-2]
    return [Product(scores * query.shape[-1], query, key), Product(scores * value.shape[-1], query, value)]


def _packed(name: str, weight: Tensor, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Product:
    if weight.dim() == 2:
        return Product(inputs[0].numel() * weight.shape[0], inputs[0], None)
    values = inputs[0] if "transpose" in name else outputs[0]
    return Product(values.numel() * prod(weight.shape[1:]), inputs[0], None, True)


def _weights(args: Any) -> Iterator[Tensor]:
    """What the packed arguments of a quantised layer hold."""
    for value in args:
        if isinstance(value, torch.ScriptObject) and hasattr(value, "unpack"):
            yield value.unpack()[0]
