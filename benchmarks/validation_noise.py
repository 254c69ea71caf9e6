"""What one training's validation accuracy is worth, by the number of images that judge.

    python benchmarks/validation_noise.py results/cifar10-78k --dataset npz:cifar10.npz --keep /tmp/noise

Trains a study's most accurate candidates by several seeds with its recipe, on the train images but `--pool` of them,
which judge. Prints, in percentage points, how much the accuracy over *all* images of the kind varies from seed to seed
(covariance of the accuracies on two halves of the pool), and how much a difference between two networks varies with
the images that were drawn to judge it; then, by number of images, the share of pairs that one training of each puts
into the order of the other seeds' mean on other images. `--keep` holds what was trained (a file a training); the same
line goes on where it stopped, and several processes share the work with `--only SEED`.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from archsearch import Arch
from archsearch._utils.files import write_with
from archsearch.data import Dataset, load_dataset
from archsearch.network.recipe import Recipe
from archsearch.nn.devices import autocast_dtype, resolve_device
from archsearch.training.data import TrainingData
from archsearch.training.setup import TrainingSetup
from archsearch.training.trainer import Trainer

SIZES = (1_000, 2_500, 5_000, 10_000)
DRAWS = 400
Right = NDArray[np.float64]
"""(architectures, seeds, images): 1 where the network was right, else 0."""


def candidates(study: Path, count: int) -> list[Arch]:
    """The most accurate complete ones."""
    trials = pd.read_csv(study / "trials.csv", dtype={"arch": str})
    best = trials[trials.state == "complete"].nlargest(count, "val_accuracy")
    return [Arch.load(study / "archs" / f"{arch}.toml") for arch in best.arch]


def parted(dataset: Dataset, pool: int) -> Dataset:
    """The same dataset with so many of its train images, the same ones always, as validation images."""
    (images, labels), held_out = replace(dataset, share=pool / len(dataset.labels)).parts(0)
    return replace(dataset, images=images, labels=labels, validation=held_out)


def train(arch: Arch, seed: int, data: TrainingData, recipe: Recipe, path: Path) -> None:
    """One training; keeps which images of the pool it got right."""
    trainer = Trainer(TrainingSetup(data, recipe, seed))
    accuracy = trainer(arch, lambda *_: None).score
    assert trainer.module is not None
    dtype = autocast_dtype(data.device)
    with torch.inference_mode(), torch.autocast(data.device.type, dtype=dtype, enabled=dtype is not None):
        logits = torch.cat([trainer.module(images) for images, _ in data.validation.batches(1000)])
    right = (logits.argmax(1) == data.validation.labels).cpu().numpy()
    if abs(right.mean() - accuracy) > 1e-3:
        raise RuntimeError(f"{arch.id}: {right.mean():.4f} after training, {accuracy:.4f} in it")
    write_with(path, lambda temporary: temporary.write_bytes(right.tobytes()))
    print(f"{arch.id} seed {seed}: {100 * accuracy:.2f}%", flush=True)


def seed_noise(right: Right, rng: np.random.Generator) -> float:
    """Deviation between seeds of the accuracy over endlessly many images: what two halves of the pool agree on."""
    found = []
    for _ in range(DRAWS):
        halves = np.array_split(rng.permutation(right.shape[2]), 2)
        first, second = (right[:, :, half].mean(2) for half in halves)
        both = (first - first.mean(1, keepdims=True)) * (second - second.mean(1, keepdims=True))
        found.append(both.sum() / (right.shape[0] * (right.shape[1] - 1)))
    return float(np.sqrt(max(0.0, np.mean(found))))


def image_noise(right: Right) -> float:
    """Deviation of (right - right) over images for two trained networks of different architectures."""
    pairs = combinations(range(len(right)), 2)
    return float(np.sqrt(np.mean([(right[a] - right[b]).var(1).mean() for a, b in pairs])))


def ordered(right: Right, images: int, rng: np.random.Generator) -> float:
    """The share of pairs in the order of the others' mean, by one training each on so many images."""
    archs, seeds, pool = right.shape
    hits = []
    for _ in range(DRAWS):
        order, mine = rng.permutation(pool), rng.integers(seeds, size=archs)
        shown = right[np.arange(archs), mine][:, order[:images]].mean(1)
        other = right[:, :, order[images:]].mean(2)
        truth = (other.sum(1) - other[np.arange(archs), mine]) / (seeds - 1)
        hits += [float((shown[a] - shown[b]) * (truth[a] - truth[b]) > 0) for a, b in combinations(range(archs), 2)]
    return float(np.mean(hits))


def main() -> None:
    """Train what is missing, then print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--dataset", help="by default the study's")
    parser.add_argument("--pool", type=int, default=20_000, help="images")
    parser.add_argument("--candidates", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--only", type=int, help="train this seed and stop")
    parser.add_argument("--keep", type=Path, required=True)
    options = parser.parse_args()
    options.keep.mkdir(parents=True, exist_ok=True)
    about = json.loads((options.study / "run.json").read_text())
    recipe = Recipe().with_values(about["recipe"])
    dataset = parted(load_dataset(options.dataset or about["dataset"]["name"]), options.pool)
    archs = candidates(options.study, options.candidates)
    files = [[options.keep / f"{arch.id}-{seed}.bool" for seed in range(options.seeds)] for arch in archs]
    data = TrainingData.of(dataset, 0, resolve_device("auto"))
    for arch, row in zip(archs, files, strict=True):
        for seed, path in enumerate(row):
            if not path.exists() and options.only in (None, seed):
                train(arch, seed, data, recipe, path)
    if options.only is not None:
        return
    right = np.array([[np.frombuffer(path.read_bytes(), bool) for path in row] for row in files], float)
    rng = np.random.default_rng(0)
    per_image, between = image_noise(right), seed_noise(right, rng)
    print(f"{len(archs)} candidates, {options.seeds} seeds, {options.pool:,} images")
    print(f"between the candidates: {100 * right.mean((1, 2)).std(ddof=1):.2f}")
    print(f"a candidate from seed to seed, over endlessly many images: {100 * between:.2f}")
    for size in (size for size in SIZES if size < options.pool):
        drawn = per_image / size**0.5
        whole = (drawn**2 + 2 * between**2) ** 0.5
        print(
            f"{size:,} images: two networks differ by ± {100 * whole:.2f}, ± {100 * drawn:.2f} for the images alone;"
            f" {100 * ordered(right, size, rng):.0f}% of pairs in order"
        )


if __name__ == "__main__":
    main()
