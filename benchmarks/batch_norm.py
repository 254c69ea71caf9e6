"""Training passes of BatchNorm on channels_last maps on the CPU: `nn.BatchNorm2d` against ours, by channels.

python benchmarks/batch_norm.py
"""

from __future__ import annotations

import itertools
import statistics
import time

import torch
from torch import Tensor, nn

from archsearch.nn.batchnorm import BatchNorm2d, fold

BATCH, ROUNDS = 256, 12
DTYPES = (torch.float32, torch.bfloat16)
CASES = (
    (4, 28),
    (6, 32),
    (8, 32),
    (12, 32),
    (16, 32),
    (24, 32),
    (32, 16),
    (40, 16),
    (48, 16),
    (72, 16),
    (100, 8),
    (128, 8),
)


def seconds(module: nn.BatchNorm2d, images: Tensor, grads: Tensor) -> float:
    """Time of a forward and a backward pass."""
    clock = time.perf_counter()
    torch.autograd.grad(module(images), (images, module.weight, module.bias), grads)
    return time.perf_counter() - clock


def main() -> None:
    """One line a case, the ratio first; both kinds in turn in every round, medians."""
    for dtype, (width, side) in itertools.product(DTYPES, CASES):
        images, grads = (
            torch.randn(BATCH, width, side, side, dtype=dtype).contiguous(memory_format=torch.channels_last)
            for _ in "xg"
        )
        images.requires_grad_()
        modules = [nn.BatchNorm2d(width), BatchNorm2d(width)]
        rounds = [[seconds(module, images, grads) for module in modules] for _ in range(ROUNDS)][2:]
        theirs, ours = (statistics.median(column) * 1e9 / images.numel() for column in zip(*rounds, strict=True))
        case = f"{dtype}, {width} channels, {side}x{side}, folded {fold(images.shape, dtype)}"
        print(f"{theirs / ours:.2f}x  {case}: {theirs:.2f} to {ours:.2f} ns an element")


if __name__ == "__main__":
    main()
