"""Sets from small to larger than memory: `python benchmarks/data_scale.py --folder /tmp/scale --pictures 1000000`.

Pictures of 96 px are made in shards, in each sorted by class, and 10,000 of them as JPEG files.
One network of 20M MACs is trained, in turns of some steps each, from one tensor, from mapped shards, from a stream
of the large set, and from torchvision's ImageFolder by a DataLoader with two workers that decode JPEG. Then the
memory of one process of each kind and of four that share mapped shards (PSS: a shared page counts a quarter for
each of four), and the accuracy after equal trainings, streamed and not. One JSON line a figure.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import product, repeat
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from archsearch import Arch, build
from archsearch.data import Augmentation, Dataset, DeviceData, epoch
from archsearch.data.loader import batches
from archsearch.data.pixels import Pixels
from archsearch.network.recipe import Recipe
from archsearch.network.stage import Part, Stage
from archsearch.training.data import TrainingData
from archsearch.training.fit import fit
from archsearch.training.loss import Loss
from archsearch.training.setup import TrainingSetup
from archsearch.training.step import Step

CPU = torch.device("cpu")
SIDE, CLASSES, FEW, SHARD = 96, 20, 10_000, 2**28
NORM = (0.5,) * 3, (0.2,) * 3
CROP = Augmentation(crop=SIDE // 8, flip=1)
KINDS = ("memory", "mapped", "streamed", "imagefolder")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="gets 27.6 kB a picture")
    parser.add_argument("--pictures", type=int, default=1_000_000)
    parser.add_argument("--room", type=float, default=128e6, help="as --data-memory, of the streamed set")
    parser.add_argument("--shared", type=float, default=6e9, help="bytes that the four processes map")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=60, help="of a turn: more than a window")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kinds", default=",".join(KINDS), help="that are trained in turns; memory comes first")
    parser.add_argument("--parts", default="workers,memory,speed,accuracy")
    return parser.parse_args(arguments)


# pictures


def waves(count: int, side: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """(count, side, side, 3): smooth random fields, repeated at their borders."""
    coarse = torch.from_numpy(rng.random((count, 3, 8, 8), dtype=np.float32))
    coarse = nn.functional.pad(coarse, (1, 1, 1, 1), mode="circular")
    fine = nn.functional.interpolate(coarse, scale_factor=side / 8, mode="bicubic")
    edge = (fine.shape[2] - side) // 2
    fine = fine[:, :, edge : edge + side, edge : edge + side].clamp(0, 1)
    return (fine * 255).byte().permute(0, 2, 3, 1).contiguous().numpy()


def pictures(labels: NDArray[np.int64], side: int, seed: int) -> NDArray[np.uint8]:
    """(N, side, side, 3): a shifted pattern of the class under a stronger one that says nothing."""
    rng = np.random.default_rng(0)
    own, others = (np.tile(waves(n, 2 * side, rng), (1, 1, 1, 1)) for n in (CLASSES, 64))
    rng = np.random.default_rng([1, seed])
    own, others = own // 3, others // 3 * 2
    places = rng.integers(0, side, (len(labels), 4)).tolist()
    which = rng.integers(0, len(others), len(labels)).tolist()
    found = np.empty((len(labels), side, side, 3), np.uint8)
    for image, label, other, (a, b, c, d) in zip(found, labels.tolist(), which, places, strict=True):
        np.add(own[label, a : a + side, b : b + side], others[other, c : c + side, d : d + side], out=image)
    return found


def labels_of(count: int) -> NDArray[np.int64]:
    """Sorted, as many of each class."""
    return np.arange(count) * CLASSES // count


def store(folder: Path, count: int) -> tuple[Pixels, Tensor]:
    """So many pictures in shards, which are made where they are not there, mapped.

    Each shard begins at another one of the first shard's pictures: a million of them would take long to draw.
    """
    folder.mkdir(parents=True, exist_ok=True)
    size = SIDE * SIDE * 3
    rows = min(count, SHARD // size)
    labels, first = labels_of(rows), None
    files, shards = [], []
    for number in range(-(-count // rows)):
        here = min(rows, count - number * rows)
        path = folder / f"train-{number:04}.u8"
        if not path.exists() or path.stat().st_size != here * size:
            first = pictures(labels, SIDE, 0) if first is None else first
            with path.open("wb") as file:
                first[number:here].tofile(file)
                first[: min(number, here)].tofile(file)
        array = np.memmap(path, np.uint8, "c", shape=(here, SIDE, SIDE, 3))
        files.append(path)
        shards.append(torch.from_numpy(array).permute(0, 3, 1, 2))
    classes = np.concatenate([np.roll(labels[: len(shard)], -number) for number, shard in enumerate(shards)])
    return Pixels(tuple(shards), mapped=True, files=tuple(files)), torch.from_numpy(classes)


def jpegs(folder: Path, images: Pixels, labels: Tensor) -> Path:
    """One folder a class."""
    from PIL import Image

    done = folder / "done"
    if not done.exists():
        for number, (image, label) in enumerate(zip(images.chunks(1), labels.tolist(), strict=True)):
            path = folder / "train" / f"{label:02}" / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[0].permute(1, 2, 0).numpy()).save(path, quality=90)
        done.touch()
    return folder / "train"


# trainings


def network(side: int = SIDE) -> Arch:
    """About 20M MACs at 96 px."""
    stages = (
        Stage("basic", 30, stride=2),
        Stage("basic", 48, stride=2),
        Stage("basic", 112, stride=2),
    )
    return Arch((3, side, side), CLASSES, Part("conv", (("width", 16), ("stride", 2))), stages, Part("linear"))


def sources(kind: str, options: argparse.Namespace, touch: bool = False) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches without end."""
    if kind == "imagefolder":
        return usual(options)
    images, labels = store(options.folder / "few", FEW)
    if kind == "memory":
        images = Pixels((images.whole() if len(images.shards) == 1 else images[:],))
    if kind == "streamed":
        images, labels = store(options.folder / "many", options.pictures)
    elif touch:
        images, labels = store(options.folder / "many", int(options.shared / (SIDE * SIDE * 3)))
    room = options.room if kind == "streamed" else float("inf")
    data = DeviceData(images, labels, NORM, CPU, room=room)
    generator = torch.Generator().manual_seed(0)
    return (
        batch
        for number in iter(range(1, sys.maxsize))
        for batch in epoch(data, options.batch, generator=generator, augmentation=CROP, number=number)
    )


def usual(options: argparse.Namespace) -> Iterator[tuple[Tensor, Tensor]]:
    """torchvision's ImageFolder with its transforms and two workers of a DataLoader."""
    from torch.utils.data import DataLoader
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    changes = [
        transforms.RandomCrop(SIDE, padding=SIDE // 8, padding_mode="reflect"),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(*NORM),
    ]
    folder = jpegs(options.folder / "jpeg", *store(options.folder / "few", FEW))
    data = ImageFolder(folder, transforms.Compose(changes))
    loader = DataLoader(data, options.batch, shuffle=True, num_workers=2, drop_last=True, persistent_workers=True)
    return (
        (images.contiguous(memory_format=torch.channels_last), labels)
        for _ in repeat(None)
        for images, labels in loader
    )


class Training:
    """One network on one source."""

    def __init__(self, batches: Iterator[tuple[Tensor, Tensor]]) -> None:
        torch.manual_seed(0)
        module: nn.Module = build(network()).to(memory_format=torch.channels_last)
        self.step = Step(module, torch.optim.SGD(module.parameters(), 0.05, momentum=0.9), Loss(), CPU)
        self.batches = batches

    def __call__(self, steps: int) -> tuple[float, float]:
        """Images a second of so many steps, and a second of CPU time, which a busy machine leaves alone."""
        clock, cpu, count = time.perf_counter(), time.process_time(), 0
        for _ in range(steps):
            images, labels = next(self.batches)
            self.step(images, labels)
            count += len(labels)
        return count / (time.perf_counter() - clock), count / (time.process_time() - cpu)


def memory() -> dict[str, float]:
    """MB of this process: PSS and RSS now, private pages, swapped ones, and the most it ever had resident."""
    text = Path("/proc/self/smaps_rollup").read_text() + Path("/proc/self/status").read_text()
    found = {line.split(":")[0]: line.split()[1] for line in text.splitlines() if line.endswith("kB")}
    names = {
        "Pss": "pss_mb", "Pss_Anon": "anonymous_mb", "Rss": "rss_mb", "SwapPss": "swap_mb", "VmHWM": "peak_rss_mb",
    }  # fmt: skip
    return {new: int(found[old]) // 1000 for old, new in names.items() if old in found}


def one(kind: str, touch: bool, options: argparse.Namespace, pipe: Connection) -> None:
    """Train from one source, and tell of its memory when asked, so that several are measured together."""
    if touch:
        images, _ = store(options.folder / "many", int(options.shared / (SIDE * SIDE * 3)))
        for shard in images.shards:
            shard.permute(0, 2, 3, 1).reshape(-1)[::4096].sum()
    Training(sources(kind, options, touch))(options.steps)
    pipe.send("ready")
    pipe.recv()
    pipe.send(memory())
    pipe.recv()


def together(count: int, kind: str, options: argparse.Namespace, touch: bool = False) -> list[dict[str, float]]:
    """What so many processes, forked as a search forks its workers, say of themselves while all are there."""
    context, crew = get_context("fork"), []
    for _ in range(count):
        mine, theirs = context.Pipe()
        process = context.Process(target=one, args=(kind, touch, options, theirs))
        process.start()
        crew.append((process, mine))
    for _, pipe in crew:
        pipe.recv()
    found = []
    for _, pipe in crew:
        pipe.send("tell")
        found.append(pipe.recv())
    for process, pipe in crew:
        pipe.send("end")
        process.join()
    return found


# what is measured


def say(**figures: Any) -> None:
    """One line."""
    print(json.dumps(figures), flush=True)


def speed(options: argparse.Namespace) -> None:
    """In turns, so that what else the machine does falls on all of them."""
    arch = network()
    say(macs=arch.cost.macs, params=arch.cost.params, pictures=options.pictures, torch=torch.__version__)
    trainings = {kind: Training(sources(kind, options)) for kind in options.kinds.split(",")}
    for training in trainings.values():
        training(options.steps // 2)
    rounds = []
    for number in range(options.rounds):
        rounds.append({kind: training(options.steps) for kind, training in trainings.items()})
        shown = {kind: [round(rate) for rate in rates] for kind, rates in rounds[-1].items()}
        say(round=number, wall_and_cpu=shown, **memory())
    for kind, (at, clock) in product(list(trainings)[1:], enumerate(("wall", "cpu"))):
        if (kind, clock) != ("imagefolder", "cpu"):  # its workers are other processes
            ratios = [row[kind][at] / row["memory"][at] for row in rounds]
            shares = [round(ratio, 3) for ratio in ratios]
            say(kind=kind, clock=clock, of_memory=round(statistics.median(ratios), 3), rounds=shares)


def dataset_of(labels: NDArray[np.int64], side: int) -> Dataset:
    """Pictures of these classes, in this order."""
    images = Pixels.of(torch.from_numpy(pictures(labels, side, 7)).permute(0, 3, 1, 2))
    names = tuple(f"{number:02}" for number in range(CLASSES))
    return Dataset("waves", names, images, torch.from_numpy(labels), None, True, lambda: (images, images.whole()))


def accuracy(options: argparse.Namespace) -> None:
    """6,000 pictures of 32 px, sorted by class and not, windows of 3% of them: accuracy after equal trainings."""
    side, count = 32, 6000
    batches._GROUP["cpu"] = 60 * side * side * 3  # a batch at a time: a window is not larger than its bytes say
    arch, recipe = network(side), Recipe(epochs=12, batch_size=60, initial_scale=1.0)
    ordered = labels_of(count)
    for order, labels in (("sorted", ordered), ("mixed", np.random.default_rng(0).permutation(ordered))):
        dataset = dataset_of(labels, side)
        for name, room in (("memory", None), ("streamed", 4 * 180 * side * side * 3.0)):
            data = TrainingData.of(dataset, 0, CPU, room)
            found = [fit(arch, TrainingSetup(data, recipe, seed), lambda *_: None).accuracy for seed in range(3)]
            shown = [round(value, 4) for value in found]
            say(kind=name, order=order, accuracy=shown, mean=round(statistics.mean(found), 4))


def main(arguments: Sequence[str] | None = None) -> None:
    """The parts that are asked for."""
    options = parse(arguments)
    parts = options.parts.split(",")
    if "make" in parts:
        clock = time.perf_counter()
        store(options.folder / "many", options.pictures)
        say(made=options.pictures, seconds=round(time.perf_counter() - clock))
    if "workers" in parts:  # what forks comes before this process has threads
        totals = []
        for count in (1, 4):
            crew = together(count, "mapped", options, touch=True)
            totals.append(sum(row["pss_mb"] for row in crew))
            say(workers=count, pss_mb=totals[-1], of_one=round(totals[-1] / totals[0], 3), each=crew[0])
    if "memory" in parts:
        for kind in KINDS:
            say(kind=kind, **together(1, kind, options)[0])
    if "speed" in parts:
        speed(options)
    if "accuracy" in parts:
        accuracy(options)


if __name__ == "__main__":
    main()
