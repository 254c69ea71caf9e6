"""What a study records, as plain values: candidates, rejects, draws, full trainings, the terms of its workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from archsearch import pareto
from archsearch.evaluation import finite, finite_ones
from archsearch.network.blocks import Value
from archsearch.sampler.asha import CURVE, Rungs
from archsearch.space.dims import Choice, Dim, Int

BASE_MEASURES = ("params", "size_bytes", "macs", "peak_activation_bytes")
"""What every record says of its network's cost."""
_RESULT_FIELDS = ("val_accuracy", "epochs", "train_seconds", "state", "reason", "usage", "val_score")
_WHERE_KNOWN = ("val_score", "test_score")
"""Is stored only where there is one: a study by accuracy looks as it did before there were other scores."""


@dataclass(frozen=True)
class Record:
    """One finished candidate, as it stands in the tables.

    `val_accuracy` is a fraction, None for a failed one; `val_score` is what the study maximises, None where that is
    the accuracy; sizes in bytes; `curve` is [[epoch, score], ...];
    `usage` is what the training measured of itself (`report.tables.USAGE_COLUMNS`), as far as it is known; `more` holds
    other measures that the budget limits, by name.
    """

    arch: str
    val_accuracy: float | None
    params: int
    size_bytes: int
    macs: int
    peak_activation_bytes: int
    epochs: int
    train_seconds: float
    trial: int
    seed: int
    summary: str
    state: str = "complete"
    reason: str = ""
    curve: list[list[float]] = field(default_factory=list)
    usage: dict[str, float] = field(default_factory=dict)
    more: dict[str, float] = field(default_factory=dict)
    val_score: float | None = None

    @property
    def score(self) -> float | None:
        """What the study maximises; None for a failed one."""
        return self.val_accuracy if self.val_score is None else self.val_score

    @property
    def values(self) -> list[float] | None:
        """The study's objectives (score, params); None unless it was trained to the end."""
        if self.state != "complete" or self.score is None:
            return None
        return [self.score, float(self.params)]

    @property
    def proposal(self) -> dict[str, Any]:
        """The fields that are known before the training."""
        later = (*_RESULT_FIELDS, CURVE, "trial")
        return {name: value for name, value in asdict(self).items() if name not in later and value != {}}

    @property
    def result(self) -> dict[str, Any]:
        """The fields that the training made, but for the curve."""
        return stored({name: getattr(self, name) for name in _RESULT_FIELDS})


@dataclass(frozen=True)
class Reject:
    """A distinct candidate over budget; without a network its sizes are None and `broke` says why.

    `latency_ms`: what was measured, where milliseconds are limited; infinite where it cannot be shipped.
    """

    arch: str
    params: int | None
    size_bytes: int | None
    macs: int | None
    broke: str
    latency_ms: float | None = None


@dataclass(frozen=True)
class Retrained:
    """One full training of a chosen network, and its accuracy on the test split, which was read once for it.

    `mirrored`: the accuracy where logits of an image and of its mirror image are added, None if it was not asked for;
    accuracies are fractions. `start`: where the weights of the encoder came from and who taught, "" for neither.
    `test_score`: another metric on the test split, None where there is none or it is not defined there.
    """

    arch: str
    seed: int
    test_accuracy: float
    mirrored: float | None
    epochs: int
    train_seconds: float
    params: int
    device: str
    start: str
    recipe: dict[str, Any]
    test_score: float | None = None


@dataclass(frozen=True)
class Terms:
    """What all workers of a study go by and a resumed run may change.

    `trials`: the total; `sampler`: who proposes; `rungs`: who goes on, None: everybody; `dataset`: as `run` was told.
    """

    trials: int
    sampler: str
    rungs: Rungs | None
    dataset: str


def sound(record: Record) -> Record:
    """The record as any storage keeps it: of finite numbers alone, and failed if it is complete without a score."""
    accuracy, score = finite(record.val_accuracy), finite(record.val_score)
    own: dict[str, Any] = {
        "val_accuracy": accuracy,
        "val_score": score,
        "curve": [pair for pair in record.curve if all(finite(value) is not None for value in pair)],
        "usage": finite_ones(record.usage),
    }
    if record.state == "complete" and (accuracy if record.val_score is None else score) is None:
        what = "accuracy" if record.val_score is None else "score"
        own |= {"state": "failed", "reason": f"{what} is {record.score!r}, which is no finite number"}
    return replace(record, **own)


def stored(values: dict[str, Any]) -> dict[str, Any]:
    """Fields as a study keeps them: without scores that there are not."""
    return {name: value for name, value in values.items() if name not in _WHERE_KNOWN or value is not None}


def front(records: Sequence[Record]) -> list[Record]:
    """The complete candidates that no other one beats in (score up, params down), smallest first."""
    complete = [record for record in records if record.state == "complete" and record.score is not None]
    if not complete:
        return []
    keep = pareto.front([(record.params, -(record.score or 0.0)) for record in complete])
    return sorted((r for r, kept in zip(complete, keep, strict=True) if kept), key=lambda r: r.params)


def distribution(dim: Dim) -> BaseDistribution:
    """A dim as Optuna's distribution."""
    if isinstance(dim, Choice):
        return CategoricalDistribution(dim.options)
    if isinstance(dim, Int):
        return IntDistribution(dim.low, dim.high, log=dim.log, step=dim.step)
    return FloatDistribution(dim.low, dim.high, log=dim.log)


@dataclass
class Draw:
    """One draw: what was answered, for which dims, and its trial in the draft (None for a random one)."""

    params: dict[str, Value]
    distributions: dict[str, BaseDistribution]
    trial: optuna.Trial | None = None

    def answer(self, name: str, dim: Dim, value: Value) -> Value:
        """Note an answer and return it."""
        self.params[name] = value
        self.distributions[name] = distribution(dim)
        return value
