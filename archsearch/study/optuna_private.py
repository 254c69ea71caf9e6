"""What needs Optuna's private parts: a study in a server's database, with few statements a trial.

Optuna's own cache reads every running trial whole, with all its parameters and attributes: with n workers that is
n * 40 rows, by each of them, several times a trial. Of our running trials only two attributes change. Optuna's storage
writes a new trial value by value, two statements each, under the lock on the study that puts trials in order, and reads
trials as objects of the object-relational mapper, one for every value.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Container, Mapping, Sequence
from typing import Any

from optuna import Study
from optuna.distributions import (
    BaseDistribution,
    check_distribution_compatibility,
    distribution_to_json,
    json_to_distribution,
)
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._cached_storage import _CachedStorage, _StudyInfo
from optuna.storages._rdb.models import (
    StudyModel,
    TrialIntermediateValueModel,
    TrialModel,
    TrialParamModel,
    TrialSystemAttributeModel,
    TrialUserAttributeModel,
    TrialValueModel,
)
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Engine, insert, or_, select
from sqlalchemy.orm import Session

from archsearch.sampler.asha import CURVE, LEASE

_CHANGING = (CURVE, LEASE)


def storage_of(study: Study) -> BaseStorage:
    """The storage that a study was opened with."""
    return study._storage


def engine_of(storage: BaseStorage) -> Engine | None:
    """What a storage reaches its database by; None for one without a database."""
    inner = storage._backend if isinstance(storage, _CachedStorage) else storage
    return inner.engine if isinstance(inner, RDBStorage) else None


class Database(RDBStorage):
    """Optuna's storage; trials are read, and new ones written, with one statement for each table."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._compatible: set[tuple[int, str, str]] = set()
        self._parsed: dict[str, BaseDistribution] = {}

    def _get_prepared_new_trial(self, study_id: int, template: FrozenTrial | None, session: Session) -> TrialModel:
        if template is None or template.values or template.intermediate_values:
            return super()._get_prepared_new_trial(study_id, template, session)
        trial = TrialModel(
            study_id=study_id,
            number=None,
            state=template.state,
            datetime_start=template.datetime_start,
            datetime_complete=template.datetime_complete,
        )
        session.add(trial)
        session.flush()
        params = [self._param(name, value, template.distributions[name]) for name, value in template.params.items()]
        for param in params:
            self._require_compatible(study_id, param["param_name"], param["distribution_json"], session)
        rows = {
            TrialParamModel: params,
            TrialUserAttributeModel: _attributes(template.user_attrs),
            TrialSystemAttributeModel: _attributes(template.system_attrs),
        }
        for model, some in rows.items():
            if some:
                session.execute(insert(model), [{"trial_id": trial.trial_id, **row} for row in some])
        trial.number = trial.count_past_trials(session)
        return trial

    def _param(self, name: str, value: Any, distribution: BaseDistribution) -> dict[str, Any]:
        text = distribution_to_json(distribution)
        return {"param_name": name, "param_value": distribution.to_internal_repr(value), "distribution_json": text}

    def _require_compatible(self, study_id: int, name: str, distribution: str, session: Session) -> None:
        """Refuse, as Optuna does, a parameter that the study has with another kind of distribution; asked once."""
        if (study_id, name, distribution) in self._compatible:
            return
        query = select(TrialParamModel.distribution_json).join(TrialModel)
        here = TrialModel.study_id == study_id, TrialParamModel.param_name == name
        before = session.scalar(query.where(*here).limit(1))
        if before is not None:
            check_distribution_compatibility(self._distribution(before), self._distribution(distribution))
        self._compatible.add((study_id, name, distribution))

    def _distribution(self, text: str) -> BaseDistribution:
        """Trials of one study share them: they are never changed."""
        if text not in self._parsed:
            self._parsed[text] = json_to_distribution(text)
        return self._parsed[text]

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        if states is not None:
            return super()._get_trials(study_id, states, included_trial_ids, trial_id_greater_than)
        new = or_(TrialModel.trial_id > trial_id_greater_than, TrialModel.trial_id.in_(included_trial_ids))
        wanted = TrialModel.study_id == study_id, new
        with Session(self.engine) as session:
            StudyModel.find_or_raise_by_id(study_id, session)
            # A trial's state is read before its values, and was written after them.
            trials: Sequence[Any] = session.scalars(
                select(TrialModel).where(*wanted).order_by(TrialModel.trial_id)
            ).all()
            tables = _COLUMNS.items() if trials else ()
            values = {model: _by_trial(session, model, columns, wanted) for model, columns in tables}
            return [
                self._frozen(trial, {m: rows.get(trial.trial_id, []) for m, rows in values.items()}) for trial in trials
            ]

    def _frozen(self, trial: Any, values: Mapping[Any, Sequence[Any]]) -> FrozenTrial:
        distributions = {name: self._distribution(text) for name, _, text in values[TrialParamModel]}
        value_of = TrialValueModel.stored_repr_to_value
        step_of = TrialIntermediateValueModel.stored_repr_to_intermediate_value
        return FrozenTrial(
            number=trial.number,
            state=trial.state,
            value=None,
            values=[value_of(value, kind) for _, value, kind in sorted(values[TrialValueModel])] or None,
            datetime_start=trial.datetime_start,
            datetime_complete=trial.datetime_complete,
            params={name: distributions[name].to_external_repr(value) for name, value, _ in values[TrialParamModel]},
            distributions=distributions,
            user_attrs={key: json.loads(value) for key, value in values[TrialUserAttributeModel]},
            system_attrs={key: json.loads(value) for key, value in values[TrialSystemAttributeModel]},
            intermediate_values={
                step: step_of(value, kind) for step, value, kind in values[TrialIntermediateValueModel]
            },
            trial_id=trial.trial_id,
        )


_COLUMNS: dict[Any, tuple[str, ...]] = {
    TrialParamModel: ("param_name", "param_value", "distribution_json"),
    TrialValueModel: ("objective", "value", "value_type"),
    TrialUserAttributeModel: ("key", "value_json"),
    TrialSystemAttributeModel: ("key", "value_json"),
    TrialIntermediateValueModel: ("step", "intermediate_value", "intermediate_value_type"),
}


def _by_trial(session: Session, model: Any, columns: Sequence[str], wanted: Any) -> dict[int, list[Any]]:
    """A table's rows of the wanted trials, in the order in which they were written."""
    found: dict[int, list[Any]] = {}
    query = select(model.trial_id, *(getattr(model, name) for name in columns)).where(*wanted)
    [key] = model.__table__.primary_key
    for trial_id, *row in session.execute(query.join(TrialModel).order_by(key)):
        found.setdefault(trial_id, []).append(tuple(row))
    return found


def _attributes(attrs: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value_json": json.dumps(value)} for key, value in attrs.items()]


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

    def get_trial_number_from_id(self, trial_id: int) -> int:
        """Without reading the whole trial. Raises KeyError."""
        with self._backend.engine.connect() as connection:
            number = connection.scalar(select(TrialModel.number).where(TrialModel.trial_id == trial_id))
        if number is None:
            raise KeyError(trial_id)
        return int(number)

    def _known(self, study: _StudyInfo, trial_id: int) -> Any:
        return study.trials[self._trial_id_to_study_id_and_number[trial_id][1]]

    def _renew(self, study: _StudyInfo, trial_id: int, attrs: Mapping[str, Any]) -> None:
        trial = self._known(study, trial_id)
        if any(trial.user_attrs.get(name) != value for name, value in attrs.items()):
            renewed = copy.copy(trial)  # whoever holds the old one keeps it as it was
            renewed.user_attrs = {**trial.user_attrs, **attrs}
            study.trials[trial.number] = renewed
