"""Our training loop against the usual one, on the two course ResNets: `python benchmarks/train_speed.py`.

The usual loop: torchvision's v1 transforms on PIL images (crop, flip, to tensor, normalise), a DataLoader with as
many workers as cores, float32, contiguous, SGD with momentum, `loss.item()` after every step. Ours is
`training.trainer`. Random images of CIFAR-10's shape, equal batches, rounds in turn; one line a figure, ratios first.

    python benchmarks/train_speed.py --burn 2 --rounds 5 --images 8192,4096   # beside two processes that burn cores
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from archsearch.data import Dataset
from archsearch.data.dataset import images_from
from archsearch.network import zoo
from archsearch.network.arch import Arch
from archsearch.network.recipe import Recipe
from archsearch.nn.build import build
from archsearch.nn.devices import autocast_dtype, resolve_device
from archsearch.training.data import TrainingData
from archsearch.training.setup import TrainingSetup
from archsearch.training.thread_tuner import CORES
from archsearch.training.trainer import Trainer

MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--burn", type=int, default=0, help="processes that burn cores beside all rounds")
    parser.add_argument("--images", default="4096,1024", help="of a round, for the small and the large network")
    return parser.parse_args(arguments)


class Pictures(TorchDataset[tuple[Tensor, int]]):
    """uint8 (N, 32, 32, 3) images as PIL images under v1 transforms."""

    def __init__(self, pixels: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> None:
        from PIL import Image
        from torchvision import transforms

        self.images = [Image.fromarray(image) for image in pixels]
        self.labels = labels.tolist()
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), self.labels[index]


def usual(arch: Arch, pictures: Pictures, batch: int, device: torch.device) -> Callable[[], float]:
    """One epoch of the usual loop, in images a second from the first batch to the last."""
    module = build(arch).to(device)
    optimiser = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    entropy = nn.CrossEntropyLoss()
    workers = os.cpu_count() or 1
    loader = DataLoader(
        pictures, batch, shuffle=True, num_workers=workers, drop_last=True, persistent_workers=True,
        pin_memory=device.type == "cuda",
    )  # fmt: skip

    def epoch() -> float:
        module.train()
        torch.set_num_threads(CORES)  # ours may have taken fewer
        start, count = time.perf_counter(), 0
        for images, labels in loader:
            images, labels = images.to(device), labels.to(device)
            loss = entropy(module(images), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            loss.item()
            count += len(labels)
        return count / (time.perf_counter() - start)

    return epoch


def ours(arch: Arch, data: TrainingData, batch: int) -> Callable[[], float]:
    """Two epochs of ours on whole images, in images a second over data and step; evaluation is timed apart."""
    recipe = Recipe(epochs=2, batch_size=batch, initial_scale=1.0, optimiser="sgd")  # that of the usual loop
    trainer = Trainer(TrainingSetup(data, recipe, 0))

    def epoch() -> float:
        return trainer(arch, lambda *_: None).usage["images_per_second"]

    return epoch


def peak(device: torch.device) -> float:
    """GFLOP/s of a large matrix product in the precision of training: the limit for convolutions."""
    dtype = autocast_dtype(device) or torch.float32
    size = 8192 if device.type == "cuda" else 2048
    one = torch.randn(size, size, device=device, dtype=dtype)
    return 2 * size**3 / _best(lambda: one @ one, device) / 1e9


def bandwidth(device: torch.device) -> float:
    """GB/s of a large copy, reads and writes counted."""
    one = torch.randn(1 << 26, device=device)
    two = torch.empty_like(one)
    return 2 * one.nbytes / _best(lambda: two.copy_(one), device) / 1e9


def _best(work: Callable[[], Tensor], device: torch.device) -> float:
    times = []
    for _ in range(5):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times)


def traffic(arch: Arch, width: int) -> float:
    """Bytes that one image moves in a step at `width` bytes an element: each layer reads its input and writes its
    output once forward, and twice as much backward; weights are shared by the batch and left out."""
    module, elements = build(arch).eval(), 0

    def count(part: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal elements
        elements += inputs[0].numel() + output.numel()

    for part in module.modules():
        if not list(part.children()):
            part.register_forward_hook(count)
    with torch.no_grad():
        module(torch.zeros(1, *arch.input_shape))
    return 3 * width * elements


def profile(name: str, step: Callable[[], float]) -> None:
    """Where the CPU's or the GPU's time goes, by kind of operation."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as record

    cuda = torch.cuda.is_available()
    with record(activities=[ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU]) as found:
        step()
    kinds: dict[str, float] = {}
    for event in found.key_averages():
        spent = event.self_device_time_total if cuda else event.self_cpu_time_total
        kinds[_kind(event.key)] = kinds.get(_kind(event.key), 0.0) + spent
    total = sum(kinds.values())
    shares = sorted(kinds.items(), key=lambda item: -item[1])
    print(
        f"{name} an epoch goes into: {', '.join(f'{kind} {spent / total:.0%}' for kind, spent in shares)}", flush=True
    )


def _kind(key: str) -> str:
    """The kind of work behind an operation's name."""
    kinds = {
        "convolution backward": ("convolution_backward", "dgrad", "wgrad"),
        "convolution": ("conv", "fprop", "xmma", "gemm", "addmm", "aten::mm"),
        "batch norm": ("batch_norm", "bn_"),
        "activations and sums": ("clamp", "threshold", "relu", "aten::add", "elementwise"),
        "optimiser": ("sgd", "adam", "foreach", "multi_tensor", "lerp"),
        "data": ("index", "gather", "randint", "randperm", "aten::where"),
    }
    return next((kind for kind, parts in kinds.items() if any(part in key.lower() for part in parts)), "other")


def compare(name: str, count: int, options: argparse.Namespace, device: torch.device) -> None:
    """All figures of one network."""
    arch = zoo.load(name).arch
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    labels = rng.integers(0, 10, count)
    tensors = images_from(pixels), torch.from_numpy(labels)
    few = images_from(pixels[:256]), tensors[1][:256]
    dataset = Dataset("random", tuple("0123456789"), *tensors, few, True, lambda: few)
    data = TrainingData.of(dataset, 0, device)
    loops = usual(arch, Pictures(pixels, labels), options.batch, device), ours(arch, data, options.batch)
    for loop in loops:
        loop()
    pairs = [tuple(loop() for loop in loops) for _ in range(options.rounds)]
    ratios = [mine / theirs for theirs, mine in pairs]
    theirs, mine = (statistics.median(column) for column in zip(*pairs, strict=True))
    shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"{name} ({arch.cost.params:,} params) ours / usual: {statistics.median(ratios):.2f} (rounds {shown})")
    print(f"{name} images a second: ours {mine:.0f}, usual {theirs:.0f}; an epoch of 50,000: {50_000 / mine:.2f} s")
    if not options.burn:
        limits(name, arch, mine, device)
        profile(name, loops[1])


def limits(name: str, arch: Arch, rate: float, device: torch.device) -> None:
    """How near a step at `rate` images a second is to what the hardware does."""
    width = 2 if autocast_dtype(device) else 4
    flops, moved = 6 * arch.cost.macs / 1e9, traffic(arch, width) / 1e9
    compute, memory = flops / peak(device), moved / bandwidth(device)
    print(
        f"{name} limit: an image costs {1e3 * flops:.1f} MFLOP, {1e3 * compute:.3f} ms at the speed of a large matrix"
        f" product ({flops / compute:.0f} GFLOP/s), and moves {1e3 * moved:.2f} MB, {1e3 * memory:.3f} ms at that of a"
        f" large copy ({moved / memory:.0f} GB/s); it takes {1e3 / rate:.3f} ms: {rate * max(compute, memory):.0%} of"
        " what the nearer limit allows"
    )


def burn() -> None:
    """Keep a core busy."""
    while True:
        pass


def main(arguments: Sequence[str] | None = None) -> None:
    """Both networks."""
    options = parse(arguments)
    device = resolve_device(options.device)
    precision = autocast_dtype(device) or torch.float32
    print(f"{device}, {os.cpu_count()} cores, {platform.machine()}, torch {torch.__version__}, {precision}", flush=True)
    counts = [int(count) for count in options.images.split(",")]
    for _ in range(options.burn):
        multiprocessing.Process(target=burn, daemon=True).start()
    for name, count in zip(("resnet-course-small", "resnet-course-large"), counts, strict=True):
        compare(name, count, options, device)


if __name__ == "__main__":
    main()
