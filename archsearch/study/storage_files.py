"""What lies where a study's storage is to be in a file: nothing of another program's is written to."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import sqlalchemy

_SQLITE = b"SQLite format 3\0"
_JOURNAL = b'{"op_code"'
_OPTUNA = {"version_info", "study_directions", "trial_values"}
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
        _check(Path(place), _JOURNAL, "journal of Optuna's")
    elif kind.startswith("sqlite"):
        path = _sqlite_path(url)
        _check(path, _SQLITE, "database")
        if path.exists() and path.stat().st_size:
            _check_tables(path)


def _sqlite_path(url: str) -> Path:
    database = sqlalchemy.make_url(url).database or ""
    if database in ("", ":memory:") or "mode=memory" in url:
        raise ValueError("a database in memory is gone with its process: name a file, such as sqlite:///study.db")
    return Path(unquote(urlsplit(database).path) if database.startswith("file:") else database)


def _check(path: Path, head: bytes, what: str) -> None:
    if not path.exists():
        if not path.parent.is_dir():
            raise ValueError(f"there is no folder {path.parent}: make it first")
        return
    if not path.is_file():
        raise ValueError(f"{path} is {'a folder' if path.is_dir() else 'no file'}: {_OTHER}")
    with path.open("rb") as file:
        found = file.read(len(head))
    if found and found != head:
        raise ValueError(f"file is not a {what}, it begins with {found!r}: {_OTHER}")


def _check_tables(path: Path) -> None:
    """Refuse the database of another program: Optuna would add its tables in silence."""
    uri = f"file:{quote(str(path.absolute()))}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=60)) as connection:
            rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
    except sqlite3.DatabaseError as error:
        raise ValueError(f"{path}: {error}: {_OTHER}") from None
    tables = [str(row[0]) for row in rows]
    if tables and not _OPTUNA & set(tables):
        shown = ", ".join(tables[:_SHOWN]) + (", ..." if len(tables) > _SHOWN else "")
        raise ValueError(f"{path} is the database of another program, with tables {shown}: {_OTHER}")
