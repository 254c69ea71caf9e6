"""A storage in a file of something else is refused in one line, and the file stays as it is."""

from __future__ import annotations

import os
import re
import sqlite3
from pathlib import Path

import optuna
import pytest

from archsearch.errors import StudyError
from archsearch.study.storage import check_storage, open_storage, study_names

optuna.logging.set_verbosity(optuna.logging.ERROR)
BLOB = bytes(range(256)) * 8


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refused(url: str, words: str) -> None:
    files = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    for check in (check_storage, open_storage):
        with pytest.raises(StudyError, match=re.escape(words)) as caught:
            check(url)
        assert str(caught.value).startswith(f"study storage {url}: ")
        assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == files


@pytest.mark.parametrize("content", [b"x", b"x" * 511, BLOB, b"SQLite format 2\0" + BLOB, b"SQLite"], ids=len)
@pytest.mark.parametrize("url", ["sqlite:///study.db", "sqlite:///file:study.db?uri=true"])
def test_what_is_no_database_is_not_overwritten(content: bytes, url: str) -> None:
    Path("study.db").write_bytes(content)
    refused(url, "file is not a database")


def test_a_damaged_database_is_not_overwritten() -> None:
    Path("study.db").write_bytes(b"SQLite format 3\0" + BLOB)
    refused("sqlite:///study.db", "name another file")


def test_the_database_of_another_program_gets_no_tables() -> None:
    with sqlite3.connect("clinic.db") as database:
        for name in ("patients", "studies", "visits", "wards"):
            database.execute(f"CREATE TABLE {name} (id)")
    database.close()
    refused("sqlite:///clinic.db", "is the database of another program, with tables patients, studies, visits, ...")


@pytest.mark.parametrize("content", [b"x", b"{}\n", b"SQLite format 3\0"])
def test_what_is_no_journal_is_not_written_to(content: bytes) -> None:
    Path("study.log").write_bytes(content)
    refused("journal:study.log", "file is not a journal of Optuna's, it begins with")


@pytest.mark.parametrize("kind", ["sqlite:///", "journal:"])
def test_what_is_no_file(kind: str) -> None:
    Path("folder").mkdir()
    os.mkfifo("pipe")
    refused(f"{kind}folder", "folder is a folder: name another file")
    refused(f"{kind}pipe", "pipe is no file: name another file")
    refused(f"{kind}none/study", "there is no folder none: make it first")


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true"])
def test_memory_is_no_storage_of_a_run(url: str) -> None:
    refused(url, "a database in memory, where no worker process finds it: name a file")


@pytest.mark.parametrize("kind", ["sqlite:///", "journal:"])
@pytest.mark.parametrize("empty", [False, True])
def test_new_and_empty_files_are_taken_and_opened_again(kind: str, empty: bool) -> None:
    """`mktemp` makes an empty one."""
    if empty:
        Path("study").touch()
    optuna.create_study(study_name="s", storage=open_storage(f"{kind}study"), direction="maximize")
    assert study_names(open_storage(f"{kind}study")) == ["s"]


def test_a_database_without_tables_is_taken() -> None:
    with sqlite3.connect("study.db") as database:
        database.execute("PRAGMA user_version = 1")
    database.close()
    assert study_names(open_storage("sqlite:///study.db")) == []
