"""What recipes earn on corrupted images: the same training by each, judged on validation images.

    python benchmarks/robust.py --dataset npz:cifar10.npz --size 16 --images 10000 --epochs 10 --seeds 2 '' robust

One line a training, then one a recipe ("" is the default): means over seeds. "Not noise" leaves out the three
corruptions that add noise, as `noise` in a recipe trains on one of them. Recipes take turns within a seed.
docs/reference/robustness.md has what it printed.
"""

from __future__ import annotations

import time
from dataclasses import replace
from statistics import fmean

import torch
from ablations import parser_of, prepared

from archsearch.data.pixels import Pixels
from archsearch.inference.corruptions import evaluate_corrupted
from archsearch.inference.evaluate import accuracy
from archsearch.inference.pixels import PixelNetwork
from archsearch.inference.runner import Runner
from archsearch.network.arch import Arch
from archsearch.network.recipe import Recipe
from archsearch.nn.devices import resolve_device
from archsearch.training.data import TrainingData
from archsearch.training.fit import fit
from archsearch.training.setup import TrainingSetup

Figures = tuple[float, float, float, float]


def trained(arch: Arch, data: TrainingData, recipe: Recipe, seed: int) -> Figures:
    """Accuracies in percent on the images as they are, corrupted, corrupted other than by noise, and the worst."""
    module = fit(arch, TrainingSetup(data, recipe, seed), lambda *_: None).module
    runner = Runner(arch, {}, PixelNetwork(module, data.dataset.normalisation).to(data.device), data.device)
    images = data.validation.levels(torch.arange(len(data.validation))).cpu()
    labels = data.validation.labels.cpu()
    found = evaluate_corrupted(runner, (Pixels.of(images), labels), accuracy)
    other = fmean(share for name, share in found.means.items() if not name.endswith("noise"))
    clean = accuracy(runner(images), labels)
    return 100 * clean, 100 * found.mean, 100 * other, 100 * found.worst[2]


def main() -> None:
    """A line a training as it ends, then a line a recipe."""
    parser = parser_of(__doc__, epochs=10)
    parser.add_argument("--images", type=int, default=10_000, help="to train on")
    parser.add_argument("--judges", type=int, default=1_000, help="validation images")
    options = parser.parse_args()
    dataset, arch, recipes = prepared(options)
    found: dict[str, list[Figures]] = {name: [] for name in recipes}
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        data = TrainingData.of(dataset, seed, resolve_device(options.device))
        data = replace(data, train=data.train.first(options.images), validation=data.validation.first(options.judges))
        for name, recipe in recipes.items():
            clock = time.perf_counter()
            found[name].append(trained(arch, data, recipe, seed))
            print(f"seed {seed}  {name}: {row(found[name][-1])}, {time.perf_counter() - clock:.0f} s", flush=True)
    for name, figures in found.items():
        means = [fmean(values) for values in zip(*figures, strict=True)]
        print(f"{name}: {row(means)}, {len(figures)} seeds")


def row(figures: Figures | list[float]) -> str:
    """The four figures in words."""
    words = ("clean", "corrupted", "not noise", "worst")
    return ", ".join(f"{word} {figure:.2f}" for word, figure in zip(words, figures, strict=True))


if __name__ == "__main__":
    main()
