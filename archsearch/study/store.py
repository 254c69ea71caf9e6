"""Where a study lies: its storage, and what the study and its trials are called there.

Optuna has no public way from a study to its storage, so whoever opens a study says here which one it lies in. What
still needs Optuna's private parts stands in `optuna_private`, which serves the versions it was tested with.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from types import ModuleType
from weakref import WeakKeyDictionary

import optuna
from optuna.storages import BaseStorage

from archsearch.errors import StudyError

PLAIN = "ARCHSEARCH_PLAIN_OPTUNA"
"""Environment variable: 1 keeps archsearch to Optuna's public parts."""
_TESTED = "5.0."


@dataclass(frozen=True)
class StudyStore:
    """A study's storage and the study's id in it."""

    storage: BaseStorage
    id: int

    def trial_id(self, number: int) -> int:
        """The id of the study's trial of that number. Raises KeyError."""
        return self.storage.get_trial_id_from_study_id_trial_number(self.id, number)


_OPENED: WeakKeyDictionary[optuna.Study, StudyStore] = WeakKeyDictionary()


def lies_in(study: optuna.Study, storage: BaseStorage) -> optuna.Study:
    """The study, after noting that it lies in `storage`, which is the object it was opened with."""
    _OPENED[study] = StudyStore(storage, storage.get_study_id_from_name(study.study_name))
    return study


def store_of(study: optuna.Study) -> StudyStore:
    """Where a study lies. Raises StudyError for one that others opened, where Optuna does not tell."""
    if study not in _OPENED:
        parts = private_parts()
        if parts is None:
            raise StudyError(
                f"study {study.study_name!r}: Optuna {optuna.__version__} does not tell where it lies: "
                "pass storage=, the object that it was opened with"
            )
        lies_in(study, parts.storage_of(study))
    return _OPENED[study]


def private_parts() -> ModuleType | None:
    """The module `optuna_private`; None with an untested version of Optuna, or where `PLAIN` is 1."""
    if os.environ.get(PLAIN) == "1" or not optuna.__version__.startswith(_TESTED):
        return None
    try:
        from archsearch.study import optuna_private
    except (ImportError, AttributeError):
        return None
    return optuna_private
