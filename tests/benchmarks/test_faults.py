"""What else may go wrong: files, clocks, kills. docs/evidence/scaling.md has the results of large storms."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from by_path import benchmark_module
from claims import SPACE
from commands import RUN, STUDY, TINY, Answer, snapshot
from optuna.storages import RDBStorage
from studies import config

from archsearch import search
from archsearch.study.storage import create_study, open_storage, sqlite_url, status

Command = Callable[..., Answer]


@pytest.mark.slow
@pytest.mark.usefixtures("postgres")
def test_a_storm_on_postgresql_loses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    benchmark_module("faults").main(["storm", "--trials", "16", "--kills", "4", "--restarts", "2", "--joined", "1"])
    assert "16 trained, 16 different" in capsys.readouterr().out


@pytest.mark.slow
def test_kills_at_any_moment_leave_whole_files_and_lose_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    benchmark_module("faults").main(["again", "--trials", "8", "--kills", "4"])
    assert "8 trained, 8 different" in capsys.readouterr().out


def resume(command: Command, *more: str) -> str:
    """The one line with which `run --resume` refuses the finished study."""
    answer = command(*RUN, "--trials", "9", "--study", STUDY, "--resume", *more)
    assert answer.status == 2
    return answer.error


def test_a_space_file_that_changed_is_refused_with_the_difference(command: Command, study: Path, work: Path) -> None:
    before = snapshot(study)
    (work / "tiny.toml").write_text(TINY.replace("choice = [4, 8]", "choice = [4, 8, 10]"))
    line = resume(command)
    assert "was made with another space: choose another --study" in line
    assert "- 'width = { choice = [4, 8] }', + 'width = { choice = [4, 8, 10] }'" in line
    assert {n: b for n, b in snapshot(study).items() if "study.db" not in n} == {
        n: b for n, b in before.items() if "study.db" not in n
    }


def test_other_settings_are_refused_with_the_difference(command: Command, study: Path) -> None:
    line = resume(command, "--max-params", "30k")
    assert "another budget: choose another --study (budget: max_params was 20000" in line


def test_a_corrupted_database_is_one_line(command: Command, study: Path) -> None:
    path = study / "study.db"
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\x5a" * (len(whole) - 4096))
    for answer in (command("pareto", STUDY), command(*RUN, "--study", STUDY, "--resume")):
        assert answer.status == 2
        assert answer.error.startswith(f"archsearch: study storage sqlite:///{path}: ")
        assert "malformed" in answer.error


class Earlier(datetime):
    """A clock that was set back by a day."""

    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        return datetime.now(tz) - timedelta(days=1)


def test_a_clock_that_is_set_back_in_a_training_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is taken for stale, nothing is trained again; only the database's time stamps are odd."""
    study = create_study(open_storage(sqlite_url(tmp_path / "s.db")), "s", config())
    calls: list[str] = []

    def evaluate(arch: Any, report: Any) -> float:
        calls.append(arch.id)
        if len(calls) == 2:
            monkeypatch.setattr(sys.modules[RDBStorage.__module__], "datetime", Earlier)
            real = time.time
            monkeypatch.setattr(time, "time", lambda: real() - 86_400)
        return 0.5

    found = search(SPACE, evaluate=evaluate, input_shape=(1, 8, 8), classes=4, study=study, trials=4, sampler="random")
    assert len(calls) == len(set(calls)) == len(found.records) == 4
    odd = study.get_trials()[1]
    assert odd.datetime_complete < odd.datetime_start
    assert [status(trial) for trial in study.get_trials()] == ["complete"] * 4
    assert list(found.trials.trial) == [0, 1, 2, 3]
