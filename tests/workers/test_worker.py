"""Worker processes that share a study, and everything that may end one, in real runs on digits."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
import torch
import trap_blocks
from commands import Process

from archsearch import Arch
from archsearch.data import load_dataset
from archsearch.study.observers import Candidate, Counts, Observer
from archsearch.study.records import Record, Terms
from archsearch.study.storage import load_study, open_storage, set_terms, sqlite_url, status
from archsearch.training.checkpoint import Checkpoint
from archsearch.training.data import TrainingData
from archsearch.training.setup import TrainingSetup
from archsearch.training.trainer import Trainer
from archsearch.workers.jobs import Job
from archsearch.workers.worker import _search

Start = Callable[..., Process]
TRAP = ["run", "--space", "trap.toml", "--max-params", "20k", "--epochs", "1", "--study", "s"]


def trials_of(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "results" / "s" / "trials.csv", dtype={"arch": str})


def study_of(folder: Path) -> optuna.Study:
    return optuna.load_study(study_name="s", storage=sqlite_url(folder / "results" / "s" / "study.db"))


def states(folder: Path) -> list[str | None]:
    return [status(trial) for trial in study_of(folder).get_trials()]


def width(folder: Path, arch: str) -> int:
    return Arch.load(folder / "results" / "s" / "archs" / f"{arch}.toml").stages[0].width


def running(folder: Path) -> dict[int, str]:
    """Candidate by process id, of the claims that are open. Read past Optuna, which would create tables."""
    path = folder / "results" / "s" / "study.db"
    if not path.exists():
        return {}
    query = "SELECT trial_id, key, value_json FROM trial_user_attributes JOIN trials USING (trial_id) "
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        try:
            rows = connection.execute(query + "WHERE state = 'RUNNING'").fetchall()
        except sqlite3.OperationalError:  # no tables yet
            return {}
    attrs: dict[int, dict[str, Any]] = {}
    for trial, key, value in rows:
        attrs.setdefault(trial, {})[key] = json.loads(value)
    return {int(each["worker"].rpartition(":")[2]): each["arch"] for each in attrs.values()}


def wait_for(done: Callable[[], object], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)


def lives(pid: int) -> bool:
    """Also false for what has ended but was not yet waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(("how", "cause"), [("segfault", "SIGSEGV"), ("kill", "SIGKILL"), ("exit", "exit status 3")])
def test_a_network_that_kills_its_process_fails_after_three_attempts(
    start: Start, work: Path, how: str, cause: str
) -> None:
    trap_blocks.install(work, how)
    answer = start(*TRAP, "--trials", "4").wait()
    assert (answer.status, answer.err) == (0, "")
    assert "nothing new is left" in answer.out
    trials = trials_of(work)
    failed = trials[trials.state == "failed"]
    assert len(trials) == 4
    assert list(failed.reason) == [f"worker died: {cause}, in each of 3 attempts"]
    assert failed.val_accuracy.isna().all()
    assert sorted(states(work)) == sorted(["complete"] * 3 + ["failed"] + ["lost"] * 2)
    counts = json.loads((work / "results" / "s" / "run.json").read_text())["counts"]
    assert (counts["trained"], counts["failed"]) == (3, 1)
    assert answer.out.count(f"worker died: {cause}\n") == 2
    assert answer.out.count(f"worker died: {cause}, in each of 3 attempts\n") == 1


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("raise", "ValueError: the trap is sprung"),
        ("backward", "KeyError: 'backward trap'"),
        ("nan", "the loss is not finite in epoch 1"),
    ],
)
def test_a_network_that_raises_or_diverges_fails_at_once(start: Start, work: Path, how: str, reason: str) -> None:
    trap_blocks.install(work, how)
    answer = start(*TRAP, "--trials", "4").wait()
    assert (answer.status, answer.err) == (0, "")
    trials = trials_of(work)
    assert sorted(trials.state) == ["complete"] * 3 + ["failed"]
    assert list(trials[trials.state == "failed"].reason) == [reason]
    assert [width(work, arch) for arch in trials[trials.state == "failed"].arch] == [8]
    assert len(states(work)) == 4


def test_a_killed_training_is_run_again(start: Start, work: Path) -> None:
    trap_blocks.install(work, "once")
    answer = start(*TRAP, "--trials", "4").wait()
    assert (answer.status, answer.err) == (0, "")
    assert "worker died: SIGKILL" in answer.out
    trials = trials_of(work)
    assert list(trials.state) == ["complete"] * 4
    assert trials.arch.is_unique
    again = [trial.user_attrs for trial in study_of(work).get_trials() if trial.user_attrs["attempt"] == 2]
    assert [attrs["arch"] for attrs in again] == [arch for arch in trials.arch if width(work, arch) == 8]


def test_ten_failures_in_a_row_of_all_workers_end_the_run(start: Start, work: Path) -> None:
    trap_blocks.install(work, "raise", at=0, widths=str([*range(4, 34)]))
    answer = start(*TRAP, "--trials", "4", "--workers", "2").wait()
    assert (answer.status, answer.err) == (1, "")
    assert "ten trainings in a row failed" in answer.out
    assert (trials_of(work).state == "failed").all()
    assert 10 <= len(trials_of(work)) < 13
    assert "running" not in states(work)


def shared(*more: str, trials: int) -> list[str]:
    return ["run", "--max-params", "20k", "--space", "tiny.toml", "--epochs", "1", "--study", "s", "--trials",
            str(trials), "--no-rungs", *more]  # fmt: skip


@pytest.mark.parametrize(("workers", "sampler"), [(2, "pareto"), (4, "random")])
def test_several_workers_train_exactly_the_total(start: Start, work: Path, workers: int, sampler: str) -> None:
    """The space has 24 networks inside the budget, so that workers meet at the same ones."""
    answer = start(*shared("--workers", str(workers), "--sampler", sampler, trials=18)).wait(240)
    assert (answer.status, answer.err) == (0, "")
    trials = trials_of(work)
    assert len(trials) == trials.arch.nunique() == 18
    assert (trials.state == "complete").all()
    assert (trials.params < 20_000).all()
    assert [line[:7] for line in answer.out.splitlines() if line.startswith("[")] == [
        f"[{n:>2}/18]" for n in range(1, 19)
    ]
    assert len({trial.user_attrs["worker"] for trial in study_of(work).get_trials()}) == workers
    assert "running" not in states(work)
    rejected = pd.read_csv(work / "results" / "s" / "rejected.csv", dtype={"arch": str})
    counts = json.loads((work / "results" / "s" / "run.json").read_text())["counts"]
    assert rejected.arch.is_unique
    assert counts["over_budget"] == counts["broke"]["params"] == len(rejected)
    assert counts["trained"] == 18
    files = {path.stem for path in (work / "results" / "s" / "weights").iterdir()}
    assert files == set(pd.read_csv(work / "results" / "s" / "pareto.csv", dtype={"arch": str}).arch)


def test_a_worker_killed_from_outside_is_replaced(start: Start, work: Path) -> None:
    trap_blocks.install(work, "slow", at=0)
    process = start(*TRAP, "--trials", "4", "--workers", "2")
    wait_for(lambda: len(running(work)) == 2)
    victim, arch = next(iter(running(work).items()))
    os.kill(victim, signal.SIGKILL)
    answer = process.wait()
    assert (answer.status, answer.err) == (0, "")
    assert f"{arch}: worker died: SIGKILL" in answer.out
    trials = trials_of(work)
    assert list(trials.state) == ["complete"] * 4
    assert arch in set(trials.arch)
    assert trials.arch.is_unique


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_end_of_the_parent_is_the_end_of_its_workers(start: Start, work: Path, number: signal.Signals) -> None:
    """Nothing goes on unseen, the open claims come to nothing, and a resumed run counts on from there."""
    trap_blocks.install(work, "slow", at=0)
    options = [*TRAP, "--workers", "2", "--trials", "4", "--no-rungs", "--epochs"]
    process = start(*options, "8")
    wait_for(lambda: len(running(work)) == 2)
    workers = list(running(work))
    process.signal(number)
    answer = process.wait()
    assert answer.status == (130 if number == signal.SIGINT else -signal.SIGKILL)
    if number == signal.SIGINT:
        assert "--resume" in answer.out.splitlines()[-1]
        assert not any(map(lives, workers))
    wait_for(lambda: not any(map(lives, workers)), 20)
    open_ones = [trial for trial in study_of(work).get_trials() if status(trial) != "withdrawn"]  # one was taken
    assert {status(trial) for trial in open_ones} <= ({"lost"} if number == signal.SIGINT else {"lost", "running"})
    held = {trial.user_attrs["arch"] for trial in open_ones}
    answer = start(*options, "8", "--resume").wait()
    assert (answer.status, answer.err) == (0, "")
    trials = trials_of(work)
    assert list(trials.state) == ["complete"] * 4
    assert trials.arch.is_unique
    assert held <= set(trials.arch)


class Cut(Observer):
    """In place of the messages to a parent: ends the worker after an epoch, without a word to the study."""

    def __init__(self, study: optuna.Study, at: int | None = None) -> None:
        self.study, self.at = study, at
        self.reports: list[tuple[str, int, float]] = []
        self.records: list[Record] = []

    def send(self, *message: object) -> None:
        """Nobody listens."""

    def epoch(self, candidate: Candidate, epoch: int, accuracy: float, metrics: Mapping[str, float]) -> None:
        self.reports.append((candidate.arch.id, epoch, accuracy))
        assert set(metrics) == {"train_loss", "val_loss", "learning_rate"}
        if epoch == self.at:
            raise KeyboardInterrupt

    def finished(self, record: Record, history: Sequence[Record], counts: Counts) -> None:
        self.records.append(record)


def test_an_interrupted_training_goes_on_from_its_checkpoint(
    start: Start, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off after its third epoch, four times, it has the learning curve of one that was not; it trains each once."""
    start(*shared("--epochs", "4", trials=1)).wait()
    study = study_of(work)
    folder = work / "results" / "s"
    job = Job(sqlite_url(folder / "study.db"), "s", folder, "digits", work, "cpu", threads=1)
    monkeypatch.setattr(Checkpoint, "is_due", True)

    def join(trials: int, at: int | None = None) -> Cut:
        set_terms(study, Terms(trials, "random", None, "digits"))
        cut = Cut(study, at)
        assert _search(cut, job) == "trials"
        return cut

    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            join(2, at=3)
        [kept] = (folder / "checkpoints").iterdir()
    before = torch.load(kept, weights_only=True)["seconds"]
    assert states(work) == ["complete"] + ["lost"] * 4
    resumed = join(2)
    arch = kept.stem
    assert [(name, epoch) for name, epoch, _ in resumed.reports] == [(arch, n) for n in (1, 2, 3, 4)]
    [record] = resumed.records
    assert (record.arch, record.state, record.epochs) == (arch, "complete", 4)
    speed, seconds = record.usage["images_per_second"], record.usage["data_seconds"] + record.usage["step_seconds"]
    assert speed * seconds == pytest.approx(1198, abs=0.0015 * speed)  # seconds are kept to the millisecond
    assert record.train_seconds > before + seconds
    assert not list((folder / "checkpoints").iterdir())
    config = load_study(open_storage(job.url), "s")[1]
    data = TrainingData.of(load_dataset("digits"), config.seed, torch.device("cpu"))
    whole: list[tuple[str, int, float]] = []
    trainer = Trainer(TrainingSetup(data, config.recipe, config.seed, threads=1))
    found = Arch.load(folder / "archs" / f"{arch}.toml")
    trainer(found, lambda epoch, value, metrics: whole.append((arch, epoch, value)))
    assert whole == resumed.reports
    (folder / "checkpoints" / kept.name).touch()
    join(3)
    assert not list((folder / "checkpoints").iterdir())  # what is finished needs none


def test_a_worker_heeds_a_total_that_changes(start: Start, work: Path) -> None:
    """Of `run --resume --trials N`, which may be called on another machine."""
    start(*shared(trials=1)).wait()
    study, folder = study_of(work), work / "results" / "s"

    class More(Cut):
        def finished(self, record: Record, history: Sequence[Record], counts: Counts) -> None:
            super().finished(record, history, counts)
            set_terms(study, Terms(4, "random", None, "digits"))

    set_terms(study, Terms(2, "random", None, "digits"))
    more = More(study)
    _search(more, Job(sqlite_url(folder / "study.db"), "s", folder, "digits", work, "cpu", threads=1))
    assert len(more.records) == 3
    assert states(work) == ["complete"] * 4


def test_what_a_dead_process_has_left_is_run_again_on_resume(start: Start, work: Path) -> None:
    """All of a run's processes killed at once, as when a machine goes down."""
    trap_blocks.install(work, "slow", at=0)
    process = start(*TRAP, "--trials", "4")
    wait_for(lambda: running(work))
    (worker, arch), *_ = running(work).items()
    os.kill(worker, signal.SIGSTOP)
    process.signal(signal.SIGKILL)
    process.wait()
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: not lives(worker), 20)
    assert states(work)[-1] == "running"
    answer = start(*TRAP, "--trials", "4", "--resume").wait()
    assert (answer.status, answer.err) == (0, "")
    assert list(trials_of(work).state) == ["complete"] * 4
    assert arch in set(trials_of(work).arch)
    assert states(work).count("lost") == 1
