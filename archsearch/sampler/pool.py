"""Candidates that fit: drawn, mutated, repaired, remembered."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from archsearch.errors import Infeasible, NothingFeasible
from archsearch.sampler.space import Params, Space

Cost = Callable[[Params], float]

LIST_UP_TO = 2_000
LIST_AT_LAST_UP_TO = 100_000
DRAWS = 200
ENOUGH = 32
REPAIR_STEPS = 4_000
LAST_STEPS = 40_000
BINS = 16
KEEP = 4_000


@dataclass(frozen=True, eq=False)
class Feasible:
    """A network inside the budget."""

    params: Params
    log_size: float


@dataclass
class FeasiblePool:
    """All candidates met so far that fit the budget.

    Args:
        space: what may be varied.
        cost: exact size of settled parameters; may raise `Infeasible`. Called once for each assignment.
        max_cost: sizes must lie strictly below.
        only: settled parameters; nothing else is a candidate. None: the whole space.
    """

    space: Space
    cost: Cost
    max_cost: float
    only: Sequence[Params] | None = None
    members: list[Feasible] = field(default_factory=list)
    smallest: tuple[float, Params | None] = (math.inf, None)
    listed: bool = False
    _met: dict[tuple[Any, ...], tuple[float, Feasible | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._allowed = None if self.only is None else {tuple(params.values()) for params in self.only}

    def meet(self, params: Params) -> tuple[float, Feasible | None]:
        """By how much settled parameters are over the budget (0: they fit), and the candidate if they fit."""
        identity = tuple(params.values())
        if identity not in self._met:
            self._met[identity] = self._measure(params)
            candidate = self._met[identity][1]
            if candidate is not None:
                self.members.append(candidate)
        return self._met[identity]

    def _measure(self, params: Params) -> tuple[float, Feasible | None]:
        if self._allowed is not None and tuple(params.values()) not in self._allowed:
            return 1.0, None
        try:
            size = float(self.cost(dict(params)))
        except Infeasible as no:
            return max(no.excess, 1e-12), None
        if size < self.smallest[0]:
            self.smallest = (size, params)
        if size < self.max_cost:
            return 0.0, Feasible(params, log_size(size))
        return size / self.max_cost - 1 + 1e-12 if self.max_cost > 0 else math.inf, None

    def prepare(self, rng: np.random.Generator) -> None:
        """Make sure that something is there to choose from.

        Raises:
            NothingFeasible: no assignment fits, as far as a long search can tell.
        """
        if self.members and (self.only is None or self.listed):
            return
        if self.only is not None or self.space.cardinality() <= LIST_UP_TO:
            self._list()
        else:
            self.draw(rng, DRAWS)
            self._repair_until(ENOUGH, REPAIR_STEPS, rng)
        if not self.members:
            self.exhaust(rng)
        if not self.members:
            raise NothingFeasible(self._complaint())

    def exhaust(self, rng: np.random.Generator) -> None:
        """The last effort to meet candidates not met before: a full list, or a long search."""
        if self.listed:
            return
        if self.space.cardinality() <= LIST_AT_LAST_UP_TO:
            self._list()
        elif self.members:
            self.spread(rng, LAST_STEPS // 10)
        else:
            self._repair_until(1, LAST_STEPS, rng)

    def _list(self) -> None:
        for params in self.space.all() if self.only is None else self.only:
            self.meet(params)
        self.listed = True

    def draw(self, rng: np.random.Generator, count: int) -> None:
        """Random draws."""
        self.meet_all(self.space.draw(rng) for _ in range(count))

    def meet_all(self, many: Iterable[Params]) -> list[Feasible]:
        """Those that fit."""
        if self.listed:
            return []
        met = [self.meet(params)[1] for params in many]
        return [candidate for candidate in met if candidate is not None]

    def mutate(self, rng: np.random.Generator, parents: list[Feasible], count: int) -> list[Feasible]:
        """Mutants of parents taken in turn; those that fit."""
        turns = (parents[i % len(parents)].params for i in range(count))
        return self.meet_all(self.space.mutate(params, rng) for params in turns)

    def spread(self, rng: np.random.Generator, count: int) -> None:
        """Mutants of members that are chosen evenly over log size, so that rare sizes fill up."""
        parents = [self.members[i] for i in self.evenly(rng, count)]
        self.mutate(rng, parents, count)

    def evenly(self, rng: np.random.Generator, count: int) -> list[int]:
        """Indices of `count` members, repeats allowed, each size bin as likely as any other."""
        sizes = np.array([member.log_size for member in self.members])
        low, high = sizes.min(), sizes.max()
        bins = np.minimum(BINS * (sizes - low) / ((high - low) or 1.0), BINS - 1).astype(int)
        weight = 1.0 / np.bincount(bins, minlength=BINS)[bins]
        return [int(i) for i in rng.choice(len(sizes), size=count, p=weight / weight.sum())]

    def trim(self, rng: np.random.Generator) -> None:
        """Forget members at random, and what was met, once there are too many."""
        if not self.listed and len(self.members) > KEEP:
            kept = [self.members[i] for i in sorted(set(self.evenly(rng, KEEP)))]
            self.members = kept
            self._met = {tuple(one.params.values()): (0.0, one) for one in kept}

    def _repair_until(self, wanted: int, steps: int, rng: np.random.Generator) -> None:
        while len(self.members) < wanted and steps > 0:
            steps -= self._repair(self.space.draw(rng), rng)

    def _repair(self, params: Params, rng: np.random.Generator) -> int:
        """Walk downhill in the excess until the candidate fits or no change of one dim helps; steps taken."""
        excess = self.meet(params)[0]
        steps, moved = 1, True
        while moved and excess > 0:
            moved = False
            for other in self._changes(params, rng):
                steps += 1
                less = self.meet(other)[0]
                if less < excess:
                    params, excess, moved = other, less, True
                    break
        return steps

    def _changes(self, params: Params, rng: np.random.Generator) -> Iterator[Params]:
        """Every change of one dim, dims and values in random order."""
        for name in rng.permutation(list(self.space.dims)):
            for value in self.space.alternatives(str(name), params, rng):
                yield self.space.swap(params, str(name), value)

    def _complaint(self) -> str:
        size, params = self.smallest
        if params is None:
            return f"no candidate makes a network that fits (limit {self.max_cost:g}): widen the space"
        return (
            f"no candidate fits: the smallest cost found is {size:g}, the limit is {self.max_cost:g} "
            f"(at {params}); raise the limit or widen the space"
        )


def log_size(size: float) -> float:
    """Natural logarithm; sizes of zero or less count as very small."""
    return math.log(max(size, 1e-9))
