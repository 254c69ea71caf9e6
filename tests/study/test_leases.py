"""Claims: one network is trained by one worker, the total is kept, and what the dead have left is taken up."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import threading
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from claims import FITS, SPACE, claim, last, record
from optuna.trial import TrialState
from studies import config

from archsearch import Arch, Budget, search
from archsearch.study import leases
from archsearch.study.leases import (
    Board,
    Claim,
    Seat,
    beating,
    finish,
    lose,
    machine,
    make_claim,
    note_curve,
    withdraw,
    worker_name,
)
from archsearch.study.observers import Counts, Observer
from archsearch.study.records import Record
from archsearch.study.storage import create_study, load_study, open_storage, records, sqlite_url, status
from archsearch.study.store import store_of
from archsearch.workers import loop


@pytest.fixture
def study(tmp_path: Path) -> optuna.Study:
    return create_study(open_storage(sqlite_url(tmp_path / "study.db")), "s", config())


def again(tmp_path: Path) -> optuna.Study:
    """The study as another process opens it."""
    return load_study(open_storage(sqlite_url(tmp_path / "study.db")), "s")[0]


def test_a_claim_holds_the_proposal_and_no_record(study: optuna.Study, tmp_path: Path) -> None:
    made = claim(study, attempt=2)
    trial = last(again(tmp_path))
    assert trial.number == made.number == 0
    assert (trial.state, status(trial)) == (TrialState.RUNNING, "running")
    assert trial.params == {"stem.width": 8}
    assert trial.user_attrs["arch"] == "a" * 12
    assert (trial.user_attrs["size"], trial.user_attrs["attempt"]) == (900, 2)
    assert trial.user_attrs["worker"] == f"{machine()}:{os.getpid()}"
    assert trial.constraints["params"] == pytest.approx(-0.1)
    assert records(study) == []


def test_of_two_claims_to_one_network_the_lower_stands(study: optuna.Study, tmp_path: Path) -> None:
    other = again(tmp_path)
    first, second = claim(study), claim(other)
    assert Board(study).stands(first, "a" * 12, 9, Seat()) == ""
    assert Board(other).stands(second, "a" * 12, 9, Seat()) == "taken"
    withdraw(other, second.trial_id)
    assert finish(study, first, record()) is not None
    assert Board(other).stands(claim(other), "a" * 12, 9, Seat()) == "taken"
    assert [status(trial) for trial in study.get_trials()] == ["complete", "withdrawn", "running"]


def test_a_failed_network_is_not_claimed_again(study: optuna.Study) -> None:
    finish(study, claim(study), record(state="failed", val_accuracy=None))
    assert Board(study).stands(claim(study), "a" * 12, 9, Seat()) == "taken"


def test_claims_beyond_the_total_do_not_stand(study: optuna.Study) -> None:
    done = finish(study, claim(study, "a" * 12), record("a" * 12, state="stopped"))
    finish(study, claim(study, "b" * 12), record("b" * 12, state="failed", val_accuracy=None))
    second, third = claim(study, "c" * 12), claim(study, "d" * 12)
    board = Board(study)
    assert done
    assert board.trained == 1
    assert board.stands(second, "c" * 12, 2, Seat()) == ""
    assert board.stands(third, "d" * 12, 2, Seat()) == "full"
    assert board.stands(third, "d" * 12, 3, Seat()) == ""


def test_room_on_a_device_is_kept_and_one_alone_always_fits(study: optuna.Study) -> None:
    seat, elsewhere = Seat(device="gpu0", room=10.0), Seat(device="gpu1", room=10.0)
    first = claim(study, "a" * 12, seat, memory=99.0)
    assert Board(study).stands(first, "a" * 12, 9, seat) == ""
    second = claim(study, "b" * 12, seat, memory=1.0)
    third = claim(study, "c" * 12, elsewhere, memory=1.0)
    board = Board(study)
    assert board.stands(second, "b" * 12, 9, seat) == "crowded"
    assert board.stands(third, "c" * 12, 9, elsewhere) == ""
    assert not board.has_room(seat, 1.0)
    assert board.has_room(Seat(), 1e12)
    withdraw(study, first.trial_id)
    board.read()
    assert board.stands(second, "b" * 12, 9, seat) == ""
    assert board.has_room(seat, 9.0)
    assert not board.has_room(seat, 9.5)


def test_a_lost_claim_cannot_be_finished(study: optuna.Study, tmp_path: Path) -> None:
    made = claim(study)
    other = again(tmp_path)
    assert lose(other, Board(other).running[0], "gone") is None
    note_curve(study, made, [[1, 0.5]])
    assert finish(study, made, record()) is None
    assert records(study) == records(other) == []
    assert status(last(study)) == "lost"


def test_a_network_is_claimed_three_times_then_it_has_failed(study: optuna.Study) -> None:
    for attempt in (1, 2):
        claim(study, attempt=attempt)
        assert lose(study, Board(study).running[0], "worker died: SIGKILL") is None
        orphans = Board(study).orphans
        assert [trial.user_attrs["attempt"] for trial in orphans] == [attempt]
    claim(study, attempt=3)
    assert Board(study).orphans == []
    failed = lose(study, Board(study).running[0], "worker died: SIGKILL")
    assert failed is not None
    assert (failed.state, failed.trial, failed.val_accuracy) == ("failed", 2, None)
    assert failed.reason == "worker died: SIGKILL, in each of 3 attempts"
    assert records(study) == [failed]
    assert Board(study).orphans == []


def test_stale_leases_by_the_observers_own_clock(study: optuna.Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two claims stop counting, a third goes on: only what rested for 90 s on this clock is stale."""
    now = 1000.0
    monkeypatch.setattr(leases.time, "monotonic", lambda: now)
    made = [claim(study, name * 12) for name in "abc"]
    board = Board(study)
    assert board.stale() == []
    for lease in range(1, 8):
        now += 15
        store_of(study).storage.set_trial_user_attr(made[2].trial_id, "lease", lease)
        if lease == 1:
            store_of(study).storage.set_trial_user_attr(made[1].trial_id, "lease", 1)
        board.read()
        numbers = [trial.number for trial in board.stale()]
        assert numbers == {7: [0]}.get(lease, [])
    now += 15
    board.read()
    assert [trial.number for trial in board.stale()] == [0, 1]
    assert Board(study).stale() == []


def test_a_lease_counts_up_while_its_training_runs(study: optuna.Study) -> None:
    made = claim(study)
    with beating(study, made, every=0.01):
        end = time.monotonic() + 30
        while Board(study).running[0].user_attrs["lease"] < 3:
            assert time.monotonic() < end
            time.sleep(0.01)
        lose(study, Board(study).running[0], "gone")
        time.sleep(0.05)
    assert not [thread for thread in threading.enumerate() if thread.name == "lease"]


def test_claims_of_dead_processes(study: optuna.Study) -> None:
    child = multiprocessing.get_context("spawn").Process(target=int)
    child.start()
    child.join()
    assert child.pid
    for arch, name in (("a", worker_name(child.pid)), ("b", worker_name(os.getpid())), ("c", "elsewhere/1:1"),
                       ("d", f"{machine()}:x")):  # fmt: skip
        claim(study, arch * 12, Seat(name=name))
    assert [trial.user_attrs["arch"] for trial in Board(study).of_dead_processes()] == ["a" * 12]


def test_a_board_reads_what_others_write(study: optuna.Study, tmp_path: Path) -> None:
    other = again(tmp_path)
    board = Board(other)
    made = claim(study)
    assert board.history == []
    board.read()
    assert board.archs == {"a" * 12}
    done = finish(study, made, record())
    board.read()
    assert board.history == [done]
    assert board.trained == 1


def quick(arch: Arch, report: Any) -> float:
    report(1, 0.5)
    return 1 - 1 / arch.cost.params


def run(study: optuna.Study, **options: Any) -> Any:
    options = {"evaluate": quick, "sampler": "random", "trials": 4, **options}
    return search(SPACE, input_shape=(1, 8, 8), classes=4, study=study, **options)


class Rival(Observer):
    """Another worker that claims every network just before this one does, through a connection of its own."""

    def __init__(self, study: optuna.Study, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
        self.study, self.times = study, times
        self.made: list[str] = []
        real = make_claim

        def race(study: optuna.Study, row: Record, *rest: Any) -> Claim:
            if len(self.made) < self.times:
                self.made.append(row.arch)
                real(self.study, row, *rest)
            return real(study, row, *rest)

        monkeypatch.setattr(loop, "make_claim", race)


@pytest.mark.parametrize("sampler", ["pareto", "random"])
def test_a_lost_race_is_drawn_again(
    study: optuna.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampler: str
) -> None:
    rival = Rival(again(tmp_path), monkeypatch, 2)
    found = run(study, trials=6, timeout=20, sampler=sampler, observers=[_Release(study, 4)])
    assert len(set(rival.made)) == 2
    assert not set(rival.made) & {row.arch for row in found.records[:4]}
    assert [status(trial) for trial in study.get_trials()[:4]] == ["lost", "withdrawn"] * 2
    assert found.counts.trained == len({row.arch for row in found.records}) == 6
    assert set(rival.made) <= {row.arch for row in found.records}
    assert found.counts.duplicates >= 2


class _Release(Observer):
    """Declares the rival's claims lost once this worker has trained so many."""

    def __init__(self, study: optuna.Study, after: int) -> None:
        self.study, self.after = study, after

    def finished(self, record: Record, history: Any, counts: Counts) -> None:
        if counts.trained == self.after:
            for trial in Board(self.study).running:
                lose(self.study, trial, "gone")


def test_a_lost_candidate_is_trained_first_and_counted_once(study: optuna.Study) -> None:
    first = run(study, trials=2)
    trial = study.get_trials()[0]
    arch = "f" * 12
    draw = {name: (9 if "stem" in name else 6) for name in trial.params}
    made = make_claim(study, record(arch), draw, trial.distributions, FITS, Seat(name="elsewhere/1:1"))
    lose(study, Board(study).running[0], "gone")
    found = run(study, trials=3, counts=first.counts)
    assert made.number == 2
    assert len(found.records) == 3
    assert study.get_trials()[3].params == draw
    assert study.get_trials()[3].user_attrs["attempt"] == 2
    assert found.counts.checked == first.counts.checked + 1  # once, for the worker that never told anybody


def test_a_result_that_comes_too_late_is_dropped(study: optuna.Study) -> None:
    """The first claim is declared lost in its training: its result counts nowhere, the second attempt's does."""
    calls: list[str] = []

    def evaluate(arch: Arch, report: Any) -> float:
        calls.append(arch.id)
        if len(calls) == 1:
            lose(study, Board(study).running[0], "gone")
        return quick(arch, report)

    found = run(study, evaluate=evaluate, trials=2)
    assert calls[0] == calls[1]
    assert len(calls) == 3
    assert [row.arch for row in found.records] == calls[1:]
    assert [status(trial) for trial in study.get_trials()] == ["lost", "complete", "complete"]


def test_a_waiting_worker_takes_the_place_that_becomes_free(study: optuna.Study, tmp_path: Path) -> None:
    """Another worker holds the last place and fails: the total is reached all the same."""
    other = again(tmp_path)
    held = claim(other, seat=Seat(name="elsewhere/1:1"))
    timer = threading.Timer(0.5, lambda: finish(other, held, record(state="failed", val_accuracy=None)))
    timer.start()
    found = run(study, trials=2)
    timer.join()
    assert found.reason == "trials"
    assert sorted(row.state for row in found.records) == ["complete", "complete", "failed"]


def test_workers_with_one_seed_draw_apart(tmp_path: Path) -> None:
    def first(index: int, sampler: str) -> str:
        memory = optuna.create_study(directions=["maximize", "minimize"])
        return str(run(memory, sampler=sampler, trials=3, seat=Seat(index), budget=Budget()).records[2].summary)

    assert len({first(index, "random") for index in range(4)}) > 1
    assert first(1, "random") == first(1, "random")


def _worker(folder: str, index: int) -> None:
    """One of several processes that share a study and are as fast as they can be."""
    run(again(Path(folder)), trials=40, seat=Seat(index), budget=Budget(max_params=150))


@pytest.mark.usefixtures("_preloaded")
def test_four_processes_on_one_sqlite_file(study: optuna.Study, tmp_path: Path) -> None:
    """No "database is locked": every network of a small space is trained, none twice."""
    feasible = {
        arch.id
        for arch in (SPACE.draw(lambda name, dim, pair=pair: pair["stem" not in name], (1, 8, 8), 4)
                     for pair in itertools.product(range(2, 10), range(2, 7)))
        if arch.cost.params < 150
    }  # fmt: skip
    assert len(feasible) < 40
    context = multiprocessing.get_context("forkserver")
    workers = [context.Process(target=_worker, args=(str(tmp_path), index)) for index in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(200)
    assert [worker.exitcode for worker in workers] == [0] * 4
    found = records(study)
    assert len({row.arch for row in found}) == len(found) <= len(feasible)
    assert {row.arch for row in found} == feasible
    assert not Board(study).running
