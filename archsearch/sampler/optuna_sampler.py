"""The search engine as an Optuna sampler."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from functools import partial
from typing import Any, TypedDict, Unpack

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
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

    Raises:
        TypeError: an unknown option.
        ValueError: no distributions, one of an unknown class, a limit that nothing can meet, or, once it is asked for
            proposals, a feature below zero.
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
        only = None if candidates is None else [self._space.settled(one) for one in candidates]
        self._engine = Engine(
            FeasiblePool(self._space, cost, max_cost, only),
            key,
            start,
            options.get("use_stopped", True),
            options.get("features"),
        )
        self._lock = threading.Lock()
        self._make_history = partial(History, self._distributions, self._space, cost, key)
        self._histories: dict[str, History] = {}

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Propose, claim and write down the trial's whole assignment.

        Raises:
            NothingFeasible: nothing fits the budget; names the smallest cost found.
            SpaceExhausted: everything that fits was proposed before.
            In both cases the trial is closed as failed.
        """
        fixed = {**trial.system_attrs.get("fixed_params", {}), **trial.params}  # enqueued, or run again
        if self._distributions.keys() <= fixed.keys() or trial.number in proposals(study):
            return
        try:
            self._claim(study, trial, fixed)
        except (NothingFeasible, SpaceExhausted):
            study.tell(trial.number, state=TrialState.FAIL)
            raise

    def infer_relative_search_space(self, _study: Study, _trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All dims: they are proposed together."""
        return self._distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The proposal that `before_trial` wrote."""
        return decode(proposals(study).get(trial.number, {}), search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Never samples.

        Raises:
            ValueError: always: the dim is none of the sampler's, or has another distribution there.
        """
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
        others = self._others(study, trial)
        for attempt in range(RACES):
            rng = np.random.default_rng([self._seed, trial.number, attempt])
            taken = {record.key for record in others}
            params = self._propose(others, taken, fixed, rng)
            free = {name: value for name, value in params.items() if name not in fixed}
            stored = encode(free, self._distributions)
            note_proposal(study, trial.number, stored)
            others = self._others(study, trial)
            if fixed or self._engine.key(dict(params)) not in {record.key for record in others}:
                return
        raise SpaceExhausted(f"lost {RACES} races for a candidate in a row: too many workers for this space")

    def _propose(
        self, others: list[Observation], taken: set[Hashable], fixed: dict[str, Any], rng: np.random.Generator
    ) -> Params:
        with self._lock:
            if fixed:
                return self._engine.complete(fixed, taken, rng)
            return self._engine.propose(others, taken, rng).params

    def _others(self, study: Study, trial: FrozenTrial) -> list[Observation]:
        trials = [one for one in study.get_trials(deepcopy=False) if one.number != trial.number]
        sign = 1.0 if study.directions[0] == StudyDirection.MAXIMIZE else -1.0
        if study.study_name not in self._histories:  # a sampler may serve several studies
            self._histories[study.study_name] = self._make_history()
        return self._histories[study.study_name].read(trials, sign, proposals(study))


def _values(params: Params) -> Hashable:
    return tuple(params.values())
