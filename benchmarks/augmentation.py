"""What augmentation costs on the CPU: milliseconds for 256 CIFAR-sized images, each option alone.

    OMP_NUM_THREADS=1 python benchmarks/augmentation.py [--step]

`--step` also trains a network of 78,042 parameters and gives each option's share of its step.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch.nn import functional

from archsearch.data import Augmentation, DeviceData, epoch
from archsearch.network.zoo import load
from archsearch.nn.build import build
from archsearch.nn.devices import autocast_dtype

BATCH = 256
IMAGES = 32 * BATCH
ROUNDS = 7
OPTIONS = {
    "nothing": Augmentation(),
    "crop and flip": Augmentation(crop=4, flip=1),
    "crop and alternating flip": Augmentation(crop=4, flip=2),
    "rotate": Augmentation(rotate=15),
    "cutout": Augmentation(cutout=8),
    "mixup": Augmentation(mixup=0.2),
    "cutmix": Augmentation(cutmix=1.0),
    "trivial": Augmentation(policy="trivial"),
    "everything": Augmentation(4, 2, 15, 8, 0.2, 1.0, "trivial"),
}


def milliseconds(work: Callable[[], object], batches: int) -> float:
    """The least over rounds of the time that `work` takes for one of its batches: others share the machine."""
    work()
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times) / batches * 1000


def step_time(data: DeviceData) -> float:
    """Milliseconds of a forward and a backward pass of the small course network over one batch."""
    module = build(load("resnet-course-small").arch).to(memory_format=torch.channels_last)
    images, labels = next(data.batches(BATCH))
    dtype = autocast_dtype(images.device)

    def step() -> None:
        with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
            logits = module(images)
        functional.cross_entropy(logits.float(), labels).backward()

    return milliseconds(step, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--step", action="store_true")
    options = parser.parse_args()
    pixels = torch.randint(256, (IMAGES, 3, 32, 32), dtype=torch.uint8)
    data = DeviceData(pixels, torch.randint(10, (IMAGES,)), ((0.5,) * 3, (0.25,) * 3), torch.device("cpu"))
    step = step_time(data) if options.step else None
    if step:
        print(f"step                       {step:7.2f} ms")
    for name, augmentation in OPTIONS.items():
        generator = torch.Generator().manual_seed(0)

        def work(augmentation: Augmentation = augmentation, generator: torch.Generator = generator) -> None:
            for _ in epoch(data, BATCH, generator=generator, augmentation=augmentation, classes=10):
                pass

        took = milliseconds(work, IMAGES // BATCH)
        share = f"  {took / step:6.1%} of the step" if step else ""
        print(f"{name:26} {took:7.2f} ms{share}")


if __name__ == "__main__":
    main()
