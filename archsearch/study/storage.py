"""The study's storage: an Optuna study, the only record that must survive.

A trial is added whole when its candidate is claimed (see `leases`) and closed when that is finished. Its user
attributes hold the candidate's id, cost and history; the study's hold what rebuilds the search.
"""

from __future__ import annotations

import json
import warnings
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import optuna
import sqlalchemy
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from archsearch._utils.passwords import hide_url, without_secrets
from archsearch._utils.scores import ACCURACY, Score
from archsearch.errors import StudyError
from archsearch.sampler.asha import Rungs
from archsearch.study.config import StudyConfig
from archsearch.study.mending import mend
from archsearch.study.records import Record, Retrained, Terms, sound, stored
from archsearch.study.retrying import RetryingStorage, Waiter
from archsearch.study.storage_files import check_storage_file
from archsearch.study.store import lies_in, private_parts

DIRECTIONS = [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]
_CONFIG = "archsearch"
_POSTGRESQL = ("postgresql:", "postgresql+psycopg:", "postgresql+psycopg2:")
_LIBPQ = {"connect_timeout": 10, "keepalives_idle": 30, "keepalives_interval": 10, "tcp_user_timeout": 60_000}
_RULE = (
    "no URL of a database: write sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST/DB,"
    " with %40 %3A %2F %3F %23 %25 for @ : / ? # % in a password"
)
_TERMS, _REFERENCES = "terms", "references"
_RETRAINED = "retrained:"
_EXTRAS = ("postgresql", "mysql", "grpc")
STATES = {
    "complete": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
RESULT = "result"
"""User attribute of a finished trial: the fields of its record that training made, but for the curve."""
FATE = "fate"
"""User attribute of a claim that came to nothing: `withdrawn` or `lost`. It is no record."""


def sqlite_url(path: Path) -> str:
    """The storage URL of a SQLite file, whatever characters its folders have."""
    return sqlalchemy.URL.create("sqlite", database=str(path.absolute())).render_as_string()


def open_storage(url: str, *, wait: bool = False) -> BaseStorage:
    """Open (or create) a storage that waits while its database is away: an Optuna URL, `journal:FILE`, `grpc://HOST:PORT`.

    With `wait` it waits for the first connection too. One that is cut while it opens is a restart, and waited for.

    Raises:
        StudyError: no such database, no database at all, or no permission.
    """
    waiter = Waiter(url, connected=wait)
    inner = waiter.attempt(lambda: connect(url))
    waiter.connected = True
    return RetryingStorage(_cached(inner), waiter)


def connect(url: str) -> BaseStorage:
    """A storage as Optuna opens it. SQLite gets a write-ahead log, which readers do not block.

    Raises:
        StudyError: the URL makes no sense, or its driver is not installed.
        Exception: whatever the database says, in its own words.
    """
    check_storage(url)
    kind, _, place = url.partition(":")
    try:
        if kind == "journal":
            return _journal(place)
        if kind == "grpc":
            return _proxy(place)
        _check_url(url)
        return _database(url)
    except (ImportError, ValueError, RuntimeError, OSError) as error:
        raise StudyError(f"study storage {hide_url(url)}: {_reason(kind, error, url)}") from None


def check_storage(url: str) -> None:
    """Refuse a storage whose file holds something else, without opening it. Raises StudyError."""
    try:
        check_storage_file(url)
    except (ValueError, OSError, sqlalchemy.exc.ArgumentError) as error:
        kind = url.partition(":")[0]
        raise StudyError(f"study storage {hide_url(url)}: {_reason(kind, error, url)}") from None


def _check_url(url: str) -> None:
    """Raise StudyError for what is no URL, or another one than is meant, before a driver says parts of it."""
    try:
        read = sqlalchemy.make_url(url)
        plain = not {*"@ "} & {*(read.host or "")} and not {*"?="} <= {*(read.password or "")}
    except (sqlalchemy.exc.ArgumentError, ValueError):
        plain = False
    if not plain:
        raise StudyError(f"study storage {hide_url(url)}: {_RULE}")


def _reason(kind: str, error: Exception, url: str) -> str:
    missing = error if isinstance(error, ModuleNotFoundError) else error.__cause__
    if isinstance(missing, ModuleNotFoundError):
        extra = next((f": pip install 'archsearch[{name}]'" for name in _EXTRAS if kind.startswith(name)), "")
        return f"needs the package {missing.name}{extra}"
    said = str(getattr(error, "strerror", None) or (str(error).splitlines() or [""])[0])
    return without_secrets(said, url)


def _database(url: str) -> RDBStorage:
    parts = None if _is_sqlite(url) else private_parts()
    kind = parts.Database if parts else RDBStorage
    storage: RDBStorage = kind(url, engine_kwargs={"connect_args": _connect_args(url)})
    weakref.finalize(storage, storage.engine.dispose)  # a driver may warn of connections that nobody has closed
    if _is_sqlite(url):
        sqlalchemy.event.listen(storage.engine, "connect", _pragmas)
        with storage.engine.connect() as connection:
            _pragmas(connection.connection.dbapi_connection, None)
        mend(storage.engine)
    return storage


def _cached(storage: BaseStorage) -> BaseStorage:
    """A database with what its process remembers of it; any other storage as it is."""
    parts = private_parts()
    if parts and isinstance(storage, parts.Database):
        return cast(BaseStorage, parts.StudyCache(storage))
    wrap = getattr(optuna.storages, "get_storage", None)  # Optuna's documentation calls it internal
    return storage if wrap is None else cast(BaseStorage, wrap(storage))


def _connect_args(url: str) -> dict[str, int]:
    """How long to wait for a lock, or for a host that does not answer."""
    if _is_sqlite(url):
        return {"timeout": 60}
    return {name: n for name, n in _LIBPQ.items() if name not in url} if url.startswith(_POSTGRESQL) else {}


def _journal(path: str) -> BaseStorage:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(path))


@contextmanager
def experimental() -> Iterator[None]:
    """Within it, Optuna does not warn that what is called is new: that is no news to who searches."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def _proxy(place: str) -> BaseStorage:
    address = urlsplit(place)
    with experimental():
        proxy = optuna.storages.GrpcStorageProxy(host=address.hostname or "localhost", port=address.port or 13000)
    proxy.get_all_studies()  # it connects with the first question
    return proxy


def _is_sqlite(url: str) -> bool:
    return url.startswith("sqlite")


def _pragmas(connection: Any, record: object) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def create_study(storage: BaseStorage, name: str, config: StudyConfig, *, resume: bool = False) -> optuna.Study:
    """A new study for (score up, params down) that carries `config`.

    With `resume` it may exist, if whoever made it was killed before it carried anything.

    Raises:
        StudyError: a study of this name exists.
    """
    try:
        study = optuna.create_study(study_name=name, storage=storage, directions=DIRECTIONS, load_if_exists=resume)
    except optuna.exceptions.DuplicatedStudyError:
        raise StudyError(f"study {name!r} exists: add --resume to go on with it, or choose another --study") from None
    name_metrics(study, config.score)
    lies_in(study, storage)
    study.set_user_attr(_CONFIG, json.dumps(config.to_json()))
    return study


def is_empty(storage: BaseStorage, name: str) -> bool:
    """Whether a study carries nothing and has no trials: its maker was killed while it made it."""
    study = optuna.load_study(study_name=name, storage=storage)
    return study.directions == DIRECTIONS and _CONFIG not in study.user_attrs and not study.get_trials(deepcopy=False)


def name_metrics(study: optuna.Study, score: Score | None = None) -> None:
    """Say what the two objectives are called, for the dashboard; the first is accuracy unless it is another."""
    with experimental():
        study.set_metric_names([(score or Score()).objective, "params"])


def score_of(study: optuna.Study) -> Score:
    """What a study maximises, in words; accuracy where it does not say."""
    return Score(json.loads(study.user_attrs.get(_CONFIG, "{}")).get("metric", ACCURACY))


def load_study(storage: BaseStorage, name: str) -> tuple[optuna.Study, StudyConfig]:
    """An existing study and the config it carries.

    Raises:
        StudyError: no study of this name, one that archsearch did not make, or a newer archsearch made.
    """
    try:
        study = lies_in(optuna.load_study(study_name=name, storage=storage), storage)
    except KeyError:
        held = ", ".join(study_names(storage)[:5]) or "none"
        raise StudyError(
            f"there is no study {name!r} in this storage: `archsearch run --study {name}` makes it; there now: {held}"
        ) from None
    carried = study.user_attrs.get(_CONFIG)
    if carried is None:
        raise StudyError(f"study {name!r} was not made by archsearch")
    try:
        return study, StudyConfig.from_json(json.loads(carried))
    except StudyError as error:
        raise StudyError(f"study {name!r} {error}") from None


def kept_config(folder: Path, url: str | None) -> StudyConfig | None:
    """What the study of a folder (its name is the study's) carries, None where none was begun. Raises StudyError.

    `url`: its storage; None: SQLite in the folder.
    """
    if url is None and not (folder / "study.db").is_file():
        return None
    storage = open_storage(url or sqlite_url(folder / "study.db"))
    if folder.name not in study_names(storage) or is_empty(storage, folder.name):
        return None
    return load_study(storage, folder.name)[1]


def set_terms(study: optuna.Study, terms: Terms) -> None:
    """Let the study carry these terms. All workers heed the total at once, the rest only who joins from now on."""
    study.set_user_attr(_TERMS, json.dumps(asdict(terms)))


def terms_of(study: optuna.Study) -> Terms:
    """The terms of the last `run`. Raises StudyError if there was none since format 2."""
    carried = study.user_attrs.get(_TERMS)
    if carried is None:
        raise StudyError(f"study {study.study_name!r} was made by an older archsearch: `run --resume` it first")
    values = json.loads(carried)
    return Terms(**{**values, "rungs": values["rungs"] and Rungs(**values["rungs"])})


def status(trial: FrozenTrial) -> str | None:
    """What became of a candidate: running, complete, stopped, failed, withdrawn or lost; None: no trial of ours."""
    attrs = trial.user_attrs
    if "arch" not in attrs:
        return None
    if not trial.state.is_finished():
        return "running"
    if trial.state == TrialState.FAIL and FATE in attrs:
        return str(attrs[FATE])
    return "failed" if trial.state == TrialState.FAIL else str(attrs.get(RESULT, attrs)["state"])


def records(study: optuna.Study) -> list[Record]:
    """Every finished candidate of a study, by trial number."""
    trials = study.get_trials(deepcopy=False, states=tuple(STATES.values()))
    return [record_of(trial) for trial in trials if status(trial) in STATES]


def record_of(trial: FrozenTrial) -> Record:
    """The record of a finished candidate."""
    names = {item.name for item in fields(Record)}
    attrs = {**trial.user_attrs, **trial.user_attrs.get(RESULT, {})}
    return sound(Record(**{name: value for name, value in attrs.items() if name in names}, trial=trial.number))


def add_reference(study: optuna.Study, record: Record) -> None:
    """Keep a reference network's record with the study, outside its trials."""
    rows = [stored(asdict(row)) for row in (*stored_references(study), record)]
    study.set_user_attr(_REFERENCES, json.dumps(rows))


def stored_references(study: optuna.Study) -> list[Record]:
    """The reference networks that were trained beside the study's trials."""
    return [Record(**row) for row in json.loads(study.user_attrs.get(_REFERENCES, "[]"))]


def add_retrained(study: optuna.Study, row: Retrained) -> None:
    """Keep what a retraining measured with the study; an earlier one of the same network and seed is replaced."""
    study.set_user_attr(f"{_RETRAINED}{row.arch}:{row.seed}", stored(asdict(row)))


def drop_retrained(study: optuna.Study, arch: str) -> None:
    """Forget all retrainings of a network."""
    for row in stored_retrained(study):
        if row.arch == arch:
            study.set_user_attr(f"{_RETRAINED}{row.arch}:{row.seed}", None)


def stored_retrained(study: optuna.Study) -> list[Retrained]:
    """Every retraining of a study's networks, by network and seed."""
    rows = [Retrained(**row) for name, row in study.user_attrs.items() if name.startswith(_RETRAINED) and row]
    return sorted(rows, key=lambda row: (row.arch, row.seed))


def study_names(storage: BaseStorage) -> list[str]:
    """The studies of a storage."""
    return optuna.get_all_study_names(storage)


def open_existing(folder: Path) -> tuple[optuna.Study, StudyConfig]:
    """The study in a results folder, and its config. Raises StudyError."""
    storage = open_storage(sqlite_url(folder / "study.db"))
    found = study_names(storage)
    return load_study(storage, folder.name if folder.name in found or len(found) != 1 else found[0])
