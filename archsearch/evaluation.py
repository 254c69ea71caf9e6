"""What an evaluation of a network says: every epoch, and at its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class Evaluation:
    """How good a network is, and what it took to find out.

    Args:
        score: the accuracy as a fraction; nan where the evaluation was stopped or has failed.
        usage: seconds, bytes and rates by name, for the table of all trials.
        metrics: of the last epoch beside the accuracy, such as losses.
        before: seconds of it that an earlier process has spent.
    """

    score: float
    usage: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    before: float = 0.0


class Report(Protocol):
    """Is called after every epoch, counted from 1; what it raises ends the evaluation."""

    def __call__(self, epoch: int, accuracy: float, metrics: Mapping[str, float] | None = None, /) -> None: ...
