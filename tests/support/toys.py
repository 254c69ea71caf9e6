"""A small network and made-up images to train it on."""

from __future__ import annotations

import torch
from torch import nn

from archsearch import Arch
from archsearch.data import Dataset
from archsearch.data.pixels import Pixels
from archsearch.network.stage import Part, Stage

CPU = torch.device("cpu")
SMALL = Arch((1, 8, 8), 10, Part("conv", (("width", 8),)), (Stage("basic", 16, stride=2),), Part("linear"))


def untouchable() -> tuple[torch.Tensor, torch.Tensor]:
    raise AssertionError("the test split was read")


def toy(count: int = 40, side: int = 8, channels: int = 1, *, flip: bool = False) -> Dataset:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, channels, side, side), generator=generator, dtype=torch.uint8)
    return Dataset("toy", ("a", "b"), Pixels.of(images), torch.arange(count) % 2, None, flip, untouchable)


def same(one: nn.Module, two: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), two.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)
