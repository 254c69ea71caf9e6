"""A search as one call: a space, a budget and an evaluation in, the front out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, TypedDict, Unpack

import optuna
from optuna.storages import BaseStorage

from archsearch.errors import InputError, StudyError
from archsearch.evaluation import as_number
from archsearch.network.arch import Arch
from archsearch.network.budget import Budget
from archsearch.network.layers import Shape
from archsearch.report import tables
from archsearch.sampler.asha import Rungs
from archsearch.space.balance import idle_limit
from archsearch.space.domain import Domain
from archsearch.space.space import SearchSpace
from archsearch.study.leases import Board, Seat, lose
from archsearch.study.mending import mend
from archsearch.study.observers import Counts, Observer
from archsearch.study.records import Record, front
from archsearch.study.storage import DIRECTIONS, name_metrics
from archsearch.study.store import lies_in, private_parts, store_of
from archsearch.workers.latencies import Latencies, Stopwatch
from archsearch.workers.loop import Loop
from archsearch.workers.measure import Evaluate
from archsearch.workers.progress import ProgressBar, is_watched

if TYPE_CHECKING:
    import pandas as pd


_SHOWN, _LONG = 12, 60
_REPR = ("arch", "val_accuracy", "val_score", "params", "size_bytes", "summary")
_HTML = {"val_accuracy": "{:.4f}".format, "val_score": "{:.4f}".format, "params": "{:,}".format,
         "size_bytes": "{:,}".format}  # fmt: skip


@dataclass(frozen=True, repr=False)
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

    def __repr__(self) -> str:
        """Counts, why it ended, and the most accurate of the front."""
        head, shown = self._shown()
        return head if shown.empty else f"{head}:\n{shown.to_string(index=False)}"

    def _repr_html_(self) -> str:
        """The same for notebooks, with a table."""
        head, shown = self._shown()
        if shown.empty:
            return f"<p>{escape(head)}</p>"
        ways = {name: way for name, way in _HTML.items() if name in shown}
        return f"<p>{escape(head)}</p>\n{shown.to_html(index=False, border=0, formatters=ways)}"

    def _shown(self) -> tuple[str, pd.DataFrame]:
        """A line of counts, and the rows that are shown."""
        rows = front(self.records)
        failed = f", {self.counts.failed} failed" if self.counts.failed else ""
        less = f", the last {_SHOWN}" if len(rows) > _SHOWN else ""
        head = f"Result: {self.counts.trained} trained{failed}, ended by {self.reason}; front of {len(rows)}{less}"
        table = tables.front_table(self.records)
        return head, table[[name for name in _REPR if name in table]].tail(_SHOWN).assign(summary=_short)


def _short(table: pd.DataFrame) -> pd.Series[str]:
    return table.summary.map(lambda text: text if len(text) <= _LONG else f"{text[: _LONG - 3]}...")


class SearchOptions(TypedDict, total=False):
    """What a search may be told beside its problem.

    `seed` (0) fixes proposals and trainings. `sampler`: pareto (the default), tpe, nsga2 or random. `rungs`: who goes
    on after which epoch; None: every training runs to its end. `timeout`: seconds after which no further candidate is
    started; None: no such limit. `study`: an Optuna study with directions (maximize, minimize), its history included;
    None: in memory.
    `storage`: the object that `study` was opened with, where Optuna does not tell.
    `observers` are told of everything. `progress`: whether a bar shows on stderr what happens; None: in terminals and
    notebooks. `training_cost`: `fn(arch)`, what a training costs beside the others, such as its seconds; the sampler
    pareto prefers the cheaper of two with equal prospects. By default all cost the same.

    For several workers: `counts` of the history, to go on from; `rejected`: ids that an earlier run rejected, so that
    they are counted once; `seat`: this worker's, where others work at the same study (None: one that is alone on this
    machine, and takes up what dead processes of it have left); `memory`: predicted bytes of a training, of which the
    seat's device has room for so many. `stopwatch`: who measures milliseconds where the budget limits them; None: as
    its `timing` says, with the cache of the folder `data`.
    """

    seed: int
    sampler: str
    rungs: Rungs | None
    timeout: float | None
    study: optuna.Study | None
    storage: BaseStorage | None
    observers: Sequence[Observer]
    progress: bool | None
    training_cost: Callable[[Arch], float] | None
    counts: Counts | None
    rejected: Iterable[str]
    seat: Seat | None
    memory: Callable[[Arch], float]
    stopwatch: Stopwatch | None


def search(
    space: SearchSpace,
    *,
    evaluate: Evaluate,
    input_shape: Shape | Sequence[Shape] | None = None,
    classes: int,
    budget: Budget | None = None,
    trials: int | Callable[[], int] = 24,
    **options: Unpack[SearchOptions],
) -> Result:
    """Search a space for networks that are accurate for their size inside a budget.

    Args:
        evaluate: `fn(arch, report) -> score`, such as accuracy as a fraction, or an `Evaluation` with what else was
            measured. It calls `report(epoch, score)` after every epoch, counted from 1, which may raise StopTraining,
            with a third argument for metrics by name. It raises TrainingFailed for a candidate that cannot be trained;
            one whose score is no finite number has failed, too. Any other error of its ends the search.
        input_shape: (channels, height, width) of the images, or several such shapes, of which every candidate takes
            one, `arch.input_shape`; may be left out where the space says size and colour.
        trials: how many candidates are to be trained in all, those of the study's history included; a function is
            asked before each.
        options: seed, sampler, rungs and others, see `SearchOptions`.

    Returns:
        All finished candidates, counts, and why the search ended: trials, timeout, exhausted or failures.

    Raises:
        NothingFeasible: no candidate of the space fits the budget.
        SpecError: no candidate of the space makes a network for `input_shape`.
        InputError: `evaluate` reports epochs that are not counted from 1, a timeout that is no number, no input shape,
            or several that are not sizes and colours; a `training_cost` that is no positive number.
        StudyError: the study has other directions.
        TypeError: an unknown option.
    """
    timeout, observers = _checked(options), list(options.get("observers", ()))
    progress = options.get("progress")
    if progress or (progress is None and options.get("seat") is None and is_watched()):
        observers.append(ProgressBar(trials() if callable(trials) else trials))
    budget = budget or Budget()
    loop = Loop(
        Domain(*space.taking(input_shape), classes),
        budget,
        options.get("seed", 0),
        _study(options.get("study"), options.get("storage")),
        options.get("rungs"),
        observers,
        options.get("seat") or Seat(),
        options.get("memory", lambda arch: 0.0),
        _latencies(budget, options.get("stopwatch"), observers),
        options.get("training_cost"),
    )
    if options.get("seat") is None:
        take_from_the_dead(loop.board)
        note_balance(loop)
    loop.start(options.get("sampler", "pareto"), options.get("counts"), options.get("rejected", ()))
    reason = loop(evaluate, trials if callable(trials) else lambda: trials, timeout)
    return Result(loop.history, loop.counts, reason)


def _checked(options: SearchOptions) -> float | None:
    """The timeout; refuses what is no option and no time."""
    if unknown := sorted(options.keys() - SearchOptions.__annotations__.keys()):
        raise TypeError(f"search has no option {unknown[0]!r}: use {', '.join(SearchOptions.__annotations__)}")
    timeout = options.get("timeout")
    if timeout is not None and (as_number(timeout) is None or math.isnan(timeout)):
        raise InputError(f"timeout={timeout!r}: give seconds, or None for no limit")
    return timeout


def _latencies(budget: Budget, stopwatch: Stopwatch | None, observers: Sequence[Observer]) -> Latencies | None:
    """Where milliseconds are limited: who knows them."""
    if budget.timing is None:
        return None
    from archsearch.export.timed import Stopwatch as Measured

    def say(line: str) -> None:
        for observer in observers:
            observer.noted(line)

    return Latencies(budget, stopwatch or Measured(budget.timing), say)


def take_from_the_dead(board: Board) -> None:
    """Close the claims that processes of this machine have left which are no more."""
    for trial in board.of_dead_processes():
        lose(board.study, trial, "worker gone: its process has ended")
    board.read()


def note_balance(loop: Loop) -> None:
    """Tell observers of a limit that lies idle."""
    idle = idle_limit(loop.domain, loop.budget) if loop.observers else None
    if idle:
        for observer in loop.observers:
            observer.noted(idle.words)


def _study(study: optuna.Study | None, storage: BaseStorage | None) -> optuna.Study:
    if study is None:
        return _memory_study()
    if study.directions != DIRECTIONS:
        found = ", ".join(direction.name.lower() for direction in study.directions)
        raise StudyError(
            f"study {study.study_name!r} has directions ({found}), a search has (maximize, minimize) for score and "
            'parameters: make one with optuna.create_study(directions=["maximize", "minimize"])'
        )
    known = study if storage is None else lies_in(study, storage)
    parts = private_parts()
    engine = parts and parts.engine_of(store_of(known).storage)
    if engine:
        mend(engine)
    return known


def _memory_study() -> optuna.Study:
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(storage=storage, directions=["maximize", "minimize"])
    name_metrics(study)
    return lies_in(study, storage)
