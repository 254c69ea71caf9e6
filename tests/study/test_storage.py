"""The study's storage: what a record keeps, errors in one line, no password anywhere."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import optuna
import pytest
from optuna.distributions import IntDistribution
from optuna.trial import TrialState
from studies import config

from archsearch._utils.passwords import hide_password, without_secrets
from archsearch.errors import StudyError
from archsearch.network.budget import LimitCheck, Verdict
from archsearch.study.leases import Seat, finish, make_claim
from archsearch.study.records import Draw, Record
from archsearch.study.storage import (
    create_study,
    load_study,
    open_existing,
    open_storage,
    records,
    sqlite_url,
    study_names,
)

FITS = Verdict((LimitCheck("params", 1000.0, 900), LimitCheck("size_bytes", 8000.0, 4000)))
WIDTH = {"stem.width": IntDistribution(4, 16)}


def record(arch: str = "0123456789ab", **changes: object) -> Record:
    values: dict[str, object] = {
        "arch": arch, "val_accuracy": 0.9375, "params": 900, "size_bytes": 4000, "macs": 7000,
        "peak_activation_bytes": 640, "epochs": 2, "train_seconds": 1.25, "trial": -1, "seed": 7,
        "summary": "conv8 | linear", "curve": [[1, 0.5], [2, 0.9375]],
    }  # fmt: skip
    return Record(**{**values, **changes})


def add(study: optuna.Study, row: Record, verdict: Verdict = FITS) -> Record:
    done = finish(study, make_claim(study, row, Draw({"stem.width": 8}, WIDTH), verdict, Seat()), row)
    assert done
    return done


@pytest.fixture
def study(tmp_path: Path) -> optuna.Study:
    return create_study(open_storage(sqlite_url(tmp_path / "study.db")), "s", config(seed=7))


def again(tmp_path: Path) -> optuna.Study:
    return load_study(open_storage(sqlite_url(tmp_path / "study.db")), "s")[0]


def test_a_record_comes_back_as_it_was(study: optuna.Study, tmp_path: Path) -> None:
    rows = [
        record(),
        record("1" * 12, state="stopped", reason="weak", val_accuracy=0.25),
        record("2" * 12, state="failed", reason="not finite", val_accuracy=None, curve=[]),
    ]
    kept = [add(study, row) for row in rows]
    assert [row.trial for row in kept] == [0, 1, 2]
    assert records(again(tmp_path)) == kept == records(study)
    assert [row.curve for row in kept] == [row.curve for row in rows]
    states = [trial.state for trial in again(tmp_path).get_trials()]
    assert states == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]


def test_a_trial_is_readable_and_feasible_in_the_dashboard(study: optuna.Study, tmp_path: Path) -> None:
    add(study, record())
    trial = again(tmp_path).trials[0]
    assert trial.values == [0.9375, 900]
    assert trial.params == {"stem.width": 8}
    assert trial.system_attrs["constraints"] == pytest.approx([-0.1, -0.5])
    assert (trial.constraints["params"], trial.constraints["size_bytes"]) == pytest.approx((-0.1, -0.5))
    assert {"arch", "summary", "size_bytes", "macs"} <= set(trial.user_attrs)
    assert trial.user_attrs["result"]["epochs"] == 2
    assert trial.user_attrs["summary"] == "conv8 | linear"
    assert trial.duration is not None


def test_without_limits_a_trial_is_feasible(study: optuna.Study) -> None:
    add(study, record(), Verdict(()))
    assert study.trials[0].system_attrs["constraints"] == []
    assert study.best_trials[0].number == 0


def test_objectives_have_names_and_directions(study: optuna.Study, tmp_path: Path) -> None:
    assert again(tmp_path).metric_names == ["val_accuracy", "params"]
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]


def test_a_study_carries_its_config(study: optuna.Study, tmp_path: Path) -> None:
    assert load_study(open_storage(sqlite_url(tmp_path / "study.db")), "s")[1] == config(seed=7)
    assert open_existing(tmp_path)[1] == config(seed=7)


def test_a_name_is_taken_once(study: optuna.Study, tmp_path: Path) -> None:
    storage = open_storage(sqlite_url(tmp_path / "study.db"))
    with pytest.raises(StudyError, match="'s' exists: add --resume"):
        create_study(storage, "s", config())
    create_study(storage, "t", config())
    assert sorted(study_names(storage)) == ["s", "t"]


def test_a_study_that_is_missing_or_another_programs(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "study.db")
    optuna.create_study(study_name="theirs", storage=url)
    with pytest.raises(StudyError, match="'theirs' was not made by archsearch"):
        load_study(open_storage(url), "theirs")
    with pytest.raises(StudyError, match="there is no study 'mine'"):
        load_study(open_storage(url), "mine")


def test_trials_of_others_in_the_study_are_no_records(study: optuna.Study) -> None:
    add(study, record())
    study.add_trial(optuna.trial.create_trial(values=[0.1, 5.0]))
    study.enqueue_trial({"stem.width": 4})
    assert [row.arch for row in records(study)] == ["0123456789ab"]


def test_sqlite_has_a_write_ahead_log(study: optuna.Study, tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "study.db")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


@pytest.mark.parametrize("folder", ["with space", "100%", "a%20b", "ünï", "a#b", "a;b", "a?b", "a@b:c"])
def test_folders_of_any_name(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir()
    create_study(open_storage(sqlite_url(tmp_path / folder / "study.db")), "s", config())
    assert (tmp_path / folder / "study.db").exists()
    assert open_existing(tmp_path / folder)[1] == config()


def test_a_renamed_folder_still_opens(study: optuna.Study, tmp_path: Path) -> None:
    assert tmp_path.name != "s"
    assert open_existing(tmp_path)[0].study_name == "s"


def test_no_database(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text("no database at all, " * 50)
    with pytest.raises(StudyError, match=r"study.db: file is not a database"):
        open_existing(tmp_path)


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("postgresql://me:secret@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("postgresql+psycopg2://me:s/e:c?r#et@host/db", "postgresql+psycopg2://me:***@host/db"),
        ("mysql://:secret@host/db", "mysql://:***@host/db"),
        ("run --storage 'mysql://me:secret@host/db' --seed 1", "run --storage 'mysql://me:***@host/db' --seed 1"),
        ("a://b:secret@c d://e:secret@f", "a://b:***@c d://e:***@f"),
        ("postgresql://host/db?user=me&password=secret&port=1", "postgresql://host/db?user=me&password=***&port=1"),
        ("postgresql://me:se@cr:e t@host/db", "postgresql://me:***@host/db"),
        ("run --storage 'mysql://me:se cr@et@host/db' --seed 1", "run --storage 'mysql://me:***@host/db' --seed 1"),
        ("run --storage mysql://me:se@cret@host/db --seed 1", "run --storage mysql://me:***@host/db --seed 1"),
        ("postgresql://host/db?sslpassword=sec@ret&port=1", "postgresql://host/db?sslpassword=***&port=1"),
        ("postgresql://me:secret@host/db?password=se@cret", "postgresql://me:***@host/db?password=***"),
        ("no: host=h password='se cret' user=me", "no: host=h password=*** user=me"),
        ("http://localhost:8080/ and a@b", "http://localhost:***@b"),  # rather too much
        ("sqlite:////home/me@host/study.db", "sqlite:////home/me@host/study.db"),
        ("sqlite:////tmp/study.db", "sqlite:////tmp/study.db"),
        ("postgresql://host:5432/db", "postgresql://host:5432/db"),
    ],
)
def test_passwords_are_hidden(text: str, hidden: str) -> None:
    assert hide_password(text) == hidden


@pytest.mark.parametrize("secret", ["hun@ter2", "hun ter2", "hun@te:r2", "hun/ter2", "hun%40ter2", "hun?t#er2", "ter2"])
@pytest.mark.parametrize(
    "form", ["postgresql+psycopg://me:{}@127.0.0.1:1/db", "postgresql+psycopg://127.0.0.1:1/db?password={}"]
)
def test_nothing_of_a_password_is_said(form: str, secret: str) -> None:
    """Whatever characters it has, and whatever the driver makes of them."""
    with pytest.raises(StudyError) as caught:
        open_storage(form.format(secret))
    said = str(caught.value)
    assert "***" in said
    assert not any(part in said for part in ("hun", "ter2", "te:r2", "t#er2", "er2"))


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite+pysqlite:///:memory:"])
def test_a_database_in_memory_is_refused(url: str) -> None:
    with pytest.raises(
        StudyError, match=r"in memory, where no worker process finds it: name a file: sqlite:///study\.db"
    ):
        open_storage(url)


def test_what_a_driver_says_has_no_secret() -> None:
    said = without_secrets('bad value "se@cret" or "se%40cret" in url', "postgresql://me:se%40cret@h/db")
    assert said == 'bad value "***" or "***" in url'


@pytest.mark.parametrize("url", ["nonsense", "postgres9://me:secret@host/db", "oracle+nothing://me:secret@host/db"])
def test_a_storage_that_cannot_be_opened_is_one_line(url: str) -> None:
    with pytest.raises(StudyError) as caught:
        open_storage(url)
    assert "\n" not in str(caught.value)
    assert hide_password(url) in str(caught.value)
    assert "secret" not in str(caught.value)
