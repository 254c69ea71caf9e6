"""What lies where a study's storage is to be in a file: nothing of another program's is written to."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import sqlalchemy

_JOURNAL = b'{"op_code"'
_OPTUNA = {"version_info", "study_directions", "trial_values"}
_PAGE = 512
"""Bytes of the smallest page, and so of the smallest database. SQLite takes anything shorter for an empty one."""
_SHOWN = 3
_OTHER = "name another file"


def check_storage_file(url: str) -> None:
    """Refuse a file of something else, for `sqlite:` and `journal:`; other storages are no files.

    Raises:
        ValueError: the file is no storage of Optuna's, or no file at all; its message gives the reason alone.
        OSError: it can't be read.
    """
    kind, _, place = url.partition(":")
    if kind == "journal":
        path = Path(place)
        if _is_there(path):
            _check_journal(path)
    elif kind.startswith("sqlite"):
        path = _sqlite_path(url)
        if _is_there(path):
            _check_database(path)


def _sqlite_path(url: str) -> Path:
    database = sqlalchemy.make_url(url).database or ""
    if database in ("", ":memory:", "file::memory:") or "mode=memory" in url:
        raise ValueError("a database in memory, where no worker process finds it: name a file: sqlite:///study.db")
    return Path(unquote(urlsplit(database).path) if database.startswith("file:") else database)


def _is_there(path: Path) -> bool:
    """Whether the file exists and is not empty. Raises ValueError for what is no file."""
    if not path.exists():
        if not path.parent.is_dir():
            raise ValueError(f"there is no folder {path.parent}: make it first")
        return False
    if not path.is_file():
        raise ValueError(f"{path} is {'a folder' if path.is_dir() else 'no file'}: {_OTHER}")
    return path.stat().st_size > 0


def _check_journal(path: Path) -> None:
    with path.open("rb") as file:
        found = file.read(len(_JOURNAL))
    if found != _JOURNAL:
        raise ValueError(f"file is not a journal of Optuna's, it begins with {found!r}: {_OTHER}")


def _check_database(path: Path) -> None:
    """Refuse what is no database, and that of another program, to which Optuna would add its tables in silence.

    The file is opened by SQLite alone: to close it any other way drops the locks that this process holds on it
    (sqlite.org/howtocorrupt.html, 2.2).
    """
    if path.stat().st_size < _PAGE:
        raise ValueError(f"file is not a database, which has at least {_PAGE} bytes: {_OTHER}")
    uri = f"file:{quote(str(path.absolute()))}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=60)) as connection:
            rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
    except sqlite3.DatabaseError as error:
        raise ValueError(f"{error}: {_OTHER}") from None
    tables = [str(row[0]) for row in rows]
    if tables and not _OPTUNA & set(tables):
        shown = ", ".join(tables[:_SHOWN]) + (", ..." if len(tables) > _SHOWN else "")
        raise ValueError(f"{path} is the database of another program, with tables {shown}: {_OTHER}")
