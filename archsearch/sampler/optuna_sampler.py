"""The search engine as an Optuna sampler."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, TypedDict, Unpack

import numpy as np
from optuna import Study, TrialPruned
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, PartialFixedSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from archsearch.errors import NothingFeasible, SpaceExhausted
from archsearch.sampler.engine import Engine, Features
from archsearch.sampler.history import History, Observation, decode, encode, note_proposal, proposals
from archsearch.sampler.pool import FeasiblePool
from archsearch.sampler.space import Params, Space

RACES = 20
START = 8


class SamplerOptions(TypedDict, total=False):
    """What a `ParetoSampler` may be told beside the problem; its docstring says what each is."""

    active: Callable[[Params], Collection[str]] | None
    start: int
    use_stopped: bool
    candidates: Iterable[Params] | None
    features: Features | None
    training_cost: Callable[[Params], float] | None


class ParetoSampler(BaseSampler):
    """Proposes, each time, the untried network inside the budget with the largest expected gain of the front.

    The study's first objective is accuracy (either direction), a second one, if there is any, is ignored:
    `cost` knows it. The whole proposal is written into the study when it is asked for, so that workers that
    share a storage see it before its parameters are suggested; a dim that is never suggested is inactive.

    Args:
        distributions: every dim that may be suggested, by name.
        cost: exact and cheap size of complete parameters; positive. May raise `archsearch.Infeasible`.
        max_cost: proposals cost strictly less.
        seed: with the trial's number the only source of chance; None for a random one.
        key: equal keys are one network; by default the parameters themselves.
        active: names the dims that matter for given parameters; the others are held at a fixed value.
            Optional: without it an inactive dim only blurs the surrogate a little.
        start: trials spread over log size before the surrogate takes over; 8 by default.
        use_stopped: whether stopped trials (state PRUNED, user attribute `curve`) teach the surrogate.
        candidates: complete parameters; only these are proposed. By default whatever `distributions` allow.
        features: figures of complete parameters that are known beforehand and that accuracy may follow beside
            size, such as multiply-accumulates; none below zero. The surrogate sees their logs.
        training_cost: what a training of complete parameters costs beside the others, such as its seconds; positive.
            The gain that is expected is divided by its root, so that of two equal gains the cheaper comes first. By
            default all cost the same.

    Raises:
        TypeError: an unknown option.
        ValueError: no distributions, one of an unknown class, a limit that nothing can meet, or, once it is asked for
            proposals, a feature below zero or a training that costs nothing.
    """

    def __init__(
        self,
        distributions: Mapping[str, BaseDistribution],
        cost: Callable[[Params], float],
        max_cost: float = math.inf,
        seed: int | None = 0,
        key: Callable[[Params], Hashable] | None = None,
        **options: Unpack[SamplerOptions],
    ) -> None:
        if not distributions:
            raise ValueError("distributions is empty: name at least one dim to search over")
        if not max_cost > 0:
            raise ValueError(f"max_cost={max_cost} lets nothing through: give a positive limit")
        start, candidates = options.get("start", START), options.get("candidates")
        if unknown := sorted(options.keys() - SamplerOptions.__annotations__.keys()):
            raise TypeError(
                f"ParetoSampler has no option {unknown[0]!r}: use {', '.join(SamplerOptions.__annotations__)}"
            )
        if start < 2:
            raise ValueError(f"start={start} is too few to learn from: give at least 2")
        self._distributions = dict(distributions)
        self._seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
        key = key or _values
        self._space = Space(self._distributions, options.get("active"))
        self._only = None if candidates is None else [self._space.settled(one) for one in candidates]
        self._key = key
        self._make_pool = partial(FeasiblePool, cost=cost, max_cost=max_cost)
        self._make_engine = partial(
            Engine,
            key=key,
            start=start,
            use_stopped=options.get("use_stopped", True),
            features=options.get("features"),
            training_cost=options.get("training_cost"),
        )
        self._make_history = partial(History, self._distributions, self._space, cost, key)
        self._engines: dict[str, Engine] = {}
        self._histories: dict[str, History] = {}
        self._left_over: set[tuple[str, int]] = set()
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        """All but the lock, for pickle and copy."""
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Propose, claim and write down the trial's whole assignment.

        With the last one `study.optimize` ends, as `study.stop()` does; a trial that was begun beside it is pruned.

        Raises:
            NothingFeasible: nothing fits the budget; names the smallest cost found.
            SpaceExhausted: everything that fits was proposed before, and this is no `optimize`.
            In both cases the trial is closed as failed.
        """
        fixed = {**trial.system_attrs.get("fixed_params", {}), **trial.params}  # enqueued, or run again
        if self._distributions.keys() <= fixed.keys() or trial.number in proposals(study):
            return
        try:
            self._claim(study, trial, fixed)
        except (NothingFeasible, SpaceExhausted) as error:
            if isinstance(error, SpaceExhausted) and _stop(study):
                self._left_over.add((study.study_name, trial.number))
                return
            study.tell(trial.number, state=TrialState.FAIL)
            raise

    def infer_relative_search_space(self, _study: Study, _trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All dims: they are proposed together."""
        return dict(self._distributions)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The proposal that `before_trial` wrote."""
        if (study.study_name, trial.number) in self._left_over:
            return {}
        return decode(proposals(study).get(trial.number, {}), search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Never samples.

        Raises:
            ValueError: the dim is none of the sampler's, or has another distribution there.
            TrialPruned: the trial was begun while another one took the last candidate.
        """
        if (study.study_name, trial.number) in self._left_over:
            raise TrialPruned("everything that fits the budget has been proposed")
        known = self._distributions.get(param_name)
        problem = f"it knows {known}" if known else f"it knows {', '.join(self._distributions)}"
        raise ValueError(
            f"trial {trial.number} of {study.study_name!r} asked ParetoSampler for {param_name!r} from "
            f"{param_distribution}, but {problem}: give it every dim when it is made"
        )

    def _claim(self, study: Study, trial: FrozenTrial, fixed: dict[str, Any]) -> None:
        """Propose until no other trial holds the same network.

        Every worker writes first and reads then, so of two that race to one network at least one sees the
        other and yields.
        """
        others, held = self._others(study, trial), self._held(study, trial)
        for attempt in range(RACES):
            rng = np.random.default_rng([self._seed, trial.number, attempt])
            taken = {record.key for record in others}
            params = self._propose(others, taken, fixed, held, rng)
            free = {name: value for name, value in params.items() if name not in fixed}
            stored = encode(free, self._distributions)
            note_proposal(study, trial.number, stored)
            others, own = self._others(study, trial), self._key(dict(params))
            taken = {record.key for record in others}
            if fixed or own not in taken:
                self._look_ahead(study, {*taken, own}, held, np.random.default_rng([self._seed, trial.number, RACES]))
                return
        raise SpaceExhausted(f"lost {RACES} races for a candidate in a row: too many workers for this space")

    def _propose(
        self,
        others: list[Observation],
        taken: set[Hashable],
        fixed: Params,
        held: Params,
        rng: np.random.Generator,
    ) -> Params:
        with self._lock:
            engine = self._engine(held)
            if fixed:
                return engine.complete({**held, **fixed}, taken, rng)
            return engine.propose(others, taken, rng).params

    def _look_ahead(self, study: Study, taken: set[Hashable], held: Params, rng: np.random.Generator) -> None:
        """End an `optimize` for which nothing is left."""
        with self._lock:
            exhausted = self._engine(held).is_exhausted(taken, rng)
        if exhausted and not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            _stop(study)

    def _engine(self, held: Params) -> Engine:
        """The engine over what has the values that somebody holds fixed."""
        name = repr(sorted(held.items()))
        if name not in self._engines:
            space = Space(self._distributions, self._space.active, held)
            only = self._only
            if only is not None and held:
                only = [params for params in only if space.settled(params) == params]
            self._engines[name] = self._make_engine(self._make_pool(space, only=only))
        return self._engines[name]

    def _held(self, study: Study, trial: FrozenTrial) -> Params:
        """What Optuna's `PartialFixedSampler` around this sampler fixes; it answers for its own dims and no others."""
        held: Params = {}
        if isinstance(study.sampler, PartialFixedSampler):
            for name, distribution in self._distributions.items():
                with suppress(ValueError):
                    held[name] = study.sampler.sample_independent(study, trial, name, distribution)
        return held

    def _others(self, study: Study, trial: FrozenTrial) -> list[Observation]:
        trials = [one for one in study.get_trials(deepcopy=False) if one.number != trial.number]
        sign = 1.0 if study.directions[0] == StudyDirection.MAXIMIZE else -1.0
        if study.study_name not in self._histories:  # a sampler may serve several studies
            self._histories[study.study_name] = self._make_history()
        return self._histories[study.study_name].read(trials, sign, proposals(study))


def _stop(study: Study) -> bool:
    """Whether this is within an `optimize`, which starts no further trial then."""
    try:
        study.stop()
    except RuntimeError:
        return False
    return True


def _values(params: Params) -> Hashable:
    return tuple(params.values())
