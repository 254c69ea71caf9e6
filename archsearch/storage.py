"""The study's storage: an Optuna study, the only record that must survive.

A trial is added whole when its candidate is claimed (see `claims`) and closed when that is finished. Its user
attributes hold the candidate's id, cost and history; the study's hold what rebuilds the search.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from archsearch.errors import StudyError
from archsearch.rungs import CURVE

METRICS = ["val_accuracy", "params"]
_CONFIG = "archsearch"
_REFERENCES = "references"
_RETRAINED = "retrained:"
STATES = {
    "complete": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
RESULT = "result"
"""User attribute of a finished trial: the fields of its record that training made, but for the curve."""
FATE = "fate"
"""User attribute of a claim that came to nothing: `withdrawn` or `lost`. It is no record."""
_RESULT_FIELDS = ("val_accuracy", "epochs", "train_seconds", "state", "reason", "usage")


@dataclass(frozen=True)
class Record:
    """One finished candidate, as it stands in the tables.

    `val_accuracy` is a fraction, None for a failed one; sizes in bytes; `curve` is [[epoch, accuracy], ...];
    `usage` is what the training measured of itself (`tables.USAGE_COLUMNS`), as far as it is known.
    """

    arch: str
    val_accuracy: float | None
    params: int
    size_bytes: int
    macs: int
    peak_activation_bytes: int
    epochs: int
    train_seconds: float
    trial: int
    seed: int
    summary: str
    state: str = "complete"
    reason: str = ""
    curve: list[list[float]] = field(default_factory=list)
    usage: dict[str, float] = field(default_factory=dict)

    @property
    def values(self) -> list[float] | None:
        """The study's objectives (val_accuracy, params); None unless it was trained to the end."""
        if self.state != "complete" or self.val_accuracy is None:
            return None
        return [self.val_accuracy, float(self.params)]

    @property
    def proposal(self) -> dict[str, Any]:
        """The fields that are known before the training."""
        return {n: v for n, v in asdict(self).items() if n not in (*_RESULT_FIELDS, CURVE, "trial")}

    @property
    def result(self) -> dict[str, Any]:
        """The fields that the training made, but for the curve."""
        return {name: getattr(self, name) for name in _RESULT_FIELDS}


@dataclass(frozen=True)
class Retrained:
    """One full training of a chosen network, and its accuracy on the test split, which was read once for it.

    `mirrored`: the accuracy where logits of an image and of its mirror image are added, None if it was not asked for;
    accuracies are fractions. `start`: where the weights of the encoder came from, "" for none.
    """

    arch: str
    seed: int
    test_accuracy: float
    mirrored: float | None
    epochs: int
    train_seconds: float
    params: int
    device: str
    start: str
    recipe: dict[str, Any]


def sqlite_url(path: Path) -> str:
    """The storage URL of a SQLite file, whatever characters its folders have."""
    return sqlalchemy.URL.create("sqlite", database=str(path.absolute())).render_as_string()


def hide_password(text: str) -> str:
    """A URL, or a text with URLs, without their passwords."""
    in_front = re.sub(r"(://[^:/@\s]*):[^@\s]*@", r"\1:***@", text)
    return re.sub(r"([?&]password=)[^&\s'\"]*", r"\1***", in_front, flags=re.IGNORECASE)


@contextmanager
def faults(url: str) -> Iterator[None]:
    """Turn the database's own errors into a StudyError of one line, without the URL's password."""
    try:
        yield
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        cause = error.__cause__ or error
        reason = str(getattr(cause, "orig", None) or cause).splitlines()[0]
        raise StudyError(f"study storage {hide_password(url)}: {hide_password(reason)}") from None


def open_storage(url: str) -> RDBStorage:
    """Open (or create) a storage. SQLite gets a write-ahead log, which readers do not block.

    Raises:
        StudyError: no such database, no database at all, or no permission.
    """
    with faults(url):
        try:
            storage = RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}} if _is_sqlite(url) else {})
        except (ImportError, ValueError) as error:
            raise StudyError(f"study storage {hide_password(url)}: {hide_password(str(error))}") from None
        if _is_sqlite(url):
            sqlalchemy.event.listen(storage.engine, "connect", _pragmas)
            with storage.engine.connect() as connection:
                _pragmas(connection.connection.dbapi_connection, None)
        return storage


def _is_sqlite(url: str) -> bool:
    return url.startswith("sqlite")


def _pragmas(connection: Any, record: object) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def create_study(storage: RDBStorage, name: str, config: Mapping[str, Any]) -> optuna.Study:
    """A new study for (val_accuracy up, params down) that carries `config` (plain values).

    Raises:
        StudyError: a study of this name exists.
    """
    try:
        study = optuna.create_study(study_name=name, storage=storage, directions=["maximize", "minimize"])
    except optuna.exceptions.DuplicatedStudyError:
        raise StudyError(f"study {name!r} exists: add --resume to go on with it, or choose another --study") from None
    name_metrics(study)
    study.set_user_attr(_CONFIG, json.dumps(config))
    return study


def name_metrics(study: optuna.Study) -> None:
    """Say what the two objectives are called, for the dashboard."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(METRICS)


def load_study(storage: RDBStorage, name: str) -> tuple[optuna.Study, dict[str, Any]]:
    """An existing study and the config it carries.

    Raises:
        StudyError: no study of this name, or one that archsearch did not make.
    """
    try:
        study = optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        raise StudyError(f"there is no study {name!r} in this storage") from None
    config = study.user_attrs.get(_CONFIG)
    if config is None:
        raise StudyError(f"study {name!r} was not made by archsearch")
    return study, json.loads(config)


def status(trial: FrozenTrial) -> str | None:
    """What became of a candidate: running, complete, stopped, failed, withdrawn or lost; None: no trial of ours."""
    attrs = trial.user_attrs
    if "arch" not in attrs:
        return None
    if not trial.state.is_finished():
        return "running"
    if trial.state == TrialState.FAIL and FATE in attrs:
        return str(attrs[FATE])
    return str(attrs.get(RESULT, attrs)["state"])


def records(study: optuna.Study) -> list[Record]:
    """Every finished candidate of a study, by trial number."""
    trials = study.get_trials(deepcopy=False, states=tuple(STATES.values()))
    return [record_of(trial) for trial in trials if status(trial) in STATES]


def record_of(trial: FrozenTrial) -> Record:
    """The record of a finished candidate."""
    names = {item.name for item in fields(Record)}
    attrs = {**trial.user_attrs, **trial.user_attrs.get(RESULT, {})}
    return Record(**{name: value for name, value in attrs.items() if name in names}, trial=trial.number)


def add_reference(study: optuna.Study, record: Record) -> None:
    """Keep a reference network's record with the study, outside its trials."""
    rows = [asdict(row) for row in (*stored_references(study), record)]
    study.set_user_attr(_REFERENCES, json.dumps(rows))


def stored_references(study: optuna.Study) -> list[Record]:
    """The reference networks that were trained beside the study's trials."""
    return [Record(**row) for row in json.loads(study.user_attrs.get(_REFERENCES, "[]"))]


def add_retrained(study: optuna.Study, row: Retrained) -> None:
    """Keep what a retraining measured with the study; an earlier one of the same network and seed is replaced."""
    study.set_user_attr(f"{_RETRAINED}{row.arch}:{row.seed}", asdict(row))


def drop_retrained(study: optuna.Study, arch: str) -> None:
    """Forget all retrainings of a network."""
    for row in stored_retrained(study):
        if row.arch == arch:
            study.set_user_attr(f"{_RETRAINED}{row.arch}:{row.seed}", None)


def stored_retrained(study: optuna.Study) -> list[Retrained]:
    """Every retraining of a study's networks, by network and seed."""
    rows = [Retrained(**row) for name, row in study.user_attrs.items() if name.startswith(_RETRAINED) and row]
    return sorted(rows, key=lambda row: (row.arch, row.seed))


def study_names(storage: RDBStorage) -> list[str]:
    """The studies of a storage."""
    return optuna.get_all_study_names(storage)


def open_existing(folder: Path) -> tuple[optuna.Study, dict[str, Any]]:
    """The study in a results folder, and its config. Raises StudyError."""
    url = sqlite_url(folder / "study.db")
    with faults(url):
        storage = open_storage(url)
        found = study_names(storage)
        return load_study(storage, folder.name if folder.name in found or len(found) != 1 else found[0])
