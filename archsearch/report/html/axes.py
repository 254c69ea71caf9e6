"""Axes of the page's charts: values to percent of a side, and where the ticks are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from archsearch._utils.scores import Score
from archsearch._utils.units import format_short

_STEPS = (1, 2, 5)
_MOST = 7


@dataclass(frozen=True)
class Tick:
    """A labelled place, in percent from the axis's beginning. `minor`: left out where there is little room."""

    at: float
    label: str
    minor: bool = False


@dataclass(frozen=True)
class Axis:
    """An axis from `low` to `high`."""

    low: float
    high: float
    ticks: tuple[Tick, ...]
    log: bool = False

    def place(self, value: float) -> float:
        """Percent from the beginning, two digits; what lies outside is put on the edge."""
        low, high, at = (math.log(x) if self.log else x for x in (self.low, self.high, max(value, self.low)))
        return round(100 * min(1.0, max(0.0, (at - low) / (high - low))), 2)


def log_axis(values: Sequence[float]) -> Axis:
    """An axis over positive values with a margin on both sides, ticks at 1, 2, 5 times powers of ten."""
    low, high = (min(values), max(values)) if values else (1e3, 1e6)
    margin = max(1.15, (high / low) ** 0.03)
    low, high = low / margin, high * margin
    marks = [k * 10.0**n for n in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1) for k in _STEPS]
    inside = [mark for mark in marks if low <= mark <= high]
    tens = [mark for mark in inside if _is_ten(mark)]
    chosen = inside if len(inside) <= _MOST or len(tens) < 2 else tens
    bare = Axis(low, high, (), log=True)
    thin = len(tens) >= 2
    ticks = tuple(Tick(bare.place(mark), format_short(mark), minor=thin and not _is_ten(mark)) for mark in chosen)
    return Axis(low, high, ticks, log=True)


def _is_ten(mark: float) -> bool:
    return math.log10(mark) == round(math.log10(mark))


def percent_axis(values: Sequence[float]) -> Axis:
    """An axis over percentages, a little wider than the values, within 0 to 100 where they are."""
    low, high = (min(values), max(values)) if values else (0.0, 100.0)
    room = max(0.5, 0.06 * (high - low))
    low, high = max(0.0, low - room), min(100.0 + room / 2, high + room)
    return _linear(low, high, "%")


def score_axis(values: Sequence[float], score: Score) -> Axis:
    """An axis over a score's values as `Score.drawn` gives them, in percent or from -1 to 1."""
    if score.unit:
        return percent_axis(values)
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = max(0.005, 0.06 * (high - low))
    low, high = max(0.0 if low >= 0 else -1.0, low - room), min(1.0 + room / 2, high + room)
    step = _step((high - low) / 5, whole=False)
    bare, first = Axis(low, high, ()), math.ceil(low / step)
    marks = [step * i for i in range(first, math.floor(high / step + 1e-9) + 1) if step * i <= 1 + 1e-9]
    return Axis(low, high, tuple(Tick(bare.place(mark), f"{mark:.4g}") for mark in marks))


def epoch_axis(epochs: int) -> Axis:
    """An axis from epoch 0 to the last one."""
    return _linear(0.0, max(1.0, float(epochs)), "")


def _linear(low: float, high: float, unit: str) -> Axis:
    step = _step((high - low) / 5, whole=not unit)
    bare, first = Axis(low, high, ()), math.ceil(low / step)
    marks = [step * i for i in range(first, math.floor(high / step + 1e-9) + 1) if not unit or step * i <= 100]
    return Axis(low, high, tuple(Tick(bare.place(mark), f"{mark:.4g}{unit}") for mark in marks))


def _step(rough: float, whole: bool) -> float:
    """The round number nearest above a rough step: 1, 2 or 5 times a power of ten."""
    ten = 10.0 ** math.floor(math.log10(rough))
    step = next(k * ten for k in (*_STEPS, 10) if k * ten >= rough * 0.999)
    return max(1.0, step) if whole else step
