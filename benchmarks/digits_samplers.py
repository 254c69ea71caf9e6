"""Real training on digits, the same epochs for every sampler: `python benchmarks/digits_samplers.py`.

Each sampler of each seed trains `--trials` networks of a space below `--budget` parameters to the end (no
rungs), through `archsearch.search`. A line a sampler: the hypervolume of (validation accuracy, log
parameters), in accuracy times nats, reference (accuracy 0, log budget), mean and deviation over seeds; and
how many trainings were wasted on networks over budget or trained before.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Sequence

import numpy as np
import optuna

from archsearch import pareto
from archsearch.data import load_dataset
from archsearch.network.budget import Budget
from archsearch.network.recipe import Recipe
from archsearch.nn.devices import resolve_device
from archsearch.space.reader import load_space
from archsearch.training.data import TrainingData
from archsearch.training.setup import TrainingSetup
from archsearch.training.trainer import Trainer
from archsearch.workers.local import Result, search
from archsearch.workers.proposer import SAMPLERS


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--space", default="resnin")
    parser.add_argument("--budget", type=float, default=1e5, help="parameters must be below")
    parser.add_argument("--samplers", default=",".join(SAMPLERS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--minutes", type=float, default=60.0, help="start no further seed after these")
    return parser.parse_args(arguments)


def searched(sampler: str, seed: int, options: argparse.Namespace) -> Result:
    """One search: the same split, data and trainings' seeds for every sampler of a seed."""
    data = TrainingData.of(load_dataset("digits"), seed, resolve_device("cpu"))
    space = load_space(options.space)
    return search(
        space,
        evaluate=Trainer(TrainingSetup(data, space.recipe(Recipe()).with_values({"epochs": options.epochs}), seed)),
        input_shape=data.dataset.input_shape,
        classes=len(data.dataset.classes),
        budget=Budget(max_params=int(options.budget)),
        trials=options.trials,
        seed=seed,
        sampler=sampler,
    )


def hypervolume(result: Result, budget: float) -> float:
    """Of (validation accuracy, log parameters)."""
    done = [(record.val_accuracy, record.params) for record in result.records if record.val_accuracy is not None]
    points = np.array([(-accuracy, np.log(params)) for accuracy, params in done]).reshape(-1, 2)
    return pareto.hypervolume(points, (0.0, np.log(budget)))


def wasted(results: Sequence[Result], budget: float) -> tuple[int, int]:
    """Trainings over budget, and trainings of a network trained before in the same search."""
    over = sum(record.params >= budget for result in results for record in result.records)
    again = sum(len(result.records) - len({record.arch for record in result.records}) for result in results)
    return over, again


def line(name: str, results: Sequence[Result], budget: float, seconds: float) -> str:
    """All figures of one sampler."""
    volumes = [hypervolume(result, budget) for result in results]
    best = [max(record.val_accuracy or 0.0 for record in result.records) for result in results]
    epochs = [sum(record.epochs for record in result.records) for result in results]
    over, again = wasted(results, budget)
    spread = np.std(volumes, ddof=1) if len(volumes) > 1 else 0.0
    drawn = np.mean([result.counts.over_budget for result in results])
    twice = np.mean([result.counts.duplicates for result in results])
    return (
        f"{name} hypervolume: {np.mean(volumes):.4f} ± {spread:.4f}; best accuracy {np.mean(best):.4f}; "
        f"epochs {np.mean(epochs):.0f} a run; infeasible trainings {over}, duplicate trainings {again}; "
        f"drawn over budget {drawn:.0f}, drawn twice {twice:.0f} a run; {seconds:.0f} s"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Seed by seed, so that a comparison cut short is a fair one of fewer seeds; then a line a sampler."""
    options = parse(arguments)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    names = options.samplers.split(",")
    found: dict[str, list[Result]] = {name: [] for name in names}
    seconds = dict.fromkeys(names, 0.0)
    end = time.perf_counter() + 60 * options.minutes
    for seed, name in itertools.product(range(options.seeds), names):
        start = time.perf_counter()
        if name == names[0] and found[name] and start > end:
            break
        found[name].append(searched(name, seed, options))
        seconds[name] += time.perf_counter() - start
        volume = hypervolume(found[name][-1], options.budget)
        print(f"seed {seed} {name}: {volume:.4f}, {seconds[name]:.0f} s so far", flush=True)
    for name in names:
        print(line(name, found[name], options.budget, seconds[name]), flush=True)


if __name__ == "__main__":
    main()
