"""What each default of the recipe earns: the same training with another value, on validation images.

    python benchmarks/ablations.py --dataset npz:cifar10.npz --size 16 --seeds 2 '' batch_size=128 lr=0.2,warmup=0
    python benchmarks/ablations.py --dataset npz:cifar10.npz --size 16 --seeds 2 --teacher FILE.safetensors ''

One line a training with its seconds, then one a recipe ("" is the default): mean validation accuracy over seeds and its
difference from the first recipe, in points; recipes take turns within a seed. docs/evidence/recipe.md has figures.
"""

from __future__ import annotations

import argparse
import time
from statistics import fmean, stdev

from archsearch.cli.recipes import recipe_values
from archsearch.data import Dataset, load_dataset
from archsearch.data.dataset import resized
from archsearch.network import zoo
from archsearch.network.arch import Arch
from archsearch.network.recipe import Recipe
from archsearch.nn.devices import resolve_device
from archsearch.retrain.given import given
from archsearch.training.data import TrainingData
from archsearch.training.setup import TrainingSetup
from archsearch.training.trainer import Trainer


def parser_of(what: str | None, epochs: int) -> argparse.ArgumentParser:
    """The options of what trains one network by several recipes."""
    parser = argparse.ArgumentParser(description=what, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+", metavar="KEY=VALUE,...|PRESET")
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument("--network", default="resnet-course-small", help="a reference's name, or an architecture file")
    parser.add_argument("--size", type=int, default=16, help="pixels of a side")
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    return parser


def prepared(options: argparse.Namespace) -> tuple[Dataset, Arch, dict[str, Recipe]]:
    """The images, the network for them, and the recipes by their words."""
    dataset = resized(load_dataset(options.dataset), options.size)
    named = options.network
    arch = Arch.load(named) if named.endswith(".toml") else zoo.load(named).arch
    arch = arch.adapted(dataset.input_shape, len(dataset.classes))
    default = Recipe(epochs=options.epochs)
    recipes = {
        text or "default": default.with_values(recipe_values(text.split(",") if text else []))
        for text in options.recipes
    }
    return dataset, arch, recipes


def main() -> None:
    """A line a training as it ends, then a line a recipe."""
    parser = parser_of(__doc__, epochs=8)
    parser.add_argument("--teacher", action="append", default=[], help="as of retrain; repeatable")
    options = parser.parse_args()
    dataset, arch, recipes = prepared(options)
    taught = given(options.teacher, "", dataset)
    found: dict[str, list[float]] = {name: [] for name in recipes}
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        data = TrainingData.of(dataset, seed, resolve_device(options.device))
        for name, recipe in recipes.items():
            clock = time.perf_counter()
            setup = taught.given_to(TrainingSetup(data, recipe, seed))
            found[name].append(100 * Trainer(setup)(arch, lambda *_: None).score)
            print(f"seed {seed}  {name}: {found[name][-1]:.2f}, {time.perf_counter() - clock:.0f} s", flush=True)
    first, *_ = (fmean(accuracies) for accuracies in found.values())
    for name, accuracies in found.items():
        spread = f" ± {stdev(accuracies):.2f}" if len(accuracies) > 1 else ""
        print(f"{fmean(accuracies) - first:+.2f}  {name}: {fmean(accuracies):.2f}{spread}, {len(accuracies)} seeds")


if __name__ == "__main__":
    main()
