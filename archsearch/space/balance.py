"""Whether a budget can be used up: one limit may bind long before another is reached."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from archsearch.errors import SpecError
from archsearch.network.blocks import Value
from archsearch.network.budget import Budget, Verdict
from archsearch.network.file_size import Written
from archsearch.network.limits import Limit
from archsearch.space.domain import Domain
from archsearch.space.space import uniform

IDLE, BINDS = 0.5, 0.8
"""A limit is idle where no network found takes half of it, and binds where that network takes so much of it."""
_DRAWS, _STEPS, _KEPT = 400, 2400, 8
_STORED = ("params", "size_bytes")
"""Two measures of the weights: where one of them is used, they are."""
_WORTH = (*_STORED, "macs")
"""What a network gains by having more of."""


@dataclass(frozen=True)
class Idle:
    """A limit that lies idle, since another one binds.

    `use`: the largest share of the limit `idle` that a network inside all limits was found to take. `words`: one line
    for people, with the ways out.
    """

    binds: Limit
    idle: Limit
    use: float
    words: str


def idle_limit(domain: Domain, budget: Budget) -> Idle | None:
    """The limit that lies idle most because another one binds; None where all can be used, or one stands alone.

    By draws and by hill climbing towards the network that takes most of a limit inside all of them, with fixed chance.
    It stops as soon as one takes half. A limit that the whole space can't use has no other to blame, and is left out.
    """
    groups = [group for group in _groups(budget) if group[0][0].measure in _WORTH]
    if len(_groups(budget)) < 2:
        return None
    found = [idle for group in groups if (idle := _idle(domain, budget, group))]
    return min(found, key=lambda idle: idle.use, default=None)


def _groups(budget: Budget) -> list[list[tuple[Limit, float]]]:
    """The upper limits with their bounds; those on the weights together."""
    upper = [pair for pair in budget.exact if not pair[0].lower]
    stored = [pair for pair in upper if pair[0].measure in _STORED]
    return [*([stored] if stored else []), *([pair] for pair in upper if pair[0].measure not in _STORED)]


def _idle(domain: Domain, budget: Budget, group: list[tuple[Limit, float]]) -> Idle | None:
    climb = _Climb(domain, budget, {limit.measure for limit, _ in group})
    best = climb.best()
    if best is None or climb.use(best) >= IDLE or not _reaches(domain, budget, group):
        return None
    shares = {check.name: check.value / check.limit for check in best.limits if not check.lower}
    limit, bound = max(group, key=lambda pair: shares[pair[0].measure])
    others = [pair for pair in budget.exact if not pair[0].lower and pair not in group]
    binds, reached = max(others, key=lambda pair: shares[pair[0].measure])
    if shares[binds.measure] < BINDS:
        return None
    use = shares[limit.measure]
    most = limit.words(round(use * bound))
    found = f"no network of space {domain.space.name!r} found inside all limits has more than {most}"
    reason = f"the limit of {binds.label(reached, budget.written)} binds"
    what = f"{reason}, {100 * (1 - use):.0f}% of {_option(limit)} lies idle"
    return Idle(binds, limit, use, f"{what}: {found}; {_ways_out(binds)}")


def _option(limit: Limit) -> str:
    return f"--{limit.option.replace('_', '-')}"


def _ways_out(binds: Limit) -> str:
    """Weights cost the same at every image size, work and activations do not."""
    side = "larger" if binds.measure in _STORED else "smaller"
    return f"raise {_option(binds)}, take {side} images (--image-size) or another --space"


def _reaches(domain: Domain, budget: Budget, group: list[tuple[Limit, float]]) -> bool:
    """Whether the space has networks that take enough of a limit, whatever the others say."""
    return any(_largest(domain, limit, budget.written) >= IDLE * bound for limit, bound in group)


def _largest(domain: Domain, limit: Limit, written: Written) -> float:
    """The largest value in the space."""
    return -domain.space.smallest(lambda arch: -limit.of(arch.cost, written), domain.input_shape, domain.classes)[1]


class _Climb:
    """A search for the network inside all limits that takes most of some of them."""

    def __init__(self, domain: Domain, budget: Budget, measures: set[str]) -> None:
        self.domain, self.budget, self.measures = domain, budget, measures
        self.dims = domain.space.dims
        self.random = random.Random(0)

    def use(self, verdict: Verdict) -> float:
        """The largest share of the limits in question."""
        upper = (check for check in verdict.limits if not check.lower)
        return max(check.value / check.limit for check in upper if check.name in self.measures)

    def best(self) -> Verdict | None:
        """The verdict on the best network found; None where none is inside."""
        found: list[tuple[float, int, Mapping[str, Value], Verdict]] = []
        for number, answers in enumerate(self._candidates(found)):
            verdict = self._verdict(answers)
            if verdict is None:
                continue
            found.append((self._score(verdict), -number, answers, verdict))
            found.sort(key=lambda one: one[:2], reverse=True)
            del found[_KEPT:]
            if found[0][0] >= IDLE:
                break
        return found[0][3] if found and found[0][3].ok else None

    def _candidates(self, found: list[tuple[float, int, Mapping[str, Value], Verdict]]) -> Iterator[dict[str, Value]]:
        """Draws, then changes of one to three dims of the best so far."""
        for _ in range(_DRAWS):
            yield {name: uniform(self.random, dim) for name, dim in self.dims.items()}
        names = list(self.dims)
        for _ in range(_STEPS if found and names else 0):
            changed = self.random.sample(names, min(len(names), self.random.randint(1, 3)))
            start = self.random.choice(found)[2]
            yield {**start, **{name: uniform(self.random, self.dims[name]) for name in changed}}

    def _score(self, verdict: Verdict) -> float:
        """The share that is taken, below zero where a limit is broken: the nearer the better."""
        return self.use(verdict) if verdict.ok else -1 - verdict.excess

    def _verdict(self, answers: Mapping[str, Value]) -> Verdict | None:
        try:
            return self.budget.check(self.domain.arch(answers).cost)
        except SpecError:
            return None
