"""A search as one call: a space, a budget and an evaluation in, the front out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict, Unpack

import optuna
from optuna.storages import BaseStorage

from archsearch.network.arch import Arch
from archsearch.network.budget import Budget
from archsearch.network.layers import Shape
from archsearch.report import tables
from archsearch.sampler.asha import Rungs
from archsearch.space.domain import Domain
from archsearch.space.space import SearchSpace
from archsearch.study.leases import Board, Seat, lose
from archsearch.study.observers import Counts, Observer
from archsearch.study.records import Record
from archsearch.study.storage import name_metrics
from archsearch.study.store import lies_in
from archsearch.workers.loop import Loop
from archsearch.workers.measure import Evaluate

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Result:
    """A finished search. `front` and `trials` are tables with the columns of the CSV files."""

    records: Sequence[Record]
    counts: Counts
    reason: str

    @property
    def front(self) -> pd.DataFrame:
        """The Pareto front among complete candidates, smallest first."""
        return tables.front_table(self.records)

    @property
    def trials(self) -> pd.DataFrame:
        """Every candidate that was trained or failed."""
        return tables.trials_table(self.records)


class SearchOptions(TypedDict, total=False):
    """What a search may be told beside its problem.

    `seed` (0) fixes proposals and trainings. `sampler`: pareto (the default), tpe, nsga2 or random. `rungs`: who goes
    on after which epoch; None: every training runs to its end. `timeout`: seconds after which no further candidate is
    started. `study`: an Optuna study with directions (maximize, minimize), its history included; None: in memory.
    `storage`: the object that `study` was opened with, where Optuna does not tell.
    `observers` are told of everything.

    For several workers: `counts` of the history, to go on from; `rejected`: ids that an earlier run rejected, so that
    they are counted once; `seat`: this worker's, where others work at the same study (None: one that is alone on this
    machine, and takes up what dead processes of it have left); `memory`: predicted bytes of a training, of which the
    seat's device has room for so many.
    """

    seed: int
    sampler: str
    rungs: Rungs | None
    timeout: float | None
    study: optuna.Study | None
    storage: BaseStorage | None
    observers: Sequence[Observer]
    counts: Counts | None
    rejected: Iterable[str]
    seat: Seat | None
    memory: Callable[[Arch], float]


def search(
    space: SearchSpace,
    *,
    evaluate: Evaluate,
    input_shape: Shape,
    classes: int,
    budget: Budget | None = None,
    trials: int | Callable[[], int] = 24,
    **options: Unpack[SearchOptions],
) -> Result:
    """Search a space for networks that are accurate for their size inside a budget.

    Args:
        evaluate: `fn(arch, report) -> accuracy` as a fraction, or an `Evaluation` with what else was measured; it
            calls `report(epoch, accuracy)` after every epoch, which may raise StopTraining, with a third argument for
            metrics by name. It raises TrainingFailed for a candidate that cannot be trained.
        input_shape: (channels, height, width) of the images.
        trials: how many candidates are to be trained in all, those of the study's history included; a function is
            asked before each.
        options: seed, sampler, rungs and others, see `SearchOptions`.

    Returns:
        All finished candidates, counts, and why the search ended: trials, timeout, exhausted or failures.

    Raises:
        NothingFeasible: no candidate of the space fits the budget.
        SpecError: no candidate of the space makes a network for `input_shape`.
        TypeError: an unknown option.
    """
    if unknown := sorted(options.keys() - SearchOptions.__annotations__.keys()):
        raise TypeError(f"search has no option {unknown[0]!r}: use {', '.join(SearchOptions.__annotations__)}")
    loop = Loop(
        Domain(space, tuple(input_shape), classes),
        budget or Budget(),
        options.get("seed", 0),
        _study(options.get("study"), options.get("storage")),
        options.get("rungs"),
        options.get("observers", ()),
        options.get("seat") or Seat(),
        options.get("memory", lambda arch: 0.0),
    )
    if options.get("seat") is None:
        take_from_the_dead(loop.board)
    loop.start(options.get("sampler", "pareto"), options.get("counts"), options.get("rejected", ()))
    reason = loop(evaluate, trials if callable(trials) else lambda: trials, options.get("timeout"))
    return Result(loop.history, loop.counts, reason)


def take_from_the_dead(board: Board) -> None:
    """Close the claims that processes of this machine have left which are no more."""
    for trial in board.of_dead_processes():
        lose(board.study, trial, "worker gone: its process has ended")
    board.read()


def _study(study: optuna.Study | None, storage: BaseStorage | None) -> optuna.Study:
    if study is None:
        return _memory_study()
    return study if storage is None else lies_in(study, storage)


def _memory_study() -> optuna.Study:
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(storage=storage, directions=["maximize", "minimize"])
    name_metrics(study)
    return lies_in(study, storage)
