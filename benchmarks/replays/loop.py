"""The loop of a replay: ask, look up, tell."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import Trial, TrialState

from archsearch.errors import DataError, SpaceExhausted
from archsearch.sampler import ParetoSampler
from archsearch.sampler.asha import CURVE, SIZE, Rungs
from replays.table import Table

SAMPLERS = ("pareto", "gp", "tpe", "nsga2", "random")
MOST_WASTED = 10
"""A search ends when it has wasted so many proposals a training."""


@dataclass
class Replay:
    """One replayed search.

    `rows`: networks trained to the end, in order, and `epochs`: the epochs spent when each of them was done.
    `over_budget`, `duplicates`: proposals wasted; `stopped`: trainings stopped at the rung; `seconds`: of
    each proposal.
    """

    rows: list[int] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    over_budget: int = 0
    duplicates: int = 0
    stopped: int = 0

    def rows_after(self, epochs: float) -> list[int]:
        """What was trained to the end within that many epochs."""
        return [row for row, spent in zip(self.rows, self.epochs, strict=True) if spent <= epochs]


def replay(
    table: Table,
    budget: float,
    sampler: str,
    trainings: int,
    seed: int,
    reduction: float = 0.0,
    **options: Any,
) -> Replay:
    """Search a table.

    The space is what was measured: `pareto` is given the networks as its candidates; what a stock sampler
    proposes beside them counts as the nearest of them.

    Args:
        table: the measured networks.
        budget: sizes must lie strictly below.
        sampler: one of `SAMPLERS`.
        trainings: the search ends after the epochs of that many full trainings.
        seed: of the sampler and of which measured accuracy a training draws.
        reduction: with a table that has an early accuracy, the rung's reduction factor; 0 for no rung.
        options: of `ParetoSampler`.
    """
    study = optuna.create_study(
        directions=["maximize", "minimize"], sampler=make_sampler(table, budget, sampler, seed, **options)
    )
    rungs = Rungs(table.epochs, table.early_epochs, reduction) if reduction and table.early is not None else None
    search = _Search(table, budget, study, rungs, np.random.default_rng(seed))
    return search.run(trainings)


def make_sampler(table: Table, budget: float, name: str, seed: int, **options: Any) -> BaseSampler:
    """A sampler over a table.

    Raises:
        DataError: an unknown name.
    """
    if name == "pareto":
        return _pareto(table, budget, seed, **options)
    stock: dict[str, Callable[..., BaseSampler]] = {
        "gp": GPSampler,
        "tpe": TPESampler,
        "nsga2": NSGAIISampler,
        "random": RandomSampler,
    }
    if name not in stock:
        raise DataError(f"no sampler {name!r}: choose from {', '.join(SAMPLERS)}")
    return stock[name](seed=seed)


def _pareto(table: Table, budget: float, seed: int, **options: Any) -> ParetoSampler:
    def cost(params: dict[str, Any]) -> float:
        return float(table.size[table.nearest(params)])

    def key(params: dict[str, Any]) -> Any:
        return table.keys[table.nearest(params)]

    shown = table.features
    if shown is not None:
        options.setdefault("features", lambda params: shown[table.nearest(params)])
    measured = None if table.whole else [table.params(row) for row in range(len(table.size))]
    return ParetoSampler(table.distributions, cost, budget, seed, key, candidates=measured, **options)


@dataclass
class _Search:
    table: Table
    budget: float
    study: optuna.Study
    rungs: Rungs | None
    rng: np.random.Generator
    done: Replay = field(default_factory=Replay)
    measured: dict[Any, float | None] = field(default_factory=dict)
    spent: int = 0

    def run(self, trainings: int) -> Replay:
        while self.spent < trainings * self.table.epochs and self._wasted() < MOST_WASTED * trainings:
            start = time.perf_counter()
            try:
                trial = self.study.ask(self.table.distributions)
            except SpaceExhausted:
                break
            self.done.seconds.append(time.perf_counter() - start)
            self._handle(trial)
        return self.done

    def _wasted(self) -> int:
        return self.done.over_budget + self.done.duplicates

    def _handle(self, trial: Trial) -> None:
        row = self.table.nearest(trial.params)
        size = float(self.table.size[row])
        if size >= self.budget:
            self.done.over_budget += 1
            self._tell(trial, float(self.table.final.min()), size)
        elif self.table.keys[row] in self.measured:
            self.done.duplicates += 1
            self._tell(trial, self.measured[self.table.keys[row]], size)
        else:
            self._train(trial, row, size)

    def _tell(self, trial: Trial, accuracy: float | None, size: float) -> None:
        if accuracy is None:
            self.study.tell(trial, state=TrialState.PRUNED)
            return
        trial.set_constraint("budget", size / self.budget - 1 + 1e-9 * (size >= self.budget))
        self.study.tell(trial, (accuracy, size))

    def _train(self, trial: Trial, row: int, size: float) -> None:
        accuracy = float(self.rng.choice(self.table.accuracy[row]))
        if self.rungs is not None and not self._passes(trial, row, size):
            self.spent += self.table.early_epochs
            self.done.stopped += 1
            self.measured[self.table.keys[row]] = None
            self._tell(trial, None, size)
            return
        self.spent += self.table.epochs
        self.measured[self.table.keys[row]] = accuracy
        self.done.rows.append(row)
        self.done.epochs.append(self.spent)
        self._tell(trial, accuracy, size)

    def _passes(self, trial: Trial, row: int, size: float) -> bool:
        assert self.rungs is not None
        assert self.table.early is not None
        epoch, early = self.table.early_epochs, float(self.table.early[row])
        trial.set_user_attr(SIZE, size)
        trial.set_user_attr(CURVE, [[epoch, early]])
        return self.rungs.standing(self.study.get_trials(deepcopy=False), trial.number, epoch, early, size).goes_on
