"""A training step with our depthwise convolutions against torch's, side by side on this CPU.

    python benchmarks/depthwise.py ref:mobilenet-v3-small-050@3,96,96 ref:efficientnet-1mb@3,96,96 net.toml

One thread, bfloat16, steps in turn, medians of `--steps`. The CPU must have bfloat16: elsewhere training is in float32.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional

from archsearch import Arch, build
from archsearch.network import zoo
from archsearch.nn import depthwise
from archsearch.nn.devices import autocast_dtype


def network(target: str) -> Arch:
    """An architecture file, or `ref:NAME@C,H,W`."""
    if not target.startswith("ref:"):
        return Arch.load(target)
    name, _, shape = target.removeprefix("ref:").partition("@")
    channels, height, width = map(int, shape.split(","))
    return zoo.load(name).arch.adapted((channels, height, width), 10)


@contextmanager
def plain() -> Iterator[None]:
    """Torch's own backward pass."""
    kept, depthwise._SMALL = depthwise._SMALL, sys.maxsize
    try:
        yield
    finally:
        depthwise._SMALL = kept


def step(module: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """CPU seconds of one forward and backward pass: other processes do not count."""
    clock = time.process_time()
    with torch.autocast("cpu", torch.bfloat16):
        loss = functional.cross_entropy(module(images), labels)
    loss.backward()
    return time.process_time() - clock


def main() -> None:
    """Print a line per network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="+")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=5)
    options = parser.parse_args()
    if autocast_dtype(torch.device("cpu")) is None:
        raise SystemExit("depthwise: this CPU has no bfloat16, so networks are trained in float32, by torch's own")
    torch.set_num_threads(1)
    for target in options.targets:
        arch = network(target)
        module = build(arch).to(memory_format=torch.channels_last).train()
        images = torch.randn(options.batch, *arch.input_shape).to(memory_format=torch.channels_last)
        labels = torch.randint(arch.classes, (options.batch,))
        ours, theirs = list[float](), list[float]()
        for _ in range(options.steps + 1):
            ours.append(step(module, images, labels))
            with plain():
                theirs.append(step(module, images, labels))
        a, b = (1000 * statistics.median(found[1:]) for found in (ours, theirs))
        print(f"{target}  {arch.cost.macs / 1e6:.1f}M MACs: {b:.0f} ms, ours {a:.0f} ms, {b / a:.2f} times", flush=True)


if __name__ == "__main__":
    main()
