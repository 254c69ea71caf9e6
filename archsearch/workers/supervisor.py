"""The parent of a study's local workers: starts them, tells observers what they do, replaces those that die."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from archsearch.errors import ArchsearchError
from archsearch.network.arch import Arch
from archsearch.study.leases import Board, interrupt, lose, worker_name
from archsearch.study.observers import Candidate, Counts, Observer, trained, up_to_date
from archsearch.study.records import Record, Reject
from archsearch.study.retrying import waiter_of
from archsearch.study.storage import stored_references
from archsearch.study.store import store_of
from archsearch.workers.jobs import Job
from archsearch.workers.ledger import KEPT_REJECTS
from archsearch.workers.local import Result, take_from_the_dead
from archsearch.workers.loop import MAX_FAILURES
from archsearch.workers.processes import context_of_workers
from archsearch.workers.worker import work

_IDLE_DEATHS = 3
_STOP_SECONDS = 5.0
_LOOK_EVERY, _AGAIN = 5.0, 60.0
_ENDS = ("failures", "trials", "timeout", "exhausted")


class Tally:
    """Counts of all workers together. A reject that two of them met is one reject and one duplicate.

    Known are the first 10,000 rejects that have an id; what lies beyond is summed up as the workers say.
    """

    def __init__(self, counts: Counts, known: Sequence[str]) -> None:
        self.counts = counts
        self.known = set(known)
        self._rows = len(known)

    def add(self, more: Counts, rejects: Sequence[Reject]) -> list[Reject]:
        """Add what a worker has counted; returns its rejects that are new."""
        total = self.counts
        total.checked += more.checked
        total.over_budget += more.over_budget
        total.duplicates += more.duplicates
        for name, n in more.broke.items():
            total.broke[name] = total.broke.get(name, 0) + n
        return [reject for reject in rejects if self._is_new(reject)]

    def _is_new(self, reject: Reject) -> bool:
        if reject.arch and reject.arch in self.known:
            self.counts.over_budget -= 1
            self.counts.duplicates += 1
            for part in reject.broke.split("; "):
                self.counts.broke[re.split("[<>]=", part)[0]] -= 1
            return False
        if reject.arch:
            self.known.add(reject.arch)
        self._rows += 1
        return self._rows <= KEPT_REJECTS


@dataclass
class _Worker:
    """One local worker, and what it is busy with."""

    job: Job
    process: BaseProcess
    connection: Connection
    candidate: Candidate | None = None
    ended: bool = False
    idle_deaths: int = 0

    @property
    def name(self) -> str:
        return worker_name(self.process.pid or 0)


class Supervisor:
    """Runs a study's local workers until they are done.

    Args:
        study: what they work at.
        jobs: one a worker.
        observers: told what every worker does, in this process.
        counts: of an earlier run of the study, to go on from.
        others: whether observers are told of candidates that workers elsewhere have finished.
    """

    def __init__(
        self,
        study: optuna.Study,
        jobs: Sequence[Job],
        observers: Sequence[Observer],
        counts: Counts | None = None,
        *,
        others: bool = True,
    ) -> None:
        self.jobs, self.observers, self.others = jobs, observers, others
        self.board = Board(study)
        self.waiter = waiter_of(store_of(study).storage)
        self.waiter.told = self._outage
        self.looked, self.complained = time.monotonic(), float("-inf")
        take_from_the_dead(self.board)
        self.history: Sequence[Record] = self.board.history
        self.told = {record.trial for record in self.history}
        self.tally = Tally(up_to_date(counts or Counts(), self.history, len(self.board.orphans)), jobs[0].rejected)
        self.counts = self.tally.counts
        self.workers: list[_Worker] = []
        self.reasons: set[str] = set()
        self.failures = 0

    def run(self) -> Result:
        """Start the workers and stay until the last has ended.

        Raises:
            ArchsearchError, OSError: whatever ended a worker; the others are stopped first.
            KeyboardInterrupt: the workers are stopped and their claims closed.
        """
        self.clock = time.monotonic()
        self._tell(lambda observer: observer.started(self.history, self.counts))
        try:
            before = frozenset(self.told)
            self.workers = [self._start(replace(job, before=before)) for job in self.jobs]
            while self.workers and self.failures < MAX_FAILURES:
                self._listen()
        except BaseException:
            self.waiter.max_wait = min(self.waiter.max_wait, _STOP_SECONDS)  # who presses Ctrl-C does not wait
            raise
        finally:
            self._stop()
            self._tell(lambda observer: observer.ended(self.history, self.counts))
        return Result(self.history, self.counts, self._reason())

    def _reason(self) -> str:
        if self.failures >= MAX_FAILURES:
            return "failures"
        return next(reason for reason in _ENDS if reason in self.reasons)

    def _read(self) -> None:
        """Take in what the study has by now, but of local workers' records only those that they have told of."""
        self.board.read()
        self.looked = time.monotonic()
        local = {worker.name for worker in self.workers}
        for record in [record for record in self.board.history if record.trial not in self.told]:
            if self.board.workers[record.trial] not in local:
                self._take_in(record, tell=self.others)

    def _take_in(self, record: Record, *, tell: bool = True) -> None:
        if record.trial in self.told:
            return
        self.failures = self.failures + 1 if record.state == "failed" else 0
        self.told.add(record.trial)
        self.history = [known for known in self.board.history if known.trial in self.told]
        self.counts.trained = trained(self.history)
        self.counts.failed = len(self.history) - self.counts.trained
        if tell:
            self._tell(lambda observer: observer.finished(record, self.history, self.counts))

    def _start(self, job: Job) -> _Worker:
        context = context_of_workers()
        mine, its = context.Pipe()
        process = context.Process(target=work, args=(its, job), name=f"archsearch-{job.index}", daemon=True)
        process.start()
        its.close()
        return _Worker(job, process, mine)

    def _listen(self) -> None:
        """Wait for news of any worker and deal with it; now and then look for what workers elsewhere did."""
        ready = set(
            wait([w.connection for w in self.workers] + [w.process.sentinel for w in self.workers], _LOOK_EVERY)
        )
        if time.monotonic() - self.looked > _LOOK_EVERY:
            self._read()
        for worker in list(self.workers):
            if worker.connection in ready:
                self._hear(worker)
            elif worker.process.sentinel in ready:
                self._bury(worker)

    def _hear(self, worker: _Worker) -> None:
        try:
            kind, *what = worker.connection.recv()
        except (EOFError, OSError):  # ended, or killed within a message
            worker.process.join()
            self._bury(worker)
            return
        self._handle(worker, kind, what)

    def _handle(self, worker: _Worker, kind: str, what: Sequence[Any]) -> None:
        getattr(self, f"_on_{kind}")(worker, *what)

    def _on_estimate(self, worker: _Worker, arch: Arch, seconds: float) -> None:
        self._tell(lambda observer: observer.estimated(arch, seconds))

    def _on_noted(self, worker: _Worker, line: str) -> None:
        self._tell(lambda observer: observer.noted(line))

    def _on_checked(self, worker: _Worker, more: Counts, rejects: Sequence[Reject]) -> None:
        new = self.tally.add(more, rejects)
        told: list[Reject | None] = [*new] or [None]
        for reject in told:
            for observer in self.observers:
                observer.checked(self.counts, reject)

    def _on_training(self, worker: _Worker, candidate: Candidate) -> None:
        worker.candidate, worker.idle_deaths = candidate, 0
        self._tell(lambda observer: observer.training(candidate))

    def _on_epoch(self, worker: _Worker, epoch: int, accuracy: float, metrics: Mapping[str, float]) -> None:
        candidate = worker.candidate
        if candidate:
            self._tell(lambda observer: observer.epoch(candidate, epoch, accuracy, metrics))

    def _on_finished(self, worker: _Worker, record: Record) -> None:
        worker.candidate = None
        self._finished(record)

    def _finished(self, record: Record) -> None:
        self.board.read()
        self._take_in(record)
        self._read()

    def _on_outage(self, worker: _Worker, line: str) -> None:
        self._outage(line)

    def _outage(self, line: str) -> None:
        """Every process notices that the storage is away; one line says so."""
        if time.monotonic() - self.complained > _AGAIN:
            self.complained = time.monotonic()
            self._tell(lambda observer: observer.outage(line))

    def _on_reference(self, worker: _Worker, record: Record) -> None:
        every = stored_references(self.board.study)
        self._tell(lambda observer: observer.reference(record, every))

    def _on_ended(self, worker: _Worker, reason: str) -> None:
        worker.ended = True
        self.reasons.add(reason)

    def _on_error(self, worker: _Worker, error: Exception) -> None:
        raise error

    def _bury(self, worker: _Worker) -> None:
        """A worker's process is no more: as it should be, or it gets a successor."""
        self.workers.remove(worker)
        worker.connection.close()
        if not worker.ended:
            self._mourn(worker, f"worker died: {_cause(worker.process.exitcode)}")

    def _mourn(self, worker: _Worker, reason: str) -> None:
        self.board.read()
        held = self._held(worker)
        for trial in held:
            self._lost(trial, reason)
        deaths = 0 if held else worker.idle_deaths + 1
        if deaths == _IDLE_DEATHS:
            raise ArchsearchError(f"{reason}, {_IDLE_DEATHS} times in a row and outside of any training")
        job = replace(worker.job, estimates=False, timeout=self._left(), rejected=tuple(self.tally.known))
        self.workers.append(replace(self._start(job), idle_deaths=deaths))

    def _lost(self, trial: FrozenTrial, reason: str) -> None:
        record = lose(self.board.study, trial, reason)
        if record:  # that was its last attempt
            self._finished(record)
        else:
            self._tell(lambda observer: observer.lost(trial.user_attrs["arch"], reason))

    def _left(self) -> float | None:
        """Seconds until no further candidate is started."""
        timeout = self.jobs[0].timeout
        return timeout and max(1e-3, timeout - (time.monotonic() - self.clock))

    def _held(self, worker: _Worker) -> list[FrozenTrial]:
        return [trial for trial in self.board.running if trial.user_attrs.get("worker") == worker.name]

    def _stop(self) -> None:
        """End what still runs; its claims are closed, by itself or from here, to be taken up on `--resume`."""
        for worker in self.workers:
            worker.process.terminate()
        deadline = time.monotonic() + _STOP_SECONDS
        for worker in self.workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            worker.process.kill()
            worker.process.join()
        try:
            for worker in self.workers:
                for kind, *what in _last_words(worker.connection):
                    if kind != "error":
                        self._handle(worker, kind, what)
        finally:  # an observer may raise
            self.board.read()
            for trial in [trial for worker in self.workers for trial in self._held(worker)]:
                interrupt(self.board.study, store_of(self.board.study).trial_id(trial.number))
            self.workers = []
            take_from_the_dead(self.board)
            self._read()

    def _tell(self, what: Callable[[Observer], None]) -> None:
        for observer in self.observers:
            what(observer)


def _last_words(connection: Connection) -> Iterator[Any]:
    """What a stopped worker had said before; it may have died in the middle of it."""
    with suppress(EOFError, OSError):
        while connection.poll():
            yield connection.recv()


def _cause(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        return signal.Signals(-exitcode).name
    return f"exit status {exitcode}"
