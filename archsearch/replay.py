"""Replay a search on a table of networks that were trained before: no training, only look-ups.

A table has a row a network: the values of its dims, its size, one or more measured accuracies (a training
draws one of them at random, as another seed would), and perhaps an accuracy after fewer epochs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import Trial, TrialState

from archsearch import pareto
from archsearch.errors import DataError, Infeasible, SpaceExhausted
from archsearch.rungs import CURVE, SIZE, Rungs
from archsearch.sampler import ParetoSampler

Array = NDArray[np.float64]
SAMPLERS = ("pareto", "tpe", "nsga2", "random")
POOR_QUANTILE = 0.1
PATIENCE = 10


@dataclass(frozen=True)
class Columns:
    """Which columns of a CSV file mean what.

    Args:
        dims: one a dim; a single one whose values are strings of digits is split into its characters.
        size: exact size.
        accuracy: one a seed.
        final: the accuracy that counts in the end; by default the mean of `accuracy`.
        key: rows with equal values are one network.
        early: accuracy after `early_epochs` of `epochs`, if there is one.
    """

    dims: tuple[str, ...]
    size: str = "params"
    accuracy: tuple[str, ...] = ("val_accuracy",)
    final: str | None = None
    key: str | None = None
    early: str | None = None
    early_epochs: int = 1
    epochs: int = 1

    def named(self) -> list[str]:
        """All columns that must be there."""
        optional = [name for name in (self.final, self.key, self.early) if name]
        return [*self.dims, self.size, *self.accuracy, *optional]


@dataclass(frozen=True)
class Table:
    """Measured networks, by the values of their dims.

    `accuracy` is (n, seeds), `final`, `size` and `early` are (n,); `keys` and `dims` have n rows.
    """

    dims: dict[str, list[Any]]
    size: Array
    accuracy: Array
    final: Array
    keys: list[Any]
    early: Array | None = None
    early_epochs: int = 1
    epochs: int = 1
    _rows: dict[tuple[Any, ...], int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        rows: dict[tuple[Any, ...], int] = {}
        for i, values in enumerate(zip(*self.dims.values(), strict=True)):
            rows.setdefault(values, i)
        object.__setattr__(self, "_rows", rows)

    @classmethod
    def read(cls, path: str | Path, columns: Columns, ordered: bool = False) -> Table:
        """From a CSV file, plain or gzipped.

        Args:
            path: the file.
            columns: what its columns mean.
            ordered: whether whole numbers among the dims are quantities; otherwise they are codes.

        Raises:
            DataError: no such file, a missing column, or no rows.
        """
        if not Path(path).is_file():
            raise DataError(f"no table at {path}")
        single = columns.dims[0] if len(columns.dims) == 1 else None
        frame = pd.read_csv(path, dtype={single: str} if single else None)
        missing = [name for name in columns.named() if name not in frame]
        if missing:
            raise DataError(f"{path} has no column {', '.join(missing)}; it has {', '.join(map(str, frame.columns))}")
        frame = frame.dropna(subset=columns.named())
        if frame.empty:
            raise DataError(f"{path} has no complete row")
        return cls._of(frame, columns, ordered)

    @classmethod
    def _of(cls, frame: pd.DataFrame, columns: Columns, ordered: bool) -> Table:
        accuracy = frame[list(columns.accuracy)].to_numpy(dtype=float)
        final = frame[columns.final].to_numpy(dtype=float) if columns.final else accuracy.mean(1)
        early = frame[columns.early].to_numpy(dtype=float) if columns.early else None
        return cls(
            dims=_dims(frame, columns.dims, ordered),
            size=frame[columns.size].to_numpy(dtype=float),
            accuracy=accuracy,
            final=final,
            keys=list(frame[columns.key]) if columns.key else list(range(len(frame))),
            early=early,
            early_epochs=columns.early_epochs,
            epochs=columns.epochs,
        )

    def row(self, params: Mapping[str, Any]) -> int | None:
        """Index of a network, None where it was not measured."""
        return self._rows.get(tuple(params[name] for name in self.dims))

    @cached_property
    def distributions(self) -> dict[str, BaseDistribution]:
        """One categorical a dim."""
        return {name: CategoricalDistribution(sorted(set(values))) for name, values in self.dims.items()}

    def corner(self, budget: float) -> tuple[float, float]:
        """The reference of the hypervolume: (minus the tenth percentile of accuracy, log budget)."""
        fits = self.size < budget
        if not fits.any():
            raise DataError(f"no network of the table is below {budget:g}; the smallest has {self.size.min():g}")
        return -float(np.quantile(self.final[fits], POOR_QUANTILE)), float(np.log(budget))

    def hypervolume(self, rows: Sequence[int], budget: float) -> float:
        """Of some networks, in (accuracy, log size)."""
        index = np.asarray(rows, dtype=int)
        points = np.column_stack([-self.final[index], np.log(self.size[index])])
        return pareto.hypervolume(points, self.corner(budget))


def _dims(frame: pd.DataFrame, names: Sequence[str], ordered: bool) -> dict[str, list[Any]]:
    dims = {name: frame[name].tolist() for name in names}
    if len(names) == 1:
        dims = _characters(names[0], dims[names[0]])
    return {name: _meant(values, ordered) for name, values in dims.items()}


def _characters(name: str, words: list[str]) -> dict[str, list[Any]]:
    length = len(words[0])
    if length < 2 or any(len(word) != length for word in words):
        return {name: words}
    return {f"{name}{i}": [word[i] for word in words] for i in range(length)}


def _meant(values: list[Any], ordered: bool) -> list[Any]:
    """Whole numbers as quantities or as names."""
    whole = all(str(value).isdigit() for value in values)
    if not whole:
        return values
    return [int(value) if ordered else str(value) for value in values]


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
        "tpe": TPESampler,
        "nsga2": NSGAIISampler,
        "random": RandomSampler,
    }
    if name not in stock:
        raise DataError(f"no sampler {name!r}: choose from {', '.join(SAMPLERS)}")
    return stock[name](seed=seed)


def _pareto(table: Table, budget: float, seed: int, **options: Any) -> ParetoSampler:
    def cost(params: dict[str, Any]) -> float:
        row = table.row(params)
        if row is None:
            raise Infeasible(1.0, "not in the table")
        return float(table.size[row])

    def key(params: dict[str, Any]) -> Any:
        row = table.row(params)
        return None if row is None else table.keys[row]

    return ParetoSampler(table.distributions, cost, budget, seed, key, **options)


@dataclass
class _Search:
    table: Table
    budget: float
    study: optuna.Study
    rungs: Rungs | None
    rng: np.random.Generator
    done: Replay = field(default_factory=Replay)
    measured: dict[Any, float] = field(default_factory=dict)
    spent: int = 0

    def run(self, trainings: int) -> Replay:
        proposals = 0
        while self.spent < trainings * self.table.epochs and proposals < PATIENCE * trainings:
            proposals += 1
            start = time.perf_counter()
            try:
                trial = self.study.ask(self.table.distributions)
            except SpaceExhausted:
                break
            self.done.seconds.append(time.perf_counter() - start)
            self._handle(trial)
        return self.done

    def _handle(self, trial: Trial) -> None:
        row = self.table.row(trial.params)
        size = np.inf if row is None else float(self.table.size[row])
        if row is None or size >= self.budget:
            self.done.over_budget += 1
            self._reject(trial, size)
        elif self.table.keys[row] in self.measured:
            self.done.duplicates += 1
            self._tell(trial, self.measured[self.table.keys[row]], size)
        else:
            self._train(trial, row, size)

    def _reject(self, trial: Trial, size: float) -> None:
        finite = size if np.isfinite(size) else 2 * self.budget
        trial.set_constraint("budget", finite / self.budget - 1 + 1e-9)
        self.study.tell(trial, (float(self.table.final.min()), finite))

    def _tell(self, trial: Trial, accuracy: float, size: float) -> None:
        trial.set_constraint("budget", size / self.budget - 1)
        self.study.tell(trial, (accuracy, size))

    def _train(self, trial: Trial, row: int, size: float) -> None:
        accuracy = float(self.rng.choice(self.table.accuracy[row]))
        if self.rungs is not None and not self._passes(trial, row, size):
            self.spent += self.table.early_epochs
            self.done.stopped += 1
            self.measured[self.table.keys[row]] = accuracy
            self.study.tell(trial, state=TrialState.PRUNED)
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
        return self.rungs.goes_on(self.study, trial.number, epoch, early, size)
