"""What to train next, given what was trained. Knows nothing of Optuna's storage."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from optuna.trial import TrialState

from archsearch.errors import SpaceExhausted
from archsearch.sampler.dims import Array, Mask
from archsearch.sampler.fidelity import extrapolate
from archsearch.sampler.gain import expected_gain, staircase, top
from archsearch.sampler.history import Observation
from archsearch.sampler.pool import Cost, Feasible, FeasiblePool, log_size
from archsearch.sampler.space import Params

if TYPE_CHECKING:
    from archsearch.sampler.surrogate import Belief, Surrogate

SCREEN = 1_000
FRONT_MUTANTS = 200
SPREAD_MUTANTS = 100
CLIMBS, CLIMBERS, CLIMB_MUTANTS = 2, 8, 96
REFERENCE_QUANTILE = 0.1
MARGIN = 1.0
GROWTH = 1.15
COMPLETIONS = 300
PER_WORK = 0.5
"""Gains are taken per this power of what a training costs."""
TOP_TURN = 3
"""Each so many-th proposal looks at the best accuracy alone: it is what most searches are asked for."""

Features = Callable[[Params], Sequence[float] | Array]


@dataclass(frozen=True)
class Known:
    """Networks with an accuracy, measured, extrapolated or believed.

    `doubt`: standard deviation of each accuracy beyond the noise that all share; `counts`: whether the
    network is on the books as one that can be delivered; `effort`: by how much longer than others it was trained.
    """

    params: list[Params]
    log_size: Array
    accuracy: Array
    doubt: Array
    counts: Mask
    effort: Array


class Engine:
    """Proposes one candidate at a time.

    Args:
        pool: the candidates that fit.
        key: what makes two networks equal.
        start: that many trials are spread over log size before the surrogate takes over.
        use_stopped: whether the surrogate learns from stopped trials.
        features: further figures of parameters that the surrogate sees, by their logs.
        training_cost: what a training of parameters costs, in any unit.
    """

    def __init__(
        self,
        pool: FeasiblePool,
        key: Callable[[Params], Hashable],
        start: int,
        use_stopped: bool,
        features: Features | None = None,
        training_cost: Cost | None = None,
    ) -> None:
        self.pool = pool
        self.key = key
        self.start = start
        self.use_stopped = use_stopped
        self.features = features
        self.training_cost = training_cost
        self._span = math.inf, -math.inf
        self._extent: tuple[Array, Array] | None = None
        self._efforts = False
        self._beliefs: dict[int, Belief] = {}
        self._keys: WeakKeyDictionary[Feasible, Hashable] = WeakKeyDictionary()

    def propose(self, records: Sequence[Observation], taken: set[Hashable], rng: np.random.Generator) -> Feasible:
        """The candidate with the largest expected gain, at every `TOP_TURN`-th turn of the top, that is not taken.

        Args:
            records: of all trials, running ones included.
            taken: keys that must not be proposed.
            rng: the only source of chance.

        Raises:
            NothingFeasible: nothing fits the budget.
            SpaceExhausted: all that fits is taken.
        """
        self.pool.prepare(rng)
        self._span = self._reach(records)
        self._efforts = any(record.effort != 1 for record in records)
        known = self._known(records)
        if len(known.accuracy) < self.start:
            ranked = self._stratified(len(records), records, rng)
        else:
            from archsearch.sampler.surrogate import one_blas_thread

            with one_blas_thread():
                ranked = self._by_gain(known, records, rng)
        return self._first_free(ranked, taken, rng)

    def _first_free(self, ranked: Sequence[Feasible], taken: set[Hashable], rng: np.random.Generator) -> Feasible:
        efforts = (lambda: self.pool.spread(rng, 10 * SPREAD_MUTANTS), lambda: self.pool.exhaust(rng))
        for effort in (*efforts, None):
            for candidate in ranked:
                if self._key_of(candidate) not in taken:
                    return candidate
            if effort is not None:
                effort()
                ranked = [self.pool.members[i] for i in rng.permutation(len(self.pool.members))]
        raise SpaceExhausted(f"every candidate found inside the budget has been proposed ({len(taken)})")

    def complete(self, fixed: Params, taken: set[Hashable], rng: np.random.Generator) -> Params:
        """Parameters around values that somebody fixed: free and inside the budget if such are soon found."""
        space, best = self.pool.space, None
        for params in self._completions(fixed, rng):
            if self.pool.meet(params)[1] is not None:
                best = params
                if self.key(dict(params)) not in taken:
                    return params
        return best or space.settled({**space.draw(rng), **fixed})

    def _completions(self, fixed: Params, rng: np.random.Generator) -> Iterable[Params]:
        space, only = self.pool.space, self.pool.only
        if only is None:
            return (space.settled({**space.draw(rng), **fixed}) for _ in range(COMPLETIONS))
        agree = [params for params in only if all(params[name] == value for name, value in fixed.items())]
        return [agree[i] for i in rng.permutation(len(agree))]

    def _key_of(self, candidate: Feasible) -> Hashable:
        if candidate not in self._keys:
            self._keys[candidate] = self.key(dict(candidate.params))
        return self._keys[candidate]

    def is_exhausted(self, taken: set[Hashable], rng: np.random.Generator) -> bool:
        """Whether all that fits is taken; a long search only when everything met so far is."""
        try:
            self._first_free(self.pool.members, taken, rng)
        except SpaceExhausted:
            return True
        return False

    def __getstate__(self) -> dict[str, Any]:
        """Keys are found again."""
        return {**self.__dict__, "_keys": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= {**state, "_keys": WeakKeyDictionary()}

    # ---- the start

    def _stratified(self, turn: int, records: Sequence[Observation], rng: np.random.Generator) -> list[Feasible]:
        """Members by closeness to this turn's log size; turns halve the range again and again."""
        self.pool.spread(rng, 2 * SPREAD_MUTANTS)
        sizes = np.array([member.log_size for member in self.pool.members])
        target = sizes.min() + _van_der_corput(turn + 1) * np.ptp(sizes)
        near = np.argsort(np.abs(sizes - target))[: max(10, len(sizes) // 20)]
        far = self._far_from(records, [self.pool.members[i] for i in near])
        order = [*near[np.argsort(-far, kind="stable")], *np.argsort(np.abs(sizes - target))]
        return [self.pool.members[i] for i in order]

    def _far_from(self, records: Sequence[Observation], members: list[Feasible]) -> Array:
        """Distance of each member to the nearest record."""
        if not records:
            return np.zeros(len(members))
        mine = self.pool.space.encode([m.params for m in members])[0]
        other = self.pool.space.encode([r.params for r in records])[0]
        return np.asarray(((mine[:, None] - other[None]) ** 2).sum(-1).min(1))

    # ---- the search

    def _known(self, records: Sequence[Observation]) -> Known:
        rows = [(r, r.accuracy, 0.0, True) for r in records if r.accuracy is not None]
        if self.use_stopped:
            rows += [(r, y, doubt, False) for r, y, doubt in extrapolate(records)]
        rows = [row for row in rows if row[0].log_size is not None]
        return Known(
            params=[r.params for r, *_ in rows],
            log_size=np.array([r.log_size for r, *_ in rows], dtype=float),
            accuracy=np.array([y for _, y, _, _ in rows], dtype=float),
            doubt=np.array([doubt for *_, doubt, _ in rows], dtype=float),
            counts=np.array([done for *_, done in rows], dtype=bool),
            effort=np.array([r.effort for r, *_ in rows], dtype=float),
        )

    def _by_gain(self, known: Known, records: Sequence[Observation], rng: np.random.Generator) -> list[Feasible]:
        model, known = self._believe(known, records)
        level = model.typical(self._inputs(known.params, known.log_size))
        fits = known.counts & (known.log_size < self._span[1])
        corner = self._corner(level[fits] if fits.any() else level)
        steps = staircase(known.log_size[fits], level[fits], corner)
        best = _leaders(known, level, fits, steps)
        if len(records) % TOP_TURN == 0:
            steps = top(steps)
        ranked = self._screen(best, rng)
        gains = self._gains(model, ranked, steps)
        for _ in range(CLIMBS):
            tops = [ranked[i] for i in np.argsort(-gains)[:CLIMBERS]]
            fresh = self.pool.mutate(rng, tops, CLIMB_MUTANTS) if not self.pool.listed else []
            if fresh:
                ranked, gains = [*ranked, *fresh], np.append(gains, self._gains(model, fresh, steps))
        return [ranked[i] for i in np.argsort(-gains, kind="stable")]

    def _screen(self, best: list[Feasible], rng: np.random.Generator) -> list[Feasible]:
        pool = self.pool
        pool.trim(rng)
        fresh: list[Feasible] = []
        if not pool.listed:
            pool.draw(rng, SPREAD_MUTANTS)
            pool.spread(rng, SPREAD_MUTANTS)
            fresh = pool.mutate(rng, best, FRONT_MUTANTS) if best else []
        if len(pool.members) <= SCREEN:
            return list(pool.members)
        return [*fresh, *(pool.members[i] for i in sorted(set(pool.evenly(rng, SCREEN))))]

    def _believe(self, known: Known, records: Sequence[Observation]) -> tuple[Surrogate, Known]:
        """The surrogate, and what is known with running trials taken at their prediction."""
        model = self._model(known)
        running = [r for r in records if r.state == TrialState.RUNNING and r.log_size is not None]
        if not running:
            return model, known
        sizes = np.array([r.log_size for r in running], dtype=float)
        params = [r.params for r in running]
        level = model.typical(self._inputs(params, sizes))
        more = Known(
            params=[*known.params, *params],
            log_size=np.append(known.log_size, sizes),
            accuracy=np.append(known.accuracy, level),
            doubt=np.append(known.doubt, np.zeros(len(level))),
            counts=np.append(known.counts, np.ones(len(level), dtype=bool)),
            effort=np.append(known.effort, np.ones(len(level))),
        )
        return self._model(more), more

    def _model(self, known: Known) -> Surrogate:
        from archsearch.sampler.surrogate import Surrogate

        belief = self._belief(known)
        inputs = self._inputs(known.params, known.log_size, known.effort)
        return Surrogate(inputs, known.accuracy, known.doubt, belief, self._shape())

    def _belief(self, known: Known) -> Belief:
        """Hyperparameters, learnt anew only when the data has grown by a seventh."""
        from archsearch.sampler.surrogate import learn

        size = self.start
        while int(size * GROWTH) + 1 <= len(known.accuracy):
            size = int(size * GROWTH) + 1
        if size not in self._beliefs:
            inputs = self._inputs(known.params[:size], known.log_size[:size], known.effort[:size])
            self._beliefs[size] = learn(inputs, known.accuracy[:size], self._shape())
        return self._beliefs[size]

    def _shape(self) -> tuple[int, int]:
        return len(self.pool.space.dims), self.pool.space.columns

    def _inputs(self, params: Sequence[Params], log_sizes: Array, effort: Array | None = None) -> Array:
        """What the surrogate sees; without `effort` as if trained like the others, which is what it predicts."""
        columns, shared = self.pool.space.encode(params)
        low, high = self._span
        size = ((log_sizes - low) / (high - low))[:, None]
        if not self._efforts:
            return np.hstack([columns, shared, self._figures(params), size])
        factor = np.zeros(len(params)) if effort is None else np.log2(effort) / 2
        return np.hstack([columns, shared, self._figures(params), factor[:, None], size])

    def _figures(self, params: Sequence[Params]) -> Array:
        """(n, features) logs, from 0 to 1 over what the pool held when they were first asked for."""
        if self.features is None:
            return np.zeros((len(params), 0))
        if self._extent is None:
            logs = self._logs([member.params for member in self.pool.members])
            self._extent = logs.min(0), np.where(np.ptp(logs, 0) > 0, np.ptp(logs, 0), 1.0)
        low, width = self._extent
        return np.asarray((self._logs(params) - low) / width)

    def _logs(self, params: Sequence[Params]) -> Array:
        assert self.features is not None
        figures = np.array([self.features(one) for one in params], dtype=float)
        if not (figures >= 0).all():
            raise ValueError(f"features gave {figures[~(figures >= 0)][0]}: a feature is a number, none below zero")
        return np.asarray(np.log1p(figures.reshape(len(params), -1)))

    def _reach(self, records: Sequence[Observation]) -> tuple[float, float]:
        """Log sizes from the smallest network known to the limit; without one, to just above the largest known.

        Networks of other processes and of earlier ones count, which this one's pool may never have met.
        """
        others = [record.log_size for record in records if record.log_size is not None]
        low = min([self._span[0], log_size(self.pool.smallest[0]), *others])
        high = log_size(self.pool.max_cost)
        if not math.isfinite(high):
            high = max(
                [self._span[1], *(size + 1e-9 for size in others), *(m.log_size + 1e-9 for m in self.pool.members)]
            )
        return low, high if high > low else low + 1.0

    def _gains(self, model: Surrogate, some: Sequence[Feasible], steps: tuple[Array, Array]) -> Array:
        sizes = np.array([one.log_size for one in some])
        mean, std = model.predict(self._inputs([one.params for one in some], sizes))
        gains = expected_gain(sizes, mean, std, model.ceiling, steps)
        return gains if self.training_cost is None else gains / self._costs(some) ** PER_WORK

    def _costs(self, some: Sequence[Feasible]) -> Array:
        assert self.training_cost is not None
        costs = np.array([self.training_cost(dict(one.params)) for one in some], dtype=float)
        wrong = costs[~((costs > 0) & np.isfinite(costs))]
        if wrong.size:
            raise ValueError(f"training_cost gave {wrong[0]}: it is a positive number")
        return costs

    def _corner(self, level: Array) -> tuple[float, float]:
        """The reference: a size far enough over the limit that accuracy near it counts; a poor accuracy."""
        low, high = self._span
        return high + MARGIN * (high - low), float(np.quantile(level, REFERENCE_QUANTILE))


def _leaders(known: Known, level: Array, fits: Mask, steps: tuple[Array, Array]) -> list[Feasible]:
    """The believed front."""
    edges = set(steps[0][1:-1])
    return [
        Feasible(known.params[i], float(known.log_size[i]))
        for i in np.flatnonzero(fits)
        if known.log_size[i] in edges and level[i] in steps[1]
    ]


def _van_der_corput(index: int) -> float:
    """1/2, 1/4, 3/4, 1/8, 5/8 ... in base 2."""
    value, base = 0.0, 0.5
    while index:
        value, base, index = value + base * (index & 1), base / 2, index >> 1
    return value
