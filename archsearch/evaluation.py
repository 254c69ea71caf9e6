"""What an evaluation of a network says: every epoch, and at its end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Evaluation:
    """How good a network is, and what it took to find out.

    Args:
        score: the accuracy as a fraction, or another number, the higher the better; nan where the evaluation was
            stopped or has failed.
        usage: seconds, bytes and rates by name, for the table of all trials; what is no finite number is left out.
        metrics: of the last epoch beside the score, such as losses. `val_accuracy` among them is the accuracy where
            the score is another.
        before: seconds of it that an earlier process has spent.
    """

    score: float
    usage: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    before: float = 0.0


class Report(Protocol):
    """Is called after every epoch, counted from 1; what it raises ends the evaluation."""

    def __call__(self, epoch: int, accuracy: float, metrics: Mapping[str, float] | None = None, /) -> None: ...


class Relay:
    """Hands reports on and keeps the error that one of them raised, which is none of the evaluation's."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.error: BaseException | None = None

    def __call__(self, epoch: int, accuracy: float, metrics: Mapping[str, float] | None = None, /) -> None:
        try:
            self.report(epoch, accuracy, metrics)
        except BaseException as error:
            self.error = error
            raise


def as_number(value: Any) -> float | None:
    """A single number of any library, such as a torch or NumPy scalar, as a float; None for what is none.

    Not a number (nan) and the infinite ones are floats; text is no number.
    """
    try:
        one = value.item() if callable(getattr(value, "item", None)) else value
        return None if isinstance(one, str | bytes | bytearray) else float(one)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # torch says RuntimeError of several numbers
        return None


def finite(value: Any) -> float | None:
    """A finite number as a float; None for anything else."""
    number = as_number(value)
    return number if number is not None and math.isfinite(number) else None


def finite_ones(values: Mapping[str, Any]) -> dict[str, float]:
    """What is a finite number, by name; plain ones as they are."""
    numbers = {str(name): value if type(value) is int else finite(value) for name, value in values.items()}
    return {name: number for name, number in numbers.items() if number is not None}
