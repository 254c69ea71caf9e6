"""Kernels wider than their map: what leaving out the padding saves in a forward and backward pass, on one CPU thread.

python benchmarks/wide_kernels.py
"""

from __future__ import annotations

import statistics
import time

import torch
from torch import Tensor, nn

from archsearch.nn.build import WideConv2d

BATCH, ROUNDS = 64, 15


def seconds(module: nn.Module, images: Tensor) -> float:
    """CPU time of one pass."""
    clock = time.process_time()
    module(images).sum().backward()
    return time.process_time() - clock


def main() -> None:
    """One line a case, the ratio first; both kinds in turn in every round."""
    torch.set_num_threads(1)
    for width in (96, 256):
        for kernel, side in ((5, 2), (3, 1)):
            kinds = [kind(width, width, kernel, 1, kernel // 2, bias=False) for kind in (nn.Conv2d, WideConv2d)]
            modules = [module.to(memory_format=torch.channels_last) for module in kinds]
            images = torch.randn(BATCH, width, side, side, requires_grad=True)
            rounds = [[seconds(module, images) for module in modules] for _ in range(ROUNDS)][3:]
            plain, cut = (statistics.median(column) * 1000 for column in zip(*rounds, strict=True))
            print(
                f"{plain / cut:.2f}x  {kernel}x{kernel} on {side}x{side}, {width} channels: {plain:.1f} to {cut:.1f} ms"
            )


if __name__ == "__main__":
    main()
