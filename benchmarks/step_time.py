"""What a training step costs on a GPU: `python benchmarks/step_time.py`, one line a figure.

A residual network of 1.6M and one of 4.3M parameters, and the winner of results/cifar10-78k, on random images: the step
as it is and as one CUDA graph, by SGD and by Muon, on whole and on half-size images, in batches of 256 and 512, then
compiled. `prepare` is what comes before the first replayed step: warm-up, capture, the compiler. Each line's process is
its own, since cuDNN and the compiler remember what they have chosen.

    python benchmarks/step_time.py --together 4

has four processes train the first network at once on one device, after one of them has alone: what workers gain.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier

import torch

from archsearch import Arch, build
from archsearch.network.recipe import Recipe
from archsearch.network.stage import Part, Stage
from archsearch.nn.devices import resolve_device
from archsearch.training.cuda_graph import graphed
from archsearch.training.loss import Loss
from archsearch.training.optim import initialise, make_optimiser, set_lr
from archsearch.training.step import Step

NETWORKS = {
    "1.6M": (48, ((48, 2), (96, 2), (192, 2))),
    "4.3M": (64, ((80, 2), (160, 2), (320, 2))),
    "75k": (16, ((24, 2), (24, 2), (48, 1))),
}
"""Stem, then width and depth of each stage."""
LOOKED_AT = 10
"""Steps between two looks at the clock, which wait for the device."""
PATIENCE = 120.0
"""Seconds after which processes that wait for each other give up."""


@dataclass(frozen=True)
class Case:
    """One line."""

    network: str
    optimiser: str = "muon"
    batch: int = 256
    side: int = 32
    graph: bool = True
    timed: bool = False
    compiled: bool = False


CASES = [
    Case("1.6M", "sgd", graph=False),
    *(Case(network, optimiser) for network in NETWORKS for optimiser in ("sgd", "muon")),
    Case("1.6M", timed=True),
    Case("1.6M", side=16),
    Case("1.6M", side=16, timed=True),
    *(Case(network, batch=512, compiled=compiled) for network in NETWORKS for compiled in (False, True)),
]


def network(name: str) -> Arch:
    """Of basic blocks."""
    stem, widths = NETWORKS[name]
    stages = (Stage("basic", width, depth, stride=min(2, 1 + i)) for i, (width, depth) in enumerate(widths))
    return Arch((3, 32, 32), 10, Part("conv", (("width", stem),)), tuple(stages), Part("linear"))


def prepared(case: Case, device: torch.device) -> tuple[Callable[[], object], bool, float]:
    """A step on one batch, whether it is a captured one, and the seconds that it took to get there."""
    torch.backends.cudnn.benchmark = case.timed
    module = build(network(case.network))
    initialise(module)
    module.to(device, memory_format=torch.channels_last).train()
    optimiser = make_optimiser(module, Recipe(optimiser=case.optimiser, lr=0.4), case.batch)
    images = torch.randn(case.batch, 3, case.side, case.side, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(10, (case.batch,), device=device)
    plain = Step(torch.compile(module, dynamic=False) if case.compiled else module, optimiser, Loss(0.1), device)
    start = _now(device)
    step = graphed(plain, module, optimiser, images, labels) if case.graph else plain
    set_lr(optimiser, 0.05)
    for _ in range(3):
        step(images, labels)
    return lambda: step(images, labels), step is not plain, _now(device) - start


def measure(case: Case, name: str, steps: int) -> None:
    """Print a line."""
    device, arch = resolve_device(name), network(case.network)
    step, captured, prepare = prepared(case, device)
    start = _now(device)
    for _ in range(steps):
        step()
    seconds = (_now(device) - start) / steps
    rate = 6 * arch.cost.macs * (case.side / 32) ** 2 * case.batch / seconds / 1e12
    words = (
        f"{case.network} ({arch.cost.params:,} params, {arch.cost.macs / 1e6:.0f}M MACs) {case.optimiser},"
        f" batch {case.batch}, {case.side} px{', graph' if captured else ''}"
        f"{', kernels timed' if case.timed else ''}{', compiled' if case.compiled else ''}"
    )
    print(f"{words}: step {1e3 * seconds:.2f} ms, {rate:.0f} TFLOP/s, prepare {prepare:.2f} s", flush=True)


def train_beside(index: int, name: str, seconds: float, all_ready: Barrier, rates: Queue[float]) -> None:
    """One of several processes: the first alone for some seconds, then all for as long; puts steps a second."""
    device = resolve_device(name)
    step, _, _ = prepared(Case("1.6M"), device)
    for turn in range(2):
        all_ready.wait()
        if turn or index == 0:
            start, steps = _now(device), 0
            while (spent := _now(device) - start) < seconds:
                for _ in range(LOOKED_AT):
                    step()
                steps += LOOKED_AT
            rates.put(steps / spent)
        all_ready.wait()


def together(count: int, name: str, seconds: float) -> None:
    """Print what that many processes train, against one."""
    context = multiprocessing.get_context("spawn")
    all_ready, rates = context.Barrier(count, timeout=PATIENCE), context.Queue()
    words = name, seconds, all_ready, rates
    processes = [context.Process(target=train_beside, args=(i, *words), daemon=True) for i in range(count)]
    for process in processes:
        process.start()
    one, *others = (rates.get(timeout=PATIENCE) for _ in range(count + 1))
    for process in processes:
        process.join()
    total = sum(others)
    print(f"one process {one:.1f} steps/s, {count} together {total:.1f}: {total / one:.2f} times")


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    """All lines, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--cases", type=int, default=len(CASES), help="the first so many")
    parser.add_argument("--together", type=int, help="instead: that many processes on one device")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each of the two rates of --together")
    options = parser.parse_args()
    if options.together:
        together(options.together, options.device, options.seconds)
        return
    for case in CASES[: options.cases]:
        words = case, options.device, options.steps
        process = multiprocessing.get_context("spawn").Process(target=measure, args=words)
        process.start()
        process.join()


if __name__ == "__main__":
    main()
