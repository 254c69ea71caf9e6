"""Every kind of storage that is offered carries the same search: claims, total, what the dead have left."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from claims import SPACE, claim, record
from postgres import Postgres, free_port
from studies import config

from archsearch import Arch, search
from archsearch.errors import StudyError
from archsearch.study.leases import Board, Seat, beating, finish, lose, note_curve
from archsearch.study.records import Record
from archsearch.study.storage import create_study, load_study, open_storage, records, sqlite_url, status, study_names

PROXY = """from optuna.storages import get_storage, run_grpc_proxy_server
run_grpc_proxy_server(get_storage({url!r}), host="127.0.0.1", port={port})
"""


@pytest.fixture(params=["sqlite", "journal", "postgresql", "grpc"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty storage of every kind; the proxy has PostgreSQL behind it."""
    if request.param == "sqlite":
        yield sqlite_url(tmp_path / "study.db")
    elif request.param == "journal":
        yield f"journal:{tmp_path / 'study.log'}"
    else:
        server: Postgres = request.getfixturevalue("postgres")
        if request.param == "postgresql":
            yield server.database()
            return
        port = free_port()
        code = PROXY.format(url=server.database(), port=port)
        proxy = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], stderr=subprocess.DEVNULL)
        yield f"grpc://127.0.0.1:{port}"
        proxy.kill()
        proxy.wait()


def wait_for(done: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.01)


def worker(url: str, index: int, found: dict[int, list[Record]]) -> None:
    def evaluate(arch: Arch, report: Any) -> float:
        report(1, 0.5)
        return 1 - 1 / arch.cost.params

    study = load_study(open_storage(url), "s")[0]
    result = search(SPACE, evaluate=evaluate, input_shape=(1, 8, 8), classes=4, study=study, trials=16,
                    sampler="random", seat=Seat(index, name=f"elsewhere/1:{index}"))  # fmt: skip
    found[index] = list(result.records)


def test_three_workers_keep_the_total_and_train_nothing_twice(url: str) -> None:
    study = create_study(open_storage(url, wait=True), "s", config(seed=1))
    found: dict[int, list[Record]] = {}
    threads = [threading.Thread(target=worker, args=(url, i, found)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done = records(study)
    assert len(done) == len({row.arch for row in done}) == 16
    assert {row.state for row in done} == {"complete"}
    assert [found[i] for i in range(3)] == [done] * 3
    assert not Board(study).running


def test_a_study_and_its_claims_come_back(url: str) -> None:
    storage = open_storage(url, wait=True)
    study = create_study(storage, "s", config(seed=1))
    made = claim(study)
    other, found = load_study(open_storage(url), "s")
    assert found == config(seed=1)
    assert study_names(open_storage(url)) == ["s"]
    board = Board(other)
    assert [trial.user_attrs["arch"] for trial in board.running] == ["a" * 12]
    lose(other, board.running[0], "gone")
    board.read()
    assert [trial.user_attrs["attempt"] for trial in board.orphans] == [1]
    assert finish(study, made, record()) is None
    second = claim(study, attempt=2)
    done = finish(study, second, record(state="stopped"))
    assert done
    assert records(other) == [done]
    assert [status(trial) for trial in other.get_trials()] == ["lost", "stopped"]
    with pytest.raises(StudyError, match="'s' exists: add --resume"):
        create_study(storage, "s", config())


def test_what_changes_of_a_running_trial_is_seen(url: str) -> None:
    """By a second connection that has read it before: its lease, its curve, its end, and strangers beside it."""
    study = create_study(open_storage(url, wait=True), "s", config())
    made = claim(study)
    board = Board(load_study(open_storage(url), "s")[0])
    before = board.running[0]
    with beating(study, made, every=0.01):
        wait_for(lambda: board.read() or board.running[0].user_attrs["lease"] > 2)
    note_curve(study, made, [[1, 0.25]])
    board.read()
    assert board.running[0].user_attrs["curve"] == [[1, 0.25]]
    assert before.user_attrs["lease"] == 0
    study.enqueue_trial({"stem.width": 4})
    study.add_trial(optuna.trial.create_trial(values=[0.1, 5.0]))
    board.read()
    assert [trial.state.name for trial in board.trials] == ["RUNNING", "WAITING", "COMPLETE"]
    finish(study, made, record())
    study.ask()
    board.read()
    assert [trial.state.name for trial in board.trials] == ["COMPLETE", "RUNNING", "COMPLETE"]
    assert [row.curve for row in board.history] == [[[1, 0.5]]]
    assert board.trials[0].user_attrs["result"]["val_accuracy"] == 0.5
