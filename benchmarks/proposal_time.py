"""Seconds a ParetoSampler proposal takes with many finished trials: `python benchmarks/proposal_time.py`."""

from __future__ import annotations

import argparse
import time

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from archsearch.sampler import ParetoSampler

STAGES = 4
LIMIT = 1.5e6


def dims() -> dict[str, BaseDistribution]:
    """Fifteen dims of a small ResNet space: per stage width, kernel and depth, and three of the recipe."""
    space: dict[str, BaseDistribution] = {}
    for stage in range(STAGES):
        space[f"stage{stage}.width"] = IntDistribution(16, 256, step=8)
        space[f"stage{stage}.kernel"] = CategoricalDistribution([3, 5, 7])
        space[f"stage{stage}.depth"] = IntDistribution(1, 4)
    space["lr"] = FloatDistribution(1e-3, 1.0, log=True)
    space["activation"] = CategoricalDistribution(["relu", "silu", "gelu"])
    space["dropout"] = FloatDistribution(0.0, 0.5)
    return space


def cost(params: dict[str, float]) -> float:
    """Weights of plain convolutions."""
    total, before = 0.0, 3.0
    for stage in range(STAGES):
        width, kernel = params[f"stage{stage}.width"], params[f"stage{stage}.kernel"]
        total += kernel**2 * (before * width + (params[f"stage{stage}.depth"] - 1) * width**2)
        before = width
    return total


def finished(count: int) -> optuna.Study:
    """A study with that many finished trials inside the budget."""
    rng = np.random.default_rng(0)
    sampler = ParetoSampler(dims(), cost, LIMIT, start=10 * count)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    pool = sampler._engine({}).pool
    pool.prepare(rng)
    while len(pool.members) < count:
        pool.spread(rng, count)
    for member in pool.members[:count]:
        accuracy = 0.5 + 0.03 * member.log_size + 0.01 * rng.standard_normal()
        study.add_trial(
            optuna.trial.create_trial(
                params=member.params, distributions=dims(), values=[accuracy, cost(member.params)]
            )
        )
    return study


def main() -> None:
    """Print the median and the longest of some proposals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--finished", type=int, nargs="+", default=[300, 1000])
    parser.add_argument("--proposals", type=int, default=15)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for count in options.finished:
        study = finished(count)
        study.sampler = ParetoSampler(dims(), cost, LIMIT, seed=0)
        seconds = []
        for _ in range(options.proposals):
            start = time.perf_counter()
            trial = study.ask(dims())
            seconds.append(time.perf_counter() - start)
            study.tell(trial, (0.9, cost(trial.params)))
        print(f"{count} finished: median {np.median(seconds):.3f} s, longest {max(seconds):.3f} s a proposal")


if __name__ == "__main__":
    main()
