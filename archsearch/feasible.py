"""Whether anything in a space fits a budget: refused before anything is drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from archsearch.arch import Arch
from archsearch.budget import Budget
from archsearch.errors import NothingFeasible
from archsearch.layers import Shape
from archsearch.space import SearchSpace
from archsearch.units import format_bytes, format_count


def check_feasible(space: SearchSpace, input_shape: Shape, classes: int, budget: Budget) -> None:
    """Refuse a budget that no candidate can meet, before anything is drawn.

    Raises:
        NothingFeasible: no candidate is on the right side of one of the limits; the message names the nearest.
        SpecError: no candidate of the space makes a network for `input_shape`.
    """
    nearest = [(limit, limit.nearest(space, input_shape, classes)) for limit in _limits(budget)]
    for limit, value in nearest:
        if not limit.holds(value):
            raise NothingFeasible(_refusal(space, [(limit, value)]))
    if not nearest:
        space.smallest(lambda arch: arch.cost.params, input_shape, classes)


def nothing_at_once(space: SearchSpace, shape: Shape, classes: int, budget: Budget) -> NothingFeasible:
    """What to raise where every limit can be met, but not all at once."""
    return NothingFeasible(_refusal(space, [(one, one.nearest(space, shape, classes)) for one in _limits(budget)]))


@dataclass(frozen=True)
class _Limit:
    """One limit of a budget: how to take its value of an architecture and how to say it."""

    limit: float
    value: Callable[[Arch], float]
    words: Callable[[float], str]
    lower: bool = False

    def nearest(self, space: SearchSpace, shape: Shape, classes: int) -> float:
        """The smallest value of the space, the largest for a lower limit."""
        sign = -1 if self.lower else 1
        return sign * space.smallest(lambda arch: sign * self.value(arch), shape, classes)[1]

    def holds(self, value: float) -> bool:
        return value > self.limit if self.lower else value < self.limit

    def refusal(self, value: float) -> str:
        which, side = ("largest", "above") if self.lower else ("smallest", "under")
        return f"its {which} candidate has {self.words(value)}, the limit is {side} {self.words(self.limit)}"


def _limits(budget: Budget) -> list[_Limit]:
    dtype = budget.size_dtype

    def params(arch: Arch) -> float:
        return arch.cost.params

    every = [
        (budget.max_params, params, _parameters, False),
        (budget.max_size, lambda arch: arch.cost.size_bytes(dtype), format_bytes, False),
        (budget.max_macs, lambda arch: arch.cost.macs, lambda v: f"{format_count(v)} MACs", False),
        (
            budget.max_activation,
            lambda arch: arch.cost.peak_activation_bytes(dtype),
            lambda v: f"{format_bytes(v)} of activations",
            False,
        ),
        (budget.min_params, params, _parameters, True),
    ]
    return [_Limit(limit, value, words, lower) for limit, value, words, lower in every if limit is not None]


def _parameters(value: float) -> str:
    return f"{format_count(value)} parameters"


def _refusal(space: SearchSpace, nearest: Sequence[tuple[_Limit, float]]) -> str:
    """One line: nothing fits, and how small, or large, this space gets."""
    found = [limit.refusal(value) for limit, value in nearest]
    joint = "not all limits at once: " if len(found) > 1 else ""
    return f"no candidate of space {space.name!r} fits the budget: {joint}{'; '.join(found)}"
