"""What helps where classes are imbalanced: class weights, balanced batches, adjusted logits on a long-tailed dataset.

    python benchmarks/long_tail.py cifar10.npz --ratios 20 100 --image-size 16 --epochs 20 --seeds 3

From an .npz in MedMNIST's layout it makes OUT/tail-RATIO.npz. `--validation` train images of each class are set aside
to judge by; with 0 the loader holds images out, as imbalanced as the others. Of the rest class c of C keeps
n * ratio^(-c / (C - 1)), n the smallest class's number (Cao et al. 2019, arXiv 1906.07413). Which ones is drawn by
seed 0; test images stay. A network trains once for each ratio, treatment and seed. `half` are weights of a file, the
square root of the balanced ones.

A line a training, kept in OUT/trainings.jsonl and not done again, then a table a ratio: mean and deviation over seeds.
Accuracy is what it is for images distributed as the train images; the recalls are of the images set aside.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from archsearch.cli.recipes import recipe_values
from archsearch.data import Dataset, load_dataset
from archsearch.network import zoo
from archsearch.network.arch import Arch
from archsearch.network.recipe import Recipe
from archsearch.nn.devices import resolve_device
from archsearch.training.data import TrainingData
from archsearch.training.imbalance import class_weights, prior
from archsearch.training.setup import TrainingSetup
from archsearch.training.trainer import Trainer
from archsearch.training.weight_table import read_class_weights

TREATMENTS = ("none", "balanced", "half", "batches", "adjusted", "adjusted-half")
FIGURES = ("accuracy", "macro recall", "largest class", "rarest class")
_BATCH = 1000


@dataclass(frozen=True)
class Tail:
    """A long-tailed dataset, and the recipe values of each treatment."""

    dataset: Dataset
    treatments: Mapping[str, Mapping[str, Any]]


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("npz", type=Path)
    parser.add_argument("--ratios", type=float, nargs="+", default=[20, 100], help="of the largest class to the rarest")
    parser.add_argument("--treatments", nargs="+", choices=TREATMENTS, default=list(TREATMENTS))
    parser.add_argument("--network", default="ref:resnet-course-small", help="ref:NAME, or an architecture file")
    parser.add_argument("--validation", type=int, default=500, help="images of each class that are set aside")
    parser.add_argument("--image-size", type=int, help="pixels of a side")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--recipe", nargs="*", default=[], metavar="KEY=VALUE", help="of all trainings")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=Path("results/long-tail"))
    return parser.parse_args(words)


def sizes(count: int, classes: int, ratio: float) -> list[int]:
    """Images of each class, from `count` down to a `ratio`-th of it."""
    return [max(1, int(count * ratio ** (-kind / max(1, classes - 1)) + 1e-6)) for kind in range(classes)]


def long_tailed(
    labels: NDArray[Any], ratio: float, held_out: int, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sorted places of the images that train, and of those set aside: `held_out` of each class."""
    rng = np.random.default_rng(seed)
    every = [rng.permutation(np.flatnonzero(labels == kind)) for kind in range(int(labels.max()) + 1)]
    left = min(map(len, every)) - held_out
    if left < ratio:
        raise SystemExit(f"--validation {held_out}: leaves {left} images of a class, too few for {ratio:g}:1")
    kept = sizes(left, len(every), ratio)
    train = [mine[held_out : held_out + count] for mine, count in zip(every, kept, strict=True)]
    return np.sort(np.concatenate(train)), np.sort(np.concatenate([mine[:held_out] for mine in every]))


def make_tail(source: Path, ratio: float, held_out: int, path: Path) -> None:
    """Write the long-tailed .npz, unless it is there."""
    if path.exists():
        return
    with np.load(source, allow_pickle=False) as arrays:
        found = {name: arrays[name] for name in ("train_images", "train_labels", "test_images", "test_labels")}
    images, labels = found["train_images"], found["train_labels"].reshape(-1)
    train, validation = long_tailed(labels, ratio, held_out)
    found |= {"train_images": images[train], "train_labels": labels[train]}
    if held_out:
        found |= {"val_images": images[validation], "val_labels": labels[validation]}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, allow_pickle=False, **found)


def tail_of(options: argparse.Namespace, ratio: float) -> Tail:
    """The dataset of a ratio, and how it is treated."""
    path = options.out / f"tail-{ratio:g}.npz"
    make_tail(options.npz, ratio, options.validation, path)
    dataset = load_dataset(f"npz:{path}", image_size=options.image_size)
    half = path.with_suffix(".csv")
    weights = class_weights(dataset.labels, len(dataset.classes)).sqrt().tolist()
    lines = [f"{name},{weight}" for name, weight in zip(dataset.classes, weights, strict=True)]
    half.write_text("\n".join(["class,weight", *lines]) + "\n")
    treatments: dict[str, dict[str, Any]] = {
        "none": {},
        "balanced": {"class_weights": "balanced"},
        "half": {"class_weights": read_class_weights(half, dataset.classes)},
        "batches": {"balanced_batches": 1},
        "adjusted": {"logit_adjustment": 1.0},
        "adjusted-half": {"logit_adjustment": 0.5},
    }
    return Tail(dataset, {name: treatments[name] for name in options.treatments})


@torch.no_grad()
def recalls(trainer: Trainer, data: TrainingData) -> torch.Tensor:
    """float64 (classes,): the share of each class's validation images that the trained network finds."""
    module = trainer.trained.eval()
    found = [module(images).argmax(1) == labels for images, labels in data.validation.batches(_BATCH)]
    right, labels = torch.cat(found).cpu(), data.validation.labels.cpu()
    return torch.stack([right[labels == kind].double().mean() for kind in range(len(data.dataset.classes))])


def trained(arch: Arch, data: TrainingData, recipe: Recipe, seed: int) -> dict[str, float]:
    """The figures of one training, in percent, and its seconds."""
    clock, trainer = time.perf_counter(), Trainer(TrainingSetup(data, recipe, seed))
    trainer(arch, lambda *_: None)
    shares, found = prior(data.train.truth, len(data.dataset.classes)).double(), recalls(trainer, data)
    figures = (shares @ found, found.mean(), found[0], found[-1])
    seconds = round(time.perf_counter() - clock, 1)
    return {name: round(100 * float(one), 3) for name, one in zip(FIGURES, figures, strict=True)} | {"seconds": seconds}


class Book:
    """Trainings by what they were, in a file with a line for each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.known: dict[str, dict[str, float]] = dict(json.loads(line) for line in lines)

    def __getitem__(self, key: Mapping[str, Any]) -> dict[str, float] | None:
        return self.known.get(json.dumps(key, sort_keys=True))

    def add(self, key: Mapping[str, Any], figures: dict[str, float]) -> None:
        """Keep the figures of a training."""
        name = json.dumps(key, sort_keys=True)
        self.known[name] = figures
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps([name, figures]) + "\n")


def table(ratio: float, found: Mapping[str, Sequence[Mapping[str, float]]]) -> list[str]:
    """A Markdown table of means and deviations over seeds."""
    lines = [f"{ratio:g}:1", "", "| treatment | " + " | ".join([*FIGURES, "seeds"]) + " |", "|---" * 6 + "|"]
    for name, rows in found.items():
        cells = []
        for figure in FIGURES:
            values = [row[figure] for row in rows]
            cells.append(f"{fmean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else ""))
        lines.append("| " + " | ".join([name, *cells, str(len(rows))]) + " |")
    return [*lines, ""]


def network(name: str, dataset: Dataset) -> Arch:
    """The network for these images."""
    arch = zoo.load(name).arch if name.startswith(zoo.PREFIX) else Arch.load(Path(name))
    return replace(arch.adapted(dataset.input_shape, len(dataset.classes)), recipe={})


def main(words: Sequence[str] | None = None) -> None:
    """A line a training as it ends, then a table a ratio."""
    options = parse(words)
    book, device, tables = Book(options.out / "trainings.jsonl"), resolve_device(options.device), []
    common = Recipe(epochs=options.epochs).with_values(recipe_values(options.recipe))
    for ratio in options.ratios:
        tail = tail_of(options, ratio)
        arch, data = network(options.network, tail.dataset), TrainingData.of(tail.dataset, 0, device)
        found: dict[str, list[dict[str, float]]] = {name: [] for name in tail.treatments}
        for seed in range(options.seeds):
            for name, values in tail.treatments.items():
                recipe = data.settle(common.with_values(values))
                key = {"data": tail.dataset.fingerprint, "arch": arch.id, "seed": seed, "recipe": recipe.to_dict()}
                figures = book[key]
                if figures is None:
                    figures = trained(arch, data, recipe, seed)
                    book.add(key, figures)
                found[name].append(figures)
                shown = ", ".join(f"{what} {value:.2f}" for what, value in figures.items())
                print(f"{ratio:g}:1  seed {seed}  {name}: {shown}", flush=True)
        tables += table(ratio, found)
    print("", *tables, sep="\n")


if __name__ == "__main__":
    main()
