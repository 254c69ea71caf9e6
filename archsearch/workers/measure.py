"""One candidate measured: what an evaluation says, as a record."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import optuna

from archsearch.errors import ExportFailed, InputError, NotMeasurable, StopTraining, TrainingFailed
from archsearch.evaluation import Evaluation, Report, as_number, finite, finite_ones
from archsearch.network.arch import Arch
from archsearch.network.budget import Budget
from archsearch.network.limits import LATENCY, measures
from archsearch.study.records import BASE_MEASURES, Record
from archsearch.study.storage import add_reference, stored_references
from archsearch.workers.latencies import Stopwatch

Curve = list[list[float]]
Evaluate = Callable[[Arch, Report], float | Evaluation]
Follow = Callable[[Curve, Mapping[str, float]], None]
_SHOWN = 60


def measure(arch: Arch, evaluate: Evaluate, follow: Follow, budget: Budget, seed: int) -> Record:
    """Evaluate one architecture and put down what came of it; its trial number is still open.

    Where its metrics name a `val_accuracy`, that is the accuracy, and the score is another one, `val_score`.

    Args:
        follow: gets the [epoch, score] pairs so far and the last epoch's metrics; may raise StopTraining.

    Raises:
        InputError: an epoch was reported that is no whole number from 1, or none above the one before.
    """
    curve: Curve = []
    last: dict[str, float] = {}
    clock = time.monotonic()

    def report(epoch: int, accuracy: float, metrics: Mapping[str, float] | None = None, /) -> None:
        nonlocal last
        curve.append([_epoch(epoch, curve), _score(accuracy, f"accuracy of epoch {epoch}")])
        numbers = {str(name): as_number(value) for name, value in (metrics or {}).items()}
        last = {name: number for name, number in numbers.items() if number is not None}
        follow(curve, last)

    score: float | None
    evaluation = Evaluation(math.nan)
    try:
        found = evaluate(arch, report)
        evaluation = found if isinstance(found, Evaluation) else Evaluation(found)
        score, state, reason = _score(evaluation.score, "score"), "complete", ""
    except StopTraining as stop:
        score, state, reason = (curve[-1][1] if curve else None), "stopped", str(stop)
        evaluation = stop.evaluation
    except TrainingFailed as failure:
        score, state, reason = None, "failed", str(failure)
        evaluation = vars(failure).get("evaluation", evaluation)
    accuracy = finite({**last, **evaluation.metrics}.get("val_accuracy"))
    apart = accuracy is not None and score is not None
    return replace(
        proposal(arch, budget, seed),
        val_accuracy=accuracy if apart else score,
        val_score=score if apart else None,
        epochs=int(curve[-1][0]) if curve else 0,
        train_seconds=round(time.monotonic() - clock + (finite(evaluation.before) or 0.0), 3),
        state=state,
        reason=reason,
        curve=curve,
        usage=finite_ones(evaluation.usage),
    )


def _score(value: Any, what: str) -> float:
    """A score as a float. Raises TrainingFailed for what no study can hold."""
    number = finite(value)
    if number is None:
        shown = " ".join(repr(value).split())[:_SHOWN]
        raise TrainingFailed(f"{what} is {shown}: give a finite number, the higher the better")
    return number


def _epoch(value: Any, curve: Curve) -> int:
    """An epoch as a whole number that has not been reported yet. Raises InputError."""
    number, last = finite(value), curve[-1][0] if curve else 0
    if number is None or number != int(number) or number < 1:
        way_out = "call report(epoch + 1, ...)" if number == 0 else "the first is 1"
        raise InputError(f"report({value!r}, ...): epochs are whole numbers, counted from 1: {way_out}")
    if number <= last:
        raise InputError(f"report({value!r}, ...) after epoch {last:g}: report every epoch once, in order")
    return int(number)


def proposal(arch: Arch, budget: Budget, seed: int) -> Record:
    """What is known of an architecture before its training."""
    cost = arch.cost
    every = {name: value for name, value in measures(cost, budget.written).items() if value is not None}
    limited = {limit.measure for limit, _ in budget}
    return Record(
        arch=arch.id,
        val_accuracy=None,
        params=cost.params,
        size_bytes=every["size_bytes"],
        macs=cost.macs,
        peak_activation_bytes=every["peak_activation_bytes"],
        epochs=0,
        train_seconds=0.0,
        trial=-1,
        seed=seed,
        summary=arch.summary,
        more={name: value for name, value in every.items() if name in limited and name not in BASE_MEASURES},
    )


def train_references(
    references: Mapping[str, Arch],
    study: optuna.Study,
    evaluate: Evaluate,
    budget: Budget,
    seed: int,
    done: Callable[[Record], None],
    stopwatch: Stopwatch | None = None,
) -> list[Record]:
    """Train named networks of the literature beside a search; kept with the study, never among its trials.

    What is over the budget, or cannot be measured, is left out; what an earlier run has trained is not trained again.

    Returns:
        Every reference of the study, with state `reference` and its name as the reason.
    """
    for name, arch in references.items():
        known = {record.reason for record in stored_references(study)}
        if name in known or not budget.check(arch.cost).ok:
            continue
        timed = _timed(arch, stopwatch)
        if timed is not None and budget.check(arch.cost, timed).ok:
            record = measure(arch, evaluate, lambda curve, metrics: None, budget, seed)
            record = replace(record, more={**record.more, **timed})
            if record.state == "complete":
                record = replace(record, state="reference", reason=name)
                add_reference(study, record)
            done(record)
    return stored_references(study)


def _timed(arch: Arch, stopwatch: Stopwatch | None) -> dict[str, float] | None:
    """Milliseconds by their measure's name, nothing where they are not limited; None where they cannot be measured."""
    try:
        return {LATENCY: stopwatch(arch, lambda error: False)} if stopwatch else {}
    except (ExportFailed, InputError, NotMeasurable):
        return None
