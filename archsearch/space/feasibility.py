"""Whether anything in a space fits a budget: refused before anything is drawn."""

from __future__ import annotations

from archsearch.errors import NothingFeasible
from archsearch.network.budget import Budget
from archsearch.network.file_size import Written
from archsearch.network.limits import Limit
from archsearch.space.domain import Domain
from archsearch.space.space import SearchSpace


def check_feasible(domain: Domain, budget: Budget) -> None:
    """Refuse a budget that no candidate can meet, before anything is drawn; what is measured is not looked at.

    Raises:
        NothingFeasible: no candidate is on the right side of one of the limits; the message names the nearest.
        SpecError: no candidate of the space makes a network for these images.
    """
    nearest = _nearest(domain, budget)
    for limit, bound, value in nearest:
        if not (value > bound if limit.lower else value < bound):
            raise NothingFeasible(_refusal(domain.space, [(limit, bound, value)]))
    if not nearest:
        domain.space.smallest(lambda arch: arch.cost.params, domain.input_shape, domain.classes)


def nothing_at_once(domain: Domain, budget: Budget) -> NothingFeasible:
    """What to raise where every limit can be met, but not all at once."""
    return NothingFeasible(_refusal(domain.space, _nearest(domain, budget)))


def _nearest(domain: Domain, budget: Budget) -> list[tuple[Limit, float, float]]:
    """Every limit, its bound, and the smallest value of the space, the largest for a lower limit."""
    found = []
    for limit, bound in budget.exact:
        found.append((limit, bound, _extreme(limit, domain, budget.written)))
    return found


def _extreme(limit: Limit, domain: Domain, written: Written) -> float:
    sign = -1 if limit.lower else 1
    shape, classes = domain.input_shape, domain.classes
    return sign * domain.space.smallest(lambda arch: sign * limit.of(arch.cost, written), shape, classes)[1]


def _refusal(space: SearchSpace, nearest: list[tuple[Limit, float, float]]) -> str:
    """One line: nothing fits, and how small, or large, this space gets."""
    if not nearest:
        return f"no candidate of space {space.name!r} fits the budget"
    found = [_words(*one) for one in nearest]
    joint = "not all limits at once: " if len(found) > 1 else ""
    return f"no candidate of space {space.name!r} fits the budget: {joint}{'; '.join(found)}"


def _words(limit: Limit, bound: float, value: float) -> str:
    which, side = ("largest", "above") if limit.lower else ("smallest", "under")
    return f"its {which} candidate has {limit.words(value)}, the limit is {side} {limit.words(bound)}"
