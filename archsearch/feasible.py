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
        NothingFeasible: one of the limits is below the smallest candidate; the message names its size.
        SpecError: no candidate of the space makes a network for `input_shape`.
    """
    lowest = [(limit, limit.smallest(space, input_shape, classes)) for limit in _limits(budget)]
    for limit, value in lowest:
        if value >= limit.limit:
            raise NothingFeasible(_refusal(space, [(limit, value)]))
    if not lowest:
        space.smallest(lambda arch: arch.cost.params, input_shape, classes)


def nothing_at_once(space: SearchSpace, shape: Shape, classes: int, budget: Budget) -> NothingFeasible:
    """What to raise where every limit can be met, but not all at once."""
    return NothingFeasible(_refusal(space, [(one, one.smallest(space, shape, classes)) for one in _limits(budget)]))


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
