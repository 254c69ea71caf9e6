"""What a worker remembers of a study, so that reading it again costs little.

Optuna's own cache reads every running trial whole, with all its parameters and attributes: with n workers that is
n * 40 rows, by each of them, several times a trial. Of our running trials only two attributes change.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage, _StudyInfo
from optuna.storages._rdb.models import TrialModel, TrialUserAttributeModel
from optuna.trial import TrialState
from sqlalchemy import select

from archsearch.rungs import CURVE

LEASE = "lease"
"""User attribute of a claim: counted up while its worker lives."""
_CHANGING = (CURVE, LEASE)


class StudyCache(_CachedStorage):
    """A database's trials: finished ones are read once, running ones when their state or one of `_CHANGING` does."""

    def __init__(self, backend: RDBStorage) -> None:
        super().__init__(backend)
        self._last: dict[int, int] = {}

    def _read_trials_from_remote_storage(self, study_id: int) -> None:
        with self._lock:
            study = self._studies.setdefault(study_id, _StudyInfo())
            open_ids = study.unfinished_trial_ids
            # Numbers and ids are given under a lock on the study, so nothing appears below the last one seen.
            last = self._last.get(study_id, -1)
            changed = self._look_again(study, open_ids) if open_ids else set()
            trials = self._backend._get_trials(study_id, None, changed, last)
            self._add_trials_to_cache(study_id, trials)
            ended = {trial._trial_id for trial in trials if trial.state.is_finished()}
            open_ids |= {trial._trial_id for trial in trials} - ended
            open_ids -= ended
            self._last[study_id] = max([last, *(trial._trial_id for trial in trials)])

    def _look_again(self, study: _StudyInfo, ids: set[int]) -> set[int]:
        """Bring running trials up to date; returns those that have another state by now, to be read whole."""
        attributes = TrialUserAttributeModel
        with self._backend.engine.connect() as connection:
            states = select(TrialModel.trial_id, TrialModel.state).where(TrialModel.trial_id.in_(ids))
            now: dict[int, TrialState] = {row[0]: row[1] for row in connection.execute(states)}
            values = select(attributes.trial_id, attributes.key, attributes.value_json).where(
                attributes.trial_id.in_(ids), attributes.key.in_(_CHANGING)
            )
            found: dict[int, dict[str, Any]] = {}
            for trial_id, key, value in connection.execute(values):
                found.setdefault(trial_id, {})[key] = json.loads(value)
        for trial_id in ids:
            self._renew(study, trial_id, found.get(trial_id, {}))
        return {i for i in ids if now.get(i) != self._known(study, i).state}

    def _known(self, study: _StudyInfo, trial_id: int) -> Any:
        return study.trials[self._trial_id_to_study_id_and_number[trial_id][1]]

    def _renew(self, study: _StudyInfo, trial_id: int, attrs: Mapping[str, Any]) -> None:
        trial = self._known(study, trial_id)
        if any(trial.user_attrs.get(name) != value for name, value in attrs.items()):
            renewed = copy.copy(trial)  # whoever holds the old one keeps it as it was
            renewed.user_attrs = {**trial.user_attrs, **attrs}
            study.trials[trial.number] = renewed
