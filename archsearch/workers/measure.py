"""One candidate measured: what an evaluation says, as a record."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import optuna

from archsearch.errors import StopTraining, TrainingFailed
from archsearch.evaluation import Evaluation, Report
from archsearch.network.arch import Arch
from archsearch.network.budget import Budget
from archsearch.network.limits import measures
from archsearch.study.records import BASE_MEASURES, Record
from archsearch.study.storage import add_reference, stored_references

Curve = list[list[float]]
Evaluate = Callable[[Arch, Report], float | Evaluation]
Follow = Callable[[Curve, Mapping[str, float]], None]


def measure(arch: Arch, evaluate: Evaluate, follow: Follow, budget: Budget, seed: int) -> Record:
    """Evaluate one architecture and put down what came of it; its trial number is still open.

    Args:
        follow: gets the [epoch, accuracy] pairs so far and the last epoch's metrics; may raise StopTraining.
    """
    curve: Curve = []
    clock = time.monotonic()

    def report(epoch: int, accuracy: float, metrics: Mapping[str, float] | None = None, /) -> None:
        curve.append([epoch, accuracy])
        follow(curve, dict(metrics or {}))

    accuracy: float | None
    try:
        found = evaluate(arch, report)
        evaluation = found if isinstance(found, Evaluation) else Evaluation(found)
        accuracy, state, reason = evaluation.score, "complete", ""
    except StopTraining as stop:
        accuracy, state, reason = (curve[-1][1] if curve else None), "stopped", str(stop)
        evaluation = stop.evaluation
    except TrainingFailed as failure:
        accuracy, state, reason = None, "failed", str(failure)
        evaluation = failure.evaluation
    return replace(
        proposal(arch, budget, seed),
        val_accuracy=accuracy,
        epochs=int(curve[-1][0]) if curve else 0,
        train_seconds=round(time.monotonic() - clock + evaluation.before, 3),
        state=state,
        reason=reason,
        curve=curve,
        usage=dict(evaluation.usage),
    )


def proposal(arch: Arch, budget: Budget, seed: int) -> Record:
    """What is known of an architecture before its training."""
    cost, dtype = arch.cost, budget.size_dtype
    every, limited = measures(cost, dtype), {limit.measure for limit, _ in budget}
    return Record(
        arch=arch.id,
        val_accuracy=None,
        params=cost.params,
        size_bytes=cost.size_bytes(dtype),
        macs=cost.macs,
        peak_activation_bytes=cost.peak_activation_bytes(dtype),
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
) -> list[Record]:
    """Train named networks of the literature beside a search; kept with the study, never among its trials.

    What is over the budget is left out; what an earlier run has trained is not trained again.

    Returns:
        Every reference of the study, with state `reference` and its name as the reason.
    """
    for name, arch in references.items():
        known = {record.reason for record in stored_references(study)}
        if name not in known and budget.check(arch.cost).ok:
            record = measure(arch, evaluate, lambda curve, metrics: None, budget, seed)
            if record.state == "complete":
                record = replace(record, state="reference", reason=name)
                add_reference(study, record)
            done(record)
    return stored_references(study)
