"""A search without Optuna's private parts finds what one with them finds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import optuna
import pandas as pd
import pytest
from postgres import Postgres
from studies import config

import archsearch.study
from archsearch.errors import StudyError
from archsearch.study import store
from archsearch.study.storage import connect, create_study, open_storage, sqlite_url

PRIVATE = re.compile(r"\b_(storage|study_id|trial_id|backend|get_trials|CachedStorage|StudyInfo|rdb)\b")
MAIN = "from archsearch.cli import main; main()"
SAME = ["arch", "val_accuracy", "params"]
FOUR = """[stem]
type = "conv"
width = 4
[[stage]]
block = { choice = ["basic", "nin"] }
width = { choice = [8, 12] }
stride = 2
[head]
type = "linear"
"""


def run(folder: Path, *options: str, plain: bool) -> pd.DataFrame:
    """The front of `archsearch run` in a process of its own."""
    command = [sys.executable, "-c", MAIN, "run", "--max-params", "20k", "--epochs", "1", "--study", "s"]
    environment = {**os.environ, store.PLAIN: "1" if plain else "0"}
    done = subprocess.run(
        [*command, "--out", str(folder), *options], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return pd.read_csv(folder / "s" / "pareto.csv")[SAME]


@pytest.mark.slow
def test_the_main_job_and_its_resume_find_the_same_without(tmp_path: Path) -> None:
    for options in (["--trials", "3"], ["--trials", "4", "--resume"]):
        fast, plain = (run(tmp_path / str(plain), *options, plain=plain) for plain in (False, True))
        pd.testing.assert_frame_equal(fast, plain)


@pytest.mark.slow
def test_two_workers_find_the_same_without(tmp_path: Path) -> None:
    """They train every network of the space: which of them is first decides nothing."""
    (tmp_path / "four.toml").write_text(FOUR)
    options = ["--trials", "4", "--workers", "2", "--no-rungs", "--space", str(tmp_path / "four.toml")]
    fast, plain = (run(tmp_path / str(plain), *options, plain=plain) for plain in (False, True))
    assert len(pd.read_csv(tmp_path / "True" / "s" / "trials.csv")) == 4
    pd.testing.assert_frame_equal(fast, plain)


def test_a_study_without_optunas_cache_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(optuna.storages, "get_storage")
    storage = open_storage(sqlite_url(tmp_path / "s.db"))
    assert type(storage.inner) is optuna.storages.RDBStorage
    assert storage.get_all_studies() == []


@pytest.mark.slow
def test_a_server_finds_the_same_without(tmp_path: Path, postgres: Postgres) -> None:
    fast, plain = (
        run(tmp_path / str(plain), "--trials", "3", "--storage", postgres.database(), plain=plain)
        for plain in (False, True)
    )
    pd.testing.assert_frame_equal(fast, plain)


@pytest.mark.parametrize("version", ["5.1.0", "6.0.0", "4.9.0"])
def test_untested_versions_go_without(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert store.private_parts() is not None
    monkeypatch.setattr(optuna, "__version__", version)
    assert store.private_parts() is None


def test_a_part_that_is_gone_goes_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(archsearch.study, "optuna_private", raising=False)
    monkeypatch.setitem(sys.modules, "archsearch.study.optuna_private", None)
    assert store.private_parts() is None


def test_sqlite_is_optunas_own_storage(tmp_path: Path) -> None:
    assert type(connect(sqlite_url(tmp_path / "s.db"))) is optuna.storages.RDBStorage


def test_a_study_of_others_is_told_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(store.PLAIN, "1")
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(storage=storage, directions=["maximize", "minimize"])
    with pytest.raises(StudyError, match=r"does not tell where it lies: pass storage="):
        store.store_of(study)
    assert store.store_of(store.lies_in(study, storage)).storage is storage
    ours = create_study(open_storage(sqlite_url(tmp_path / "s.db")), "s", config())
    assert store.store_of(ours).trial_id(ours.ask().number) > 0


def test_private_names_stand_in_one_module() -> None:
    package = Path(str(archsearch.__file__)).parent
    found = {path.name for path in package.rglob("*.py") if PRIVATE.search(path.read_text())}
    assert found == {"optuna_private.py"}
