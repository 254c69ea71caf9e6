"""A network that computes as its int8 file will, to be scored, and to be trained: gradients go straight through.

It rounds what ONNX Runtime's static quantisation rounds, see `export.quantize`. Weights have seven bits, symmetric,
with a scale an output channel. So norms need not be folded in first: a scale of a channel changes no rounding. Tensors
between layers have eight bits, affine, with the range of the batch, as the file has that of its calibration images.
Norms and relu belong to what comes before them, as in the file. LiteRT's and ExecuTorch's files round the same places
a little otherwise: one scale a tensor, eight bits of weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from archsearch.network.recipe import Recipe
from archsearch.nn.build import AuxHead, Cat, Channels, PadShortcut, Product, SameLayer, Sum, aux_prefixes

_WEIGHT, _LEVELS = 64, 255
"""Steps of a weight on each side of zero; steps of a tensor over its range."""
_FUSED = (nn.ReLU, nn.ReLU6)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_WEIGHTED = (nn.Conv2d, nn.Linear, SameLayer)
_SAME = (nn.MaxPool2d, nn.Flatten, nn.ChannelShuffle, nn.Dropout, Channels, PadShortcut, AuxHead, SameLayer)
"""Layers whose outputs are among their inputs, or are rounded elsewhere."""


def is_rounded(recipe: Recipe, number: int) -> bool:
    """Whether an epoch, counted from 1, trains the rounded network: the last ones do, at least one."""
    return number > recipe.epochs - math.ceil(recipe.qat * recipe.epochs)


class Rounded(nn.Module):
    """A network, rounded in every forward pass through this, and in none of the module's own; until `close`.

    Parameters, buffers and mode are those of `module`: what trains the one trains the other.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        without = aux_prefixes(module)
        self._names = [
            f"{name}.weight"
            for name, part in module.named_modules()
            if isinstance(part, nn.Conv2d | nn.Linear) and not (without and f"{name}.".startswith(without))
        ]
        self._hooks = [part.register_forward_hook(self._rounded_output) for part in _ends(module)]
        self._rounds = False

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of the rounded network, for normalised images (N, C, H, W)."""
        weights = {name: rounded_weight(self.module.get_parameter(name)) for name in self._names}
        self._rounds = True
        try:
            out: Tensor = functional_call(self.module, weights, (rounded(x),))
        finally:
            self._rounds = False
        return out

    def _rounded_output(self, module: nn.Module, args: Any, output: Tensor) -> Tensor:
        return rounded(output) if self._rounds else output

    def close(self) -> None:
        """Take the hooks off: the module is a plain one again, and this is of no use."""
        for hook in self._hooks:
            hook.remove()

    @torch.no_grad()
    def keep(self) -> None:
        """Close, and round the weights for good: the module's int8 ONNX file has these very weights."""
        self.close()
        for name in self._names:
            weight = self.module.get_parameter(name)
            weight.copy_(rounded_weight(weight))


def rounded_weight(weight: Tensor) -> Tensor:
    """A weight of any shape (outputs, ...), to seven bits, symmetric, one scale an output."""
    largest = weight.detach().abs().flatten(1).amax(1).float()
    scale = torch.where(largest > 0, largest, 1.0) / _WEIGHT
    zeros = torch.zeros(len(weight), dtype=torch.int32, device=weight.device)
    return torch.fake_quantize_per_channel_affine(weight, scale, zeros, 0, -_WEIGHT, _WEIGHT)


def rounded(x: Tensor) -> Tensor:
    """A tensor of any shape, to eight bits over the range of all its values, which zero is part of."""
    least, most = (end.float() for end in x.detach().aminmax())
    least, most = least.clamp(max=0), most.clamp(min=0)
    scale = ((most - least) / _LEVELS).clamp(min=torch.finfo(torch.float32).tiny)
    zero = (-least / scale).round().clamp(0, _LEVELS).to(torch.int32)
    return torch.fake_quantize_per_tensor_affine(x, scale, zero, 0, _LEVELS)


def _ends(module: nn.Module) -> Iterator[nn.Module]:
    """The layers after which the file rounds."""
    chain = list(_chain(module))
    for part, after in zip(chain, [*chain, None][1:], strict=True):
        if isinstance(part, Sum | Cat | Product):
            for branch in part:
                yield from _ends(branch)
        folded = isinstance(part, _WEIGHTED) and isinstance(after, _NORMS)
        if not (folded or isinstance(part, _SAME) or isinstance(after, _FUSED)):
            yield part


def _chain(module: nn.Module) -> Iterator[nn.Module]:
    """The layers of nested sequences, one after the other."""
    if isinstance(module, nn.Sequential):
        for part in module:
            yield from _chain(part)
    else:
        yield module
