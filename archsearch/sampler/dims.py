"""One searched dimension: how to draw it, move it a little, list it and show it to the surrogate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
FEW_LEVELS = 8
DOUBT = 0.5


class Dim(Protocol):
    """What the search needs of a dimension. Values are those that Optuna hands to the user."""

    @property
    def size(self) -> float:
        """Number of values; infinite for a continuous one."""
        ...

    @property
    def width(self) -> int:
        """Number of columns that `encode` gives."""
        ...

    @property
    def kind(self) -> object:
        """Equal for dims over the same values: such dims share columns in the surrogate."""
        ...

    def draw(self, rng: np.random.Generator) -> Any: ...

    def move(self, value: Any, rng: np.random.Generator) -> Any:
        """A nearby value, not `value` itself unless it is the only one."""
        ...

    def values(self) -> list[Any]:
        """All values; only for a finite dim."""
        ...

    def encode(self, value: Any) -> list[float]:
        """`width` numbers; distinct values lie at most about 1 apart."""
        ...


@dataclass(frozen=True)
class Categorical:
    """Values without an order: one-hot, any two at distance 1."""

    choices: tuple[Any, ...]
    kind: object = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", ("choice", tuple(map(repr, self.choices))))

    @property
    def size(self) -> float:
        return len(self.choices)

    @property
    def width(self) -> int:
        return len(self.choices)

    def draw(self, rng: np.random.Generator) -> Any:
        return self.choices[int(rng.integers(len(self.choices)))]

    def move(self, value: Any, rng: np.random.Generator) -> Any:
        others = [choice for choice in self.choices if choice != value]
        return others[int(rng.integers(len(others)))] if others else value

    def values(self) -> list[Any]:
        return list(self.choices)

    def encode(self, value: Any) -> list[float]:
        return [math.sqrt(0.5) * (choice == value) for choice in self.choices]


@dataclass(frozen=True)
class Ordered:
    """A short list of numbers: its scaled value, and a one-hot part that lets the order be wrong."""

    levels: tuple[Any, ...]
    kind: object = field(init=False)
    _codes: dict[Any, list[float]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", ("ordered", self.levels))
        log = min(self.levels) > 0
        scale = [math.log(level) if log else float(level) for level in self.levels]
        span = scale[-1] - scale[0] or 1.0
        codes = {}
        for i, level in enumerate(self.levels):
            doubt = [DOUBT * math.sqrt(0.5) * (i == j) for j in range(self.width - 1)]
            codes[level] = [(scale[i] - scale[0]) / span, *doubt]
        object.__setattr__(self, "_codes", codes)

    @property
    def size(self) -> float:
        return len(self.levels)

    @property
    def width(self) -> int:
        return 1 + (len(self.levels) if len(self.levels) <= FEW_LEVELS else 0)

    def draw(self, rng: np.random.Generator) -> Any:
        return self.levels[int(rng.integers(len(self.levels)))]

    def move(self, value: Any, rng: np.random.Generator) -> Any:
        if len(self.levels) == 1:
            return self.levels[0]
        if value not in self._codes:
            return self.draw(rng)
        at = self.levels.index(value)
        near = [self.levels[i] for i in (at - 1, at + 1) if 0 <= i < len(self.levels)]
        return near[int(rng.integers(len(near)))]

    def values(self) -> list[Any]:
        return list(self.levels)

    def encode(self, value: Any) -> list[float]:
        if value in self._codes:
            return self._codes[value]
        nearest = min(self.levels, key=lambda level: abs(level - value))
        return self._codes[nearest]


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, continuous (`step` 0) or on a grid."""

    low: float
    high: float
    step: float
    log: bool
    integer: bool

    width = 1

    @property
    def kind(self) -> object:
        return ("range", self.low, self.high, self.step, self.log)

    @property
    def size(self) -> float:
        return round((self.high - self.low) / self.step) + 1 if self.step else math.inf

    def draw(self, rng: np.random.Generator) -> Any:
        if self.log:
            return self._snap(self._from_unit(rng.random()))
        if self.step:
            return self._level(int(rng.integers(int(self.size))))
        return self._snap(rng.uniform(self.low, self.high))

    def move(self, value: Any, rng: np.random.Generator) -> Any:
        there = self._to_unit(value) + 0.1 * rng.standard_normal()
        moved = self._snap(self._from_unit(1 - abs(1 - abs(there))))
        if moved != value or not self.step:
            return moved
        sign = 1 if rng.random() < 0.5 else -1
        for shift in (sign * self.step, -sign * self.step):
            if self.low <= value + shift <= self.high:
                return self._snap(value + shift)
        return value

    def values(self) -> list[Any]:
        return [self._level(i) for i in range(int(self.size))]

    def encode(self, value: Any) -> list[float]:
        return [self._to_unit(value)]

    def _to_unit(self, value: float) -> float:
        low, high, at = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        return (at - low) / (high - low) if high > low else 0.0

    def _from_unit(self, unit: float) -> float:
        if self.log:
            return math.exp(math.log(self.low) + unit * (math.log(self.high) - math.log(self.low)))
        return self.low + unit * (self.high - self.low)

    def _snap(self, value: float) -> Any:
        value = min(max(value, self.low), self.high)
        return self._level(round((value - self.low) / self.step)) if self.step else value

    def _level(self, index: int) -> Any:
        value = self.low + index * self.step
        return round(value) if self.integer else float(min(value, self.high))


def dim_of(distribution: BaseDistribution) -> Dim:
    """The dimension that an Optuna distribution describes.

    Numbers in a categorical are taken as ordered, on a log scale where all are positive; so are the values
    of a range with at most `FEW_LEVELS` of them.

    Raises:
        ValueError: a distribution of an unknown class.
    """
    if isinstance(distribution, CategoricalDistribution):
        return _of_choices(distribution.choices)
    if isinstance(distribution, IntDistribution | FloatDistribution):
        integer = isinstance(distribution, IntDistribution)
        step = float(distribution.step or 0)
        reach = Range(float(distribution.low), float(distribution.high), step, distribution.log, integer)
        return Ordered(tuple(reach.values())) if reach.size <= FEW_LEVELS else reach
    raise ValueError(f"cannot search over {distribution!r}: use a categorical, int or float distribution")


def _of_choices(choices: Sequence[Any]) -> Dim:
    numbers = all(isinstance(c, int | float) and not isinstance(c, bool) for c in choices)
    if numbers and all(map(math.isfinite, choices)):
        return Ordered(tuple(sorted(set(choices))))
    return Categorical(tuple(choices))
