"""The search: ask, check, reject or train, tell. The only place where these meet."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

import optuna

from archsearch import tables
from archsearch.arch import Arch
from archsearch.budget import Budget, Verdict
from archsearch.draft import Draft, Draw
from archsearch.errors import NothingFeasible, SpaceExhausted, SpecError, StopTraining, TrainingFailed
from archsearch.layers import Shape
from archsearch.rungs import Rungs, goes_on
from archsearch.space import SearchSpace
from archsearch.storage import Record, add_record, add_reference, name_metrics, records, stored_references
from archsearch.tables import Reject
from archsearch.units import format_bytes, format_count

if TYPE_CHECKING:
    import pandas as pd

Report = Callable[[int, float], None]
Evaluate = Callable[[Arch, Report], float]
MAX_FAILURES = 10
_SAMPLER_DRAWS = 200
_RANDOM_DRAWS = 20_000
_KEPT_REJECTS = 10_000


@dataclass(frozen=True)
class Candidate:
    """A network inside the budget that is about to be trained."""

    arch: Arch
    verdict: Verdict
    draw: Draw


@dataclass
class Counts:
    """What became of the candidates whose cost was taken.

    `over_budget` counts distinct ones over the budget, or without a network; `duplicates` every draw of one that
    was drawn before. With a stock sampler checked = over_budget + duplicates + trained + failed (+ one in
    training); the sampler `pareto` also checks candidates that fit but promise less.
    """

    checked: int = 0
    over_budget: int = 0
    duplicates: int = 0
    trained: int = 0
    failed: int = 0
    broke: dict[str, int] = field(default_factory=dict)


class Observer:
    """Told of everything that happens in a search; every method may be left as it is."""

    def started(self, history: Sequence[Record], counts: Counts) -> None:
        """Before the first draw; `history` holds what an earlier run of the study finished."""

    def checked(self, counts: Counts, reject: Reject | None) -> None:
        """After every draw that is not trained; `reject` for the first 10,000 distinct ones over budget."""

    def training(self, candidate: Candidate) -> None:
        """Before a candidate is trained."""

    def epoch(self, candidate: Candidate, epoch: int, accuracy: float) -> None:
        """After every report of the training."""

    def measured(self, candidate: Candidate, record: Record, history: Sequence[Record]) -> None:
        """A candidate is finished but not yet in the study: the time to save what must be there with it."""

    def finished(self, record: Record, history: Sequence[Record], counts: Counts) -> None:
        """A candidate is in the study; `history` includes it."""

    def ended(self, history: Sequence[Record], counts: Counts) -> None:
        """After the last candidate, also when the search is interrupted."""


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


def search(
    space: SearchSpace,
    *,
    evaluate: Evaluate,
    input_shape: Shape,
    classes: int,
    budget: Budget | None = None,
    trials: int = 24,
    seed: int = 0,
    sampler: str = "pareto",
    rungs: Rungs | None = None,
    timeout: float | None = None,
    study: optuna.Study | None = None,
    counts: Counts | None = None,
    rejected: Iterable[str] = (),
    observers: Sequence[Observer] = (),
) -> Result:
    """Search a space for networks that are accurate for their size inside a budget.

    Args:
        evaluate: `fn(arch, report) -> accuracy` as a fraction; it calls `report(epoch, accuracy)` after every
            epoch, which may raise StopTraining. It raises TrainingFailed for a candidate that cannot be trained.
        input_shape: (channels, height, width) of the images.
        trials: how many candidates are to be trained in all, those of the study's history included.
        sampler: pareto, tpe, nsga2 or random.
        rungs: who goes on after which epoch; None: every training runs to its end.
        timeout: seconds after which no further candidate is started.
        study: an Optuna study with directions (maximize, minimize), its history included; None: in memory.
        counts: counts of the history, to go on from.
        rejected: ids of candidates that an earlier run rejected, so that they are counted once.

    Returns:
        All finished candidates, counts, and why the search ended: trials, timeout, exhausted or failures.

    Raises:
        NothingFeasible: no candidate of the space fits the budget.
        SpecError: no candidate of the space makes a network for `input_shape`.
    """
    study = study or _memory_study()
    run = _Search(space, tuple(input_shape), classes, budget or Budget(), seed, study, rungs, observers)
    run.start(sampler, counts, rejected)
    return run(evaluate, trials, timeout)


def measure(arch: Arch, evaluate: Evaluate, report: Report, budget: Budget, seed: int) -> Record:
    """Evaluate one architecture and put down what came of it; its trial number is still open.

    `report` is called with every (epoch, accuracy) and may raise StopTraining.
    """
    curve: list[list[float]] = []
    clock = time.monotonic()

    def note(epoch: int, accuracy: float) -> None:
        curve.append([epoch, accuracy])
        report(epoch, accuracy)

    accuracy: float | None
    try:
        accuracy, state, reason = evaluate(arch, note), "complete", ""
    except StopTraining as stop:
        accuracy, state, reason = (curve[-1][1] if curve else None), "stopped", str(stop)
    except TrainingFailed as failure:
        accuracy, state, reason = None, "failed", str(failure)
    return Record(
        arch=arch.id,
        val_accuracy=accuracy,
        params=arch.cost.params,
        size_bytes=arch.cost.size_bytes(budget.size_dtype),
        macs=arch.cost.macs,
        peak_activation_bytes=arch.cost.peak_activation_bytes(budget.size_dtype),
        epochs=int(curve[-1][0]) if curve else 0,
        train_seconds=round(time.monotonic() - clock, 3),
        trial=-1,
        seed=seed,
        summary=arch.summary,
        state=state,
        reason=reason,
        curve=curve,
    )


def train_references(
    references: Mapping[str, Arch],
    study: optuna.Study,
    evaluate: Evaluate,
    budget: Budget,
    seed: int,
    done: Callable[[Record], None],
) -> list[Record]:
    """Train named networks of the literature beside a search; kept with the study, never among its trials.

    What is over the budget is left out; what an earlier run has trained is not trained again.

    Returns:
        Every reference of the study, with state `reference` and its name as the reason.
    """
    for name, arch in references.items():
        known = {record.reason for record in stored_references(study)}
        if name not in known and budget.check(arch.cost).ok:
            record = measure(arch, evaluate, lambda epoch, accuracy: None, budget, seed)
            if record.state == "complete":
                record = replace(record, state="reference", reason=name)
                add_reference(study, record)
            done(record)
    return stored_references(study)


def check_feasible(space: SearchSpace, input_shape: Shape, classes: int, budget: Budget) -> None:
    """Refuse a budget that no candidate can meet, before anything is drawn.

    Raises:
        NothingFeasible: one of the limits is below the smallest candidate; the message names its size.
        SpecError: no candidate of the space makes a network for `input_shape`.
    """
    lowest = [(limit, limit.smallest(space, input_shape, classes)) for limit in _limits(budget)]
    for limit, value in lowest:
        if value >= limit.limit:
            raise NothingFeasible(_refusal(space, [(limit, value)]))
    if not lowest:
        space.smallest(lambda arch: arch.cost.params, input_shape, classes)


@dataclass(frozen=True)
class _Limit:
    """One limit of a budget: how to take its value of an architecture and how to say it."""

    limit: float
    value: Callable[[Arch], float]
    words: Callable[[float], str]

    def smallest(self, space: SearchSpace, shape: Shape, classes: int) -> float:
        return space.smallest(self.value, shape, classes)[1]


def _limits(budget: Budget) -> list[_Limit]:
    dtype = budget.size_dtype
    every = [
        (budget.max_params, lambda arch: arch.cost.params, lambda v: f"{format_count(v)} parameters"),
        (budget.max_size, lambda arch: arch.cost.size_bytes(dtype), format_bytes),
        (budget.max_macs, lambda arch: arch.cost.macs, lambda v: f"{format_count(v)} MACs"),
        (
            budget.max_activation,
            lambda arch: arch.cost.peak_activation_bytes(dtype),
            lambda v: f"{format_bytes(v)} of activations",
        ),
    ]
    return [_Limit(limit, value, words) for limit, value, words in every if limit is not None]


def _refusal(space: SearchSpace, lowest: Sequence[tuple[_Limit, float]]) -> str:
    """One line: nothing fits, and how small this space gets."""
    found = [
        f"its smallest candidate has {one.words(v)}, the limit is under {one.words(one.limit)}" for one, v in lowest
    ]
    joint = "not all limits at once: " if len(found) > 1 else ""
    return f"no candidate of space {space.name!r} fits the budget: {joint}{'; '.join(found)}"


@dataclass
class _Search:
    space: SearchSpace
    shape: Shape
    classes: int
    budget: Budget
    seed: int
    study: optuna.Study
    rungs: Rungs | None
    observers: Sequence[Observer]

    def start(self, sampler: str, counts: Counts | None, rejected: Iterable[str]) -> None:
        """Take the study's history in."""
        self.history = records(self.study)
        self.counts = _up_to_date(counts or Counts(), self.history)
        self.seen = {record.arch for record in self.history} | set(rejected)
        finished = [trial for trial in self.study.get_trials() if trial.state.is_finished()]
        self.draft = Draft(sampler, self.seed, finished, self.space, self.shape, self.classes, self._judge)

    def __call__(self, evaluate: Evaluate, trials: int, timeout: float | None) -> Result:
        check_feasible(self.space, self.shape, self.classes, self.budget)
        self._tell(lambda observer: observer.started(self.history, self.counts))
        try:
            reason = self._loop(evaluate, trials, timeout)
        finally:
            self._tell(lambda observer: observer.ended(self.history, self.counts))
        return Result(self.history, self.counts, reason)

    def _loop(self, evaluate: Evaluate, trials: int, timeout: float | None) -> str:
        deadline = time.monotonic() + timeout if timeout else float("inf")
        failures = 0
        while _trained(self.history) < trials:
            if time.monotonic() >= deadline:
                return "timeout"
            try:
                candidate = self._next(deadline)
            except SpaceExhausted:
                return "exhausted"
            if candidate is None:
                return "timeout"
            record = self._train(candidate, evaluate)
            failures = failures + 1 if record.state == "failed" else 0
            if failures == MAX_FAILURES:
                return "failures"
        return "trials"

    def _next(self, deadline: float) -> Candidate | None:
        """The next new candidate inside the budget; None when time is up first."""
        for i in range(_SAMPLER_DRAWS + _RANDOM_DRAWS):
            if time.monotonic() >= deadline:
                return None
            try:
                draw, ask = self.draft.ask() if i < _SAMPLER_DRAWS else self.draft.ask_random()
            except NothingFeasible:
                raise self._nothing() from None
            candidate = self._consider(self.space.draw(ask, self.shape, self.classes), draw)
            if candidate:
                return candidate
        if not self.counts.trained and not self.counts.failed:
            raise self._nothing()
        raise SpaceExhausted(f"no new candidate inside the budget in {_SAMPLER_DRAWS + _RANDOM_DRAWS:,} draws")

    def _consider(self, arch: Arch, draw: Draw) -> Candidate | None:
        """Exact cost, then the verdict: over budget, a duplicate, or a candidate."""
        new = self._identity(arch) not in self.seen
        verdict = self.budget.check(arch.cost) if self.draft.judges else self._judge(arch)
        if verdict is None or not verdict.ok:
            self.counts.duplicates += not new
            self._refuse(arch, draw, verdict)
            return None
        self.seen.add(arch.id)
        if not new:
            self.counts.duplicates += 1
            self.draft.drop(draw)
            self._tell(lambda observer: observer.checked(self.counts, None))
            return None
        return Candidate(arch, verdict, draw)

    def _judge(self, arch: Arch) -> Verdict | None:
        """Count a candidate as checked and, the first time it is over budget, as rejected."""
        self.counts.checked += 1
        try:
            verdict = self.budget.check(arch.cost)
        except SpecError as error:
            return self._reject(arch, None, f"no network: {error}")
        return verdict if verdict.ok else self._reject(arch, verdict, verdict.broke)

    def _reject(self, arch: Arch, verdict: Verdict | None, broke: str) -> Verdict | None:
        known = self._identity(arch)
        if known not in self.seen:
            self.seen.add(known)
            self.counts.over_budget += 1
            names = ["no network"] if verdict is None else [c.name for c in verdict.limits if not c.ok]
            for name in names:
                self.counts.broke[name] = self.counts.broke.get(name, 0) + 1
            keep = self.counts.over_budget <= _KEPT_REJECTS
            reject = self._row(arch, verdict, broke) if keep else None
            self._tell(lambda observer: observer.checked(self.counts, reject))
        return verdict

    def _identity(self, arch: Arch) -> str:
        try:
            return arch.id
        except SpecError:
            return repr(arch)

    def _refuse(self, arch: Arch, draw: Draw, verdict: Verdict | None) -> None:
        """Teach the sampler what is over budget; what makes no network teaches it nothing."""
        if verdict is None:
            self.draft.drop(draw)
        else:
            self.draft.reject(draw, arch.cost.params, verdict.excess)

    def _row(self, arch: Arch, verdict: Verdict | None, broke: str) -> Reject:
        if verdict is None:
            return Reject("", None, None, None, broke)
        return Reject(arch.id, arch.cost.params, arch.cost.size_bytes(self.budget.size_dtype), arch.cost.macs, broke)

    def _train(self, candidate: Candidate, evaluate: Evaluate) -> Record:
        self._tell(lambda observer: observer.training(candidate))
        started = datetime.now()

        def report(epoch: int, accuracy: float) -> None:
            self._tell(lambda observer: observer.epoch(candidate, epoch, accuracy))
            if self.rungs and not self._goes_on(self.rungs, epoch, accuracy, candidate.arch.cost.params):
                raise StopTraining(f"stopped after {epoch} epochs: others are better for their size")

        try:
            record = measure(candidate.arch, evaluate, report, self.budget, self.seed)
        except BaseException:
            self.counts.checked -= 1  # without an end it is no candidate: a resumed search may draw it again
            raise
        self._tell(lambda observer: observer.measured(candidate, record, [*self.history, record]))
        return self._commit(candidate, record, started)

    def _goes_on(self, rungs: Rungs, epoch: int, accuracy: float, size: int) -> bool:
        if epoch not in rungs.at:
            return True
        peers = [(value, record.params) for record in self.history for at, value in record.curve if at == epoch]
        return goes_on(accuracy, size, peers, rungs.reduction)

    def _commit(self, candidate: Candidate, record: Record, started: datetime) -> Record:
        draw = candidate.draw
        record = add_record(self.study, record, draw.params, draw.distributions, candidate.verdict, started)
        if record.state == "failed":
            self.draft.drop(draw)
        else:
            self.draft.finish(draw, record)
        self.history = [*self.history, record]
        self.counts.trained += record.state != "failed"
        self.counts.failed += record.state == "failed"
        self._tell(lambda observer: observer.finished(record, self.history, self.counts))
        return record

    def _nothing(self) -> NothingFeasible:
        lowest = [(one, one.smallest(self.space, self.shape, self.classes)) for one in _limits(self.budget)]
        return NothingFeasible(_refusal(self.space, lowest))

    def _tell(self, what: Callable[[Observer], None]) -> None:
        for observer in self.observers:
            what(observer)


def _trained(history: Sequence[Record]) -> int:
    return sum(record.state in ("complete", "stopped") for record in history)


def _up_to_date(counts: Counts, history: Sequence[Record]) -> Counts:
    """Counts of an earlier run that hold for its study, which a kill may have left one candidate ahead."""
    trained = _trained(history)
    late = len(history) - counts.trained - counts.failed
    return replace(counts, checked=counts.checked + late, trained=trained, failed=len(history) - trained)


def _memory_study() -> optuna.Study:
    study = optuna.create_study(directions=["maximize", "minimize"])
    name_metrics(study)
    return study
