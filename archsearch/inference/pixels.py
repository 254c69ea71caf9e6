"""The network as it is shipped: pixels in [0, 1] in, logits out, at any precision inside."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from archsearch.data.dataset import Normalisation
from archsearch.errors import InputError
from archsearch.network.blocks.registry import is_a
from archsearch.nn.build import AuxHead

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class PixelNetwork(nn.Module):
    """float32 pixels (N, C, H, W) in [0, 1] to float32 logits (N, classes).

    Normalisation is part of it and stays in float32; the network between is converted to `dtype`.
    Auxiliary classifiers are left out. `module` itself is not changed.
    """

    def __init__(self, module: nn.Module, normalisation: Normalisation, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        mean, std = (torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1) for values in normalisation)
        self.dtype = dtype
        self.register_buffer("scale", 1 / std)
        self.register_buffer("shift", mean / std)
        self.network = without_auxiliaries(module).to(dtype)
        self.eval().requires_grad_(False)

    scale: Tensor
    shift: Tensor

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network((images * self.scale - self.shift).to(self.dtype))
        return logits.float()


def without_auxiliaries(module: nn.Module) -> nn.Module:
    """A copy whose auxiliary classifiers are identities."""
    copy = deepcopy(module)
    for name, part in list(copy.named_modules()):
        if isinstance(part, AuxHead):
            copy.set_submodule(name, nn.Identity())
    return copy


def normalisation_of(info: Mapping[str, Any], channels: int, where: str) -> Normalisation:
    """Mean and deviation a channel, in units of [0, 1], from a file's metadata. Raises InputError."""
    found = info.get("normalisation")
    mean, std = (_numbers(found.get(key)) if isinstance(found, dict) else [] for key in ("mean", "std"))
    if not len(mean) == len(std) == channels:
        raise InputError(f"{where}: its metadata have no normalisation (mean and std of {channels} channels)")
    if min(std) <= 0:
        raise InputError(f"{where}: its metadata have the deviations {std}: each must be above zero")
    return tuple(mean), tuple(std)


def _numbers(values: object) -> list[float]:
    """A list of finite numbers, empty where it is anything else."""
    return [*values] if isinstance(values, list) and all(is_a(value, float) for value in values) else []
