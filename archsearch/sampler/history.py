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
from archsearch.sampler.pool import log_size
from archsearch.sampler.space import Params, Space

PROPOSAL = "archsearch:proposal"
SLOTS = 64
"""Proposals that a study keeps for its other workers: more than run at once."""
CURVE = "curve"


@dataclass(frozen=True)
class Record:
    """One trial.

    `accuracy`: higher is better, None unless complete. `curve`: (epoch, accuracy) pairs, higher is better.
    `log_size`: None where the cost function refuses it.
    """

    number: int
    state: TrialState
    params: Params
    key: Hashable
    log_size: float | None
    accuracy: float | None
    curve: tuple[tuple[float, float], ...]


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
        self._finished: dict[int, Record | None] = {}
        self._proposed: dict[int, dict[str, float]] = {}
        self._shared: dict[int, Mapping[str, float]] = {}

    def propose(self, study: Study, number: int, params: Params) -> None:
        """Keep the proposal for a trial, and let the study's other workers see it at once."""
        self._proposed[number] = encode(params, self._distributions)
        slot = {"number": number, "params": self._proposed[number]}
        study.set_user_attr(f"{PROPOSAL}:{number % SLOTS}", slot)

    def look(self, attributes: Mapping[str, Any]) -> None:
        """Take in what other workers have proposed, from the study's user attributes."""
        slots = [value for name, value in attributes.items() if name.startswith(f"{PROPOSAL}:")]
        self._shared = {slot["number"]: slot["params"] for slot in slots}

    def read(self, trials: Sequence[FrozenTrial], sign: float) -> list[Record]:
        """Records of all trials whose parameters are known, by trial number.

        Args:
            trials: of the study.
            sign: 1 where the first objective is maximised, -1 where it is minimised.
        """
        records = [self._remembered(trial, sign) for trial in trials]
        return [record for record in records if record is not None]

    def _remembered(self, trial: FrozenTrial, sign: float) -> Record | None:
        if not trial.state.is_finished():
            return self._record(trial, sign)
        if trial.number not in self._finished:
            self._finished[trial.number] = self._record(trial, sign)
        return self._finished[trial.number]

    def _record(self, trial: FrozenTrial, sign: float) -> Record | None:
        known = self.params_of(trial)
        if not known:
            return None
        params = self._space.settled(known)
        accuracy = sign * trial.values[0] if trial.state == TrialState.COMPLETE else math.nan
        pairs = trial.user_attrs.get(CURVE, [])
        return Record(
            number=trial.number,
            state=trial.state,
            params=params,
            key=self._key(dict(params)),
            log_size=self._log_size(params),
            accuracy=accuracy if math.isfinite(accuracy) else None,
            curve=tuple((float(epoch), sign * float(value)) for epoch, value in pairs),
        )

    def params_of(self, trial: FrozenTrial) -> dict[str, Any]:
        """The trial's proposal, overruled by what was enqueued, overruled by what was suggested."""
        number = trial.number
        before = trial.system_attrs.get(PROPOSAL, {})  # of archsearch before the slots
        stored = self._proposed.get(number) or self._shared.get(number) or before
        fixed = trial.system_attrs.get("fixed_params", {})
        known = {**decode(stored, self._distributions), **fixed, **trial.params}
        return {name: value for name, value in known.items() if name in self._distributions}

    def _log_size(self, params: Params) -> float | None:
        try:
            return log_size(float(self._cost(dict(params))))
        except Infeasible:
            return None


def encode(params: Params, distributions: Mapping[str, BaseDistribution]) -> dict[str, float]:
    """Parameters as numbers that any storage keeps exactly."""
    return {name: float(distributions[name].to_internal_repr(value)) for name, value in params.items()}


def decode(stored: Mapping[str, float], distributions: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    """What `encode` was given."""
    return {
        name: distributions[name].to_external_repr(value) for name, value in stored.items() if name in distributions
    }
