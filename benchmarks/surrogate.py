"""How well the sampler's surrogate ranks candidates that it has not seen, with and without their multiply-accumulates.

    python benchmarks/surrogate.py results/cifar10-6MB-wrn32 results/cifar10-5M-wrn32

Of every study and its random twin: the surrogate learns the accuracy after the first epoch of some candidates and
ranks the others. Prints Spearman's correlation, mean ± standard error over draws.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from scipy.stats import spearmanr

from archsearch.sampler.dims import Array
from archsearch.sampler.space import Space
from archsearch.sampler.surrogate import Surrogate, learn
from archsearch.study.storage import open_existing, status


@dataclass(frozen=True)
class Candidates:
    """`params`: of the space; `size`, `macs` and `accuracy`: (n,)."""

    space: Space
    params: list[dict[str, Any]]
    size: Array
    macs: Array
    accuracy: Array

    @classmethod
    def read(cls, folder: Path) -> Candidates:
        """What a study and its twin, if it has one, have trained to the end or to a rung."""
        trials = [
            trial
            for path in (folder, folder / "random")
            if (path / "study.db").exists()
            for trial in open_existing(path)[0].get_trials(deepcopy=False)
            if status(trial) in ("complete", "stopped") and trial.params
        ]
        space = Space({name: one for trial in trials for name, one in trial.distributions.items()})
        columns = (
            np.array([trial.user_attrs["params"] for trial in trials], dtype=float),
            np.array([trial.user_attrs["macs"] for trial in trials], dtype=float),
            np.array([trial.user_attrs["curve"][0][1] for trial in trials]),
        )
        return cls(space, [space.settled(trial.params) for trial in trials], *columns)

    def inputs(self, macs: bool) -> Array:
        """What the surrogate sees: dims, shared columns, perhaps the log of the multiply-accumulates, log size."""
        parts = [*self.space.encode(self.params), *([_unit(self.macs)] if macs else []), _unit(self.size)]
        return np.hstack(parts)

    def correlations(self, macs: bool, learnt: int, draws: int) -> Array:
        """(draws,) of what was predicted with what was measured."""
        inputs, shape = self.inputs(macs), (len(self.space.dims), self.space.columns)
        found = []
        for seed in range(draws):
            order = np.random.default_rng(seed).permutation(len(self.accuracy))
            seen, unseen = order[:learnt], order[learnt:]
            known = self.accuracy[seen]
            model = Surrogate(inputs[seen], known, np.zeros(learnt), learn(inputs[seen], known, shape), shape)
            found.append(spearmanr(model.typical(inputs[unseen]), self.accuracy[unseen]).statistic)
        return np.array(found)


def _unit(values: Array) -> Array:
    logs = np.log(values)
    return np.asarray((logs - logs.min()) / np.ptp(logs))[:, None]


def main(words: Sequence[str] | None = None) -> None:
    """Print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("studies", nargs="+", type=Path)
    parser.add_argument("--learnt", default="12,20,30")
    parser.add_argument("--draws", type=int, default=16)
    options = parser.parse_args(words)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for folder in options.studies:
        candidates = Candidates.read(folder)
        for learnt in map(int, options.learnt.split(",")):
            for name, macs in (("without", False), ("with", True)):
                if learnt + 8 <= len(candidates.params):
                    found = candidates.correlations(macs, learnt, options.draws)
                    error = found.std(ddof=1) / len(found) ** 0.5
                    count = f"{learnt} of {len(candidates.params)}"
                    print(f"{folder.name}, {count} learnt, {name} MACs: {found.mean():.3f} ± {error:.3f}", flush=True)


if __name__ == "__main__":
    main()
