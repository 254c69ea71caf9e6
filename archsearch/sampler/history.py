"""What the trials of an Optuna study say, in the sampler's terms."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from archsearch.errors import Infeasible
from archsearch.evaluation import finite
from archsearch.sampler.asha import CURVE, EFFORT
from archsearch.sampler.pool import log_size
from archsearch.sampler.space import Params, Space

PROPOSAL = "archsearch:proposal"
"""User attributes of a study, one a slot: the whole proposal of a trial, seen by all before it is suggested."""
SLOTS = 64
"""A slot is used again so many trials later, when its trial has all that was suggested in its own parameters."""
Stored = Mapping[str, float]
"""Parameters as `encode` gives them."""


@dataclass(frozen=True)
class Observation:
    """One trial.

    `accuracy`: higher is better, None unless complete. `curve`: (epoch, accuracy) pairs, higher is better.
    `log_size`: None where the cost function refuses it. `effort`: by how much longer than others it was trained.
    """

    number: int
    state: TrialState
    params: Params
    key: Hashable
    log_size: float | None
    accuracy: float | None
    curve: tuple[tuple[float, float], ...]
    effort: float = 1.0


class History:
    """Reads trials into records; finished ones once."""

    def __init__(
        self,
        distributions: Mapping[str, BaseDistribution],
        space: Space,
        cost: Callable[[Params], float],
        key: Callable[[Params], Hashable],
    ) -> None:
        self._distributions = distributions
        self._space = space
        self._cost = cost
        self._key = key
        self._finished: dict[int, Observation | None] = {}

    def read(self, trials: Sequence[FrozenTrial], sign: float, proposals: Mapping[int, Stored]) -> list[Observation]:
        """Records of all trials whose parameters are known, by trial number.

        Args:
            trials: of the study.
            sign: 1 where the first objective is maximised, -1 where it is minimised.
            proposals: what running trials will suggest, by trial number.
        """
        records = [self._remembered(trial, sign, proposals.get(trial.number)) for trial in trials]
        return [record for record in records if record is not None]

    def _remembered(self, trial: FrozenTrial, sign: float, proposal: Stored | None) -> Observation | None:
        if not trial.state.is_finished():
            return self._record(trial, sign, proposal)
        if trial.number not in self._finished:
            self._finished[trial.number] = self._record(trial, sign, proposal)
        return self._finished[trial.number]

    def _record(self, trial: FrozenTrial, sign: float, proposal: Stored | None) -> Observation | None:
        known = self._params_of(trial, proposal)
        if not known:
            return None
        params = self._space.settled(known)
        accuracy = sign * trial.values[0] if trial.state == TrialState.COMPLETE else math.nan
        pairs = [pair for pair in trial.user_attrs.get(CURVE, []) if finite(pair[1]) is not None]
        effort = finite(trial.user_attrs.get(EFFORT, 1.0))
        return Observation(
            number=trial.number,
            state=trial.state,
            params=params,
            key=self._key(dict(params)),
            log_size=self._log_size(params),
            accuracy=accuracy if math.isfinite(accuracy) else None,
            curve=tuple((float(epoch), sign * float(value)) for epoch, value in pairs),
            effort=effort if effort and effort > 0 else 1.0,
        )

    def _params_of(self, trial: FrozenTrial, proposal: Stored | None) -> dict[str, Any]:
        """The trial's proposal, overruled by what was enqueued, overruled by what was suggested."""
        stored = proposal or trial.system_attrs.get(PROPOSAL, {})  # where older samplers kept it
        fixed = trial.system_attrs.get("fixed_params", {})
        known = {**decode(stored, self._distributions), **fixed, **trial.params}
        return {name: value for name, value in known.items() if name in self._distributions}

    def _log_size(self, params: Params) -> float | None:
        try:
            return log_size(float(self._cost(dict(params))))
        except Infeasible:
            return None


def note_proposal(study: Study, number: int, stored: Stored) -> None:
    """Let everybody see what a trial will suggest, in one write."""
    study.set_user_attr(f"{PROPOSAL}:{number % SLOTS}", {"number": number, "params": dict(stored)})


def proposals(study: Study) -> dict[int, Stored]:
    """What trials will suggest, or have suggested lately, by trial number."""
    slots = [value for name, value in study.user_attrs.items() if name.startswith(f"{PROPOSAL}:")]
    return {slot["number"]: slot["params"] for slot in slots}


def encode(params: Params, distributions: Mapping[str, BaseDistribution]) -> dict[str, float]:
    """Parameters as numbers that any storage keeps exactly."""
    return {name: float(distributions[name].to_internal_repr(value)) for name, value in params.items()}


def decode(stored: Stored, distributions: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    """What `encode` was given."""
    return {
        name: distributions[name].to_external_repr(value) for name, value in stored.items() if name in distributions
    }
