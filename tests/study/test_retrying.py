"""A storage that goes away: who waits, how long, what is said, and that nothing is lost or doubled."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from claims import SPACE, claim, last, record
from optuna.exceptions import StorageInternalError
from optuna.storages import InMemoryStorage
from postgres import Postgres, query
from studies import config

from archsearch import search
from archsearch.errors import StudyError
from archsearch.network.budget import Budget
from archsearch.study import retrying
from archsearch.study.leases import BEAT, STALE, Board, beating, finish, lose, withdraw
from archsearch.study.retrying import RetryingStorage, Waiter, is_passing, waiter_of
from archsearch.study.storage import connect, create_study, load_study, open_storage, records, sqlite_url, status
from archsearch.study.store import store_of

AWAY = "postgresql+psycopg://me:secret@127.0.0.1:1/db"
URL = "postgresql+psycopg://me:***@127.0.0.1:1/db"


def refusal() -> Exception:
    """What a database says that is not there."""
    try:
        connect(AWAY)
    except sqlalchemy.exc.OperationalError as error:
        return error
    raise AssertionError("somebody listens on port 1")


class Clock:
    """Time that passes by sleeping alone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.pauses = 1000.0, []
        monkeypatch.setattr(retrying.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(retrying.time, "sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


class Flaky:
    """Fails so many times, then answers."""

    def __init__(self, times: int, error: Exception) -> None:
        self.left, self.error = times, error

    def __call__(self) -> str:
        self.left -= 1
        if self.left >= 0:
            raise self.error
        return "answer"


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_call_is_made_again_until_the_database_is_back(monkeypatch: pytest.MonkeyPatch, wrapped: bool) -> None:
    clock, said, error = Clock(monkeypatch), list[str](), refusal()
    if wrapped:
        outer = StorageInternalError("An exception is raised during the commit.")
        outer.__cause__, error = error, outer
    waiter = Waiter(AWAY)
    waiter.told = said.append
    assert waiter.attempt(Flaky(20, error)) == "answer"
    assert len(clock.pauses) == 20
    assert 2.5 <= max(clock.pauses) <= 5
    assert len(said) == 1
    assert "secret" not in said[0]
    assert said[0].startswith(f"study storage {URL}: connection failed")
    assert said[0].endswith("waiting for it, 10 minutes at most")
    assert 1000 < waiter.disturbed < clock.now


def test_patience_ends_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    with pytest.raises(StudyError) as caught:
        Waiter(AWAY).attempt(Flaky(10**6, refusal()))
    assert 600 <= clock.now - 1000 < 610
    assert str(caught.value).startswith(f"study storage {URL}: connection failed")
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_what_the_database_refuses_is_not_asked_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clock = Clock(monkeypatch)
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection, pytest.raises(sqlite3.OperationalError) as no_table:
        connection.execute("SELECT * FROM missing")
    error = sqlalchemy.exc.OperationalError("SELECT", {}, no_table.value)
    with pytest.raises(StudyError, match=r"^study storage sqlite:///x: no such table: missing$"):
        Waiter("sqlite:///x").attempt(Flaky(1, error))
    with pytest.raises(KeyError):
        Waiter(AWAY).attempt(Flaky(1, KeyError("an answer, not a fault")))
    assert clock.pauses == []


def test_a_locked_sqlite_file_is_waited_for(tmp_path: Path) -> None:
    with (
        closing(sqlite3.connect(tmp_path / "a.db")) as one,
        closing(sqlite3.connect(tmp_path / "a.db", timeout=0)) as two,
    ):
        one.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError) as locked:
            two.execute("BEGIN EXCLUSIVE")
    assert is_passing(sqlalchemy.exc.OperationalError("BEGIN", {}, locked.value))


@pytest.mark.parametrize("url", [AWAY, "grpc://127.0.0.1:1"])
def test_at_the_start_nobody_waits(url: str) -> None:
    clock = time.monotonic()
    with pytest.raises(StudyError, match=r"study storage .*127\.0\.0\.1:1"):
        open_storage(url)
    assert time.monotonic() - clock < 60


def test_a_database_that_restarts_while_it_is_opened_is_waited_for(postgres: Postgres) -> None:
    url, restarts = postgres.database(), list[threading.Thread]()

    def restart(connection: Any, record: object) -> None:
        if not restarts:
            postgres.stop("fast")
            restarts.append(threading.Timer(2, postgres.start))
            restarts[0].start()

    sqlalchemy.event.listen(sqlalchemy.engine.Engine, "connect", restart)
    try:
        storage = open_storage(url)
    finally:
        sqlalchemy.event.remove(sqlalchemy.engine.Engine, "connect", restart)
        restarts[0].join()
    assert waiter_of(storage).disturbed > 0
    assert create_study(storage, "s", config()).trials == []


def test_a_connection_that_breaks_within_a_read_is_an_outage(postgres: Postgres) -> None:
    """Optuna catches the error and asks again in the broken transaction, which is another error."""
    url = postgres.database()
    study = create_study(open_storage(url), "s", config())
    broken: list[int] = []

    def terminate(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if "FROM trials" in statement and not broken:
            broken.append(connection.connection.dbapi_connection.info.backend_pid)
            query(url, f"SELECT pg_terminate_backend({broken[0]})")

    said: list[str] = []
    waiter_of(store_of(study).storage).told = said.append
    sqlalchemy.event.listen(sqlalchemy.engine.Engine, "before_cursor_execute", terminate)
    try:
        assert Board(study).trials == []
    finally:
        sqlalchemy.event.remove(sqlalchemy.engine.Engine, "before_cursor_execute", terminate)
    assert len(broken) == len(said) == 1


class Forgetful(InMemoryStorage):
    """Does what it is told, and loses the first answer to `lost` on the way."""

    def __init__(self, lost: str) -> None:
        super().__init__()
        self.lost = lost

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name != "lost" and name == self.lost:
            self.lost = ""

            def call(*args: Any, **options: Any) -> None:
                found(*args, **options)
                raise refusal()

            return call
        return found


def forgetful() -> tuple[optuna.Study, Forgetful]:
    storage = Forgetful("")
    return create_study(RetryingStorage(storage, Waiter(AWAY)), "s", config()), storage


def test_a_claim_whose_answer_was_lost_is_one_claim() -> None:
    study, storage = forgetful()
    storage.lost = "create_new_trial"
    made = claim(study)
    assert [status(trial) for trial in study.get_trials()] == ["running"] * 2
    board = Board(study)
    settled = board.settle(made)
    assert settled.number == 0
    board.read()
    assert board.stands(settled, "a" * 12, 9, board_seat()) == ""
    assert [status(trial) for trial in study.get_trials()] == ["running", "withdrawn"]
    assert finish(study, settled, record()) is not None
    assert [row.trial for row in records(study)] == [0]


def board_seat() -> Any:
    from archsearch.study.leases import Seat

    return Seat()


@pytest.mark.parametrize("lost", ["set_trial_state_values", "set_trial_user_attr"])
def test_a_result_whose_answer_was_lost_is_a_result(lost: str) -> None:
    study, storage = forgetful()
    made = claim(study)
    storage.lost = lost
    done = finish(study, made, record())
    assert done is not None
    assert records(study) == [done]
    again = claim(study, "b" * 12)
    storage.lost = lost
    assert withdraw(study, again.trial_id)
    assert status(last(study)) == "withdrawn"


def test_what_somebody_else_has_closed_is_not_ours() -> None:
    study, _ = forgetful()
    made = claim(study)
    lose(study, Board(study).running[0], "gone")
    assert finish(study, made, record()) is None
    assert not withdraw(study, made.trial_id)


def test_a_search_goes_on_over_lost_answers() -> None:
    """Every kind of write loses its answer once, somewhere in a search: each network is trained once."""
    calls: list[str] = []
    study, storage = forgetful()
    losses = iter(["create_new_trial", "set_trial_state_values", "set_trial_user_attr", "create_new_trial", "", ""])

    def evaluate(arch: Any, report: Any) -> float:
        calls.append(arch.id)
        storage.lost = next(losses)
        return 0.5

    found = search(SPACE, evaluate=evaluate, input_shape=(1, 8, 8), classes=4, study=study, trials=6, sampler="random")
    assert len(calls) == len(set(calls)) == len(found.records) == 6
    assert {row.state for row in found.records} == {"complete"}
    assert not Board(study).running


def test_after_an_outage_everybody_has_time_to_show_that_he_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    study, _ = forgetful()
    waiter, now = waiter_of(store_of(study).storage), 1000.0
    claim(study)
    monkeypatch.setattr("archsearch.study.leases.time.monotonic", lambda: now)
    board = Board(study)
    assert board.stale() == []
    now += 300
    waiter.disturbed = now - 1
    assert board.stale() == []
    now += STALE - 2
    assert board.stale() == []
    now += 2
    assert len(board.stale()) == 1
    assert STALE > 4 * BEAT


def test_a_postgresql_that_restarts_is_a_pause(postgres: Postgres) -> None:
    """Crashed and stopped in the middle of a search, for some seconds: nothing lost, nothing twice."""
    url = postgres.database()
    storage = open_storage(url)
    said: list[str] = []
    waiter_of(storage).told = said.append
    study = create_study(storage, "s", config())
    calls: list[str] = []

    def restart(mode: str) -> None:
        postgres.stop(mode)
        time.sleep(1)
        postgres.start()

    def evaluate(arch: Any, report: Any) -> float:
        calls.append(arch.id)
        mode = {2: "immediate", 5: "fast"}.get(len(calls))
        if mode:
            threading.Thread(target=restart, args=(mode,)).start()
            time.sleep(0.3)
        report(1, 0.5)
        return 1 - 1 / arch.cost.params

    found = search(SPACE, evaluate=evaluate, input_shape=(1, 8, 8), classes=4, study=study, trials=8, sampler="random",
                   budget=Budget(max_params=10**6))  # fmt: skip
    assert 1 <= len(said) <= 2
    assert all("waiting for it" in line for line in said)
    assert len(calls) == len(set(calls)) == 8
    assert len(found.records) == len(records(load_study(open_storage(url), "s")[0])) == 8
    assert query(url, "SELECT state, count(*) FROM trials GROUP BY state") == [("COMPLETE", 8)]


def test_a_lease_goes_on_when_the_database_is_back(postgres: Postgres) -> None:
    url = postgres.database()
    study = create_study(open_storage(url), "s", config())
    made = claim(study)
    with beating(study, made, every=0.05):
        postgres.stop("immediate")
        time.sleep(0.5)
        postgres.start()
        before, end = int(last(study).user_attrs["lease"]), time.monotonic() + 60
        while last(study).user_attrs["lease"] <= before:
            assert time.monotonic() < end
            time.sleep(0.05)
    assert finish(study, made, record()) is not None


def test_sqlite_urls_need_no_server(tmp_path: Path) -> None:
    """The wrapper is on every storage, and hands everything on."""
    storage = open_storage(sqlite_url(tmp_path / "s.db"))
    study = create_study(storage, "s", config(seed=1))
    assert storage.get_study_id_from_name("s") == store_of(study).id
    assert load_study(open_storage(sqlite_url(tmp_path / "s.db")), "s")[1] == config(seed=1)
    assert waiter_of(storage).url.startswith("sqlite:///")
