"""Claims: how the workers of a study share it through its storage alone.

A claim is one trial, added as running in one transaction with the whole proposal. Whoever made it then lists the
trials: it stands unless one of a lower number holds the same network, or enough lower ones fill the total. The
lowest number wins, so all workers agree, and a claim that does not stand is withdrawn. Who claims shows that it
lives by counting up an attribute; a claim whose count rests for too long on the observer's own clock is lost, and
its network is claimed again by whoever is next.
"""

from __future__ import annotations

import math
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from archsearch.errors import StudyError
from archsearch.network.budget import Verdict
from archsearch.sampler.asha import CURVE, EFFORT, LEASE, SIZE
from archsearch.study.records import Draw, Record, sound
from archsearch.study.retrying import waiter_of
from archsearch.study.storage import FATE, RESULT, STATES, record_of, status
from archsearch.study.store import store_of

ATTEMPTS = 3
BEAT, STALE = 15.0, 90.0
_TOKEN = "claim"
_INTERRUPTED = "interrupted"


@cache
def machine() -> str:
    """This host since its last start, told apart from others of its name and from containers on it."""
    boot, namespace = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    if not (boot.exists() and namespace.exists()):
        return platform.node()
    return f"{platform.node()}/{boot.read_text()[:8]}-{namespace.stat().st_ino}"


def worker_name(pid: int) -> str:
    """How a process of this machine is called in its claims."""
    return f"{machine()}:{pid}"


@dataclass(frozen=True)
class Seat:
    """Who claims. `index` sets workers with one seed apart; `name` is that of the process.

    `device` is what trainings share that have only `room` bytes together there; empty: no such limit. `before` are
    the numbers of the trials of earlier runs; None: all that are finished when this worker starts.
    """

    index: int = 0
    name: str = field(default_factory=lambda: worker_name(os.getpid()))
    device: str = ""
    room: float = 0.0
    before: frozenset[int] | None = None


@dataclass(frozen=True)
class Claim:
    """A running trial of this worker's, and the bytes that its training may take on the device.

    `token` is in the trial too: the storage may have made several of one claim, when its answer was lost on the way.
    """

    trial_id: int
    number: int
    memory: float = 0.0
    token: str = ""


class Board:
    """The trials of a study as they stood when `read` was last called.

    Attributes:
        history: every record, by trial number.
        workers: who made it, by the record's trial number.
        running: claims that nobody has closed.
    """

    def __init__(self, study: optuna.Study) -> None:
        self.study = study
        self._closed: set[int] = set()
        self._lost: dict[str, FrozenTrial] = {}
        self._leases: dict[int, tuple[int, float]] = {}
        self.history: list[Record] = []
        self.workers: dict[int, str] = {}
        self.read()

    def read(self) -> None:
        """Bring the board up to date; what is closed is looked at once."""
        self.trials = self.study.get_trials(deepcopy=False)
        self.running: list[FrozenTrial] = []
        fresh: list[Record] = []
        for trial in self.trials:
            if trial.number not in self._closed:
                fresh += self._look_at(trial)
        if fresh:
            self.history = sorted([*self.history, *fresh], key=lambda record: record.trial)

    def add(self, record: Record) -> None:
        """Take in a result of this worker's own, which the study has by now, without reading everything again."""
        self._closed.add(record.trial)
        self.running = [trial for trial in self.running if trial.number != record.trial]
        self.history = sorted([*self.history, record], key=lambda known: known.trial)

    def _look_at(self, trial: FrozenTrial) -> list[Record]:
        state = status(trial)
        if state == "running":
            self.running.append(trial)
        if not trial.state.is_finished():
            return []
        self._closed.add(trial.number)
        if state == "lost":
            self._lost[trial.user_attrs["arch"]] = trial
        if state not in STATES:
            return []
        self.workers[trial.number] = str(trial.user_attrs.get("worker"))
        return [record_of(trial)]

    @property
    def finished(self) -> list[FrozenTrial]:
        """Closed trials that count: records, and those of other programs."""
        return [trial for trial in self.trials if trial.state.is_finished() and status(trial) in (None, *STATES)]

    @property
    def trained(self) -> int:
        """Candidates that count towards the total."""
        return sum(record.state != "failed" for record in self.history)

    @property
    def archs(self) -> set[str]:
        """Ids of all networks that are finished or running."""
        return {record.arch for record in self.history} | {trial.user_attrs["arch"] for trial in self.running}

    @property
    def orphans(self) -> list[FrozenTrial]:
        """The last lost claim of every network that nobody has taken up again, by number."""
        if not self._lost:
            return []
        held = self.archs
        return [trial for arch, trial in self._lost.items() if arch not in held]

    def stale(self) -> list[FrozenTrial]:
        """Claims whose lease has rested for longer than `STALE` seconds of this process's clock.

        While the storage was away nobody could count: the seconds begin again when it is back.
        """
        now, back = time.monotonic(), waiter_of(store_of(self.study).storage).disturbed
        seen, self._leases = self._leases, {}
        for trial in self.running:
            lease = trial.user_attrs.get(LEASE, 0)
            before = seen.get(trial.number, (lease, now))
            self._leases[trial.number] = before if before[0] == lease else (lease, now)
        return [trial for trial in self.running if now - max(back, self._leases[trial.number][1]) > STALE]

    def of_dead_processes(self) -> list[FrozenTrial]:
        """Claims of processes of this machine that are no more."""
        return [trial for trial in self.running if _is_dead(str(trial.user_attrs.get("worker")))]

    def has_room(self, seat: Seat, memory: float, number: float = math.inf) -> bool:
        """Whether a training fits on the seat's device beside those of lower-numbered claims. Alone it always does."""
        others = [trial.user_attrs for trial in self.running if trial.number < number]
        used = [attrs["memory"] for attrs in others if seat.device and attrs.get("device") == seat.device]
        return not used or sum(used) + memory <= seat.room

    def settle(self, claim: Claim) -> Claim:
        """The claim as the storage has it: the lowest of those that lost answers have made; others are withdrawn."""
        mine = [trial for trial in self.running if trial.user_attrs.get(_TOKEN) == claim.token]
        for trial in mine[1:]:
            withdraw(self.study, store_of(self.study).trial_id(trial.number))
        if not mine:
            return claim
        number = mine[0].number
        return replace(claim, trial_id=store_of(self.study).trial_id(number), number=number)

    def stands(self, claim: Claim, arch: str, total: int, seat: Seat) -> str:
        """Empty if a claim stands; `taken`, `full` or `crowded` if lower numbers are in its way. Read first."""
        done = [record for record in self.history if record.trial < claim.number]
        held = [trial for trial in self.running if trial.number < claim.number]
        if arch in {record.arch for record in done} | {trial.user_attrs["arch"] for trial in held}:
            return "taken"
        places = sum(record.state != "failed" for record in done) + len(held)
        if places >= total:
            return "full"
        return "" if self.has_room(seat, claim.memory, claim.number) else "crowded"


def _is_dead(worker: str) -> bool:
    where, _, pid = worker.rpartition(":")
    if where != machine() or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def make_claim(
    study: optuna.Study,
    record: Record,
    draw: Draw,
    verdict: Verdict,
    seat: Seat,
    attempt: int = 1,
    memory: float = 0.0,
) -> Claim:
    """Add a running trial with everything that is known before its training. Whether it stands is not asked."""
    token = uuid.uuid4().hex
    attrs = {**record.proposal, SIZE: record.params, "worker": seat.name, "attempt": attempt, LEASE: 0, _TOKEN: token}
    if seat.device:
        attrs |= {"device": seat.device, "memory": memory}
    excess = {f"{'min_' if check.lower else ''}{check.name}": check.excess for check in verdict.limits}
    trial = optuna.trial.create_trial(
        state=TrialState.RUNNING,
        params=dict(draw.params),
        distributions=dict(draw.distributions),
        user_attrs=attrs,
        # The dashboard reads the list, Optuna's samplers the keyed values; both say: feasible.
        system_attrs={"constraints": list(excess.values())},
        constraints=excess,
    )
    store = store_of(study)
    trial_id = store.storage.create_new_trial(store.id, template_trial=trial)
    return Claim(trial_id, store.storage.get_trial_number_from_id(trial_id), memory, token)


def note_curve(study: optuna.Study, claim: Claim, curve: Sequence[Sequence[float]]) -> None:
    """Let others see what a training has measured so far; without effect once the claim was declared lost."""
    with suppress(UpdateFinishedTrialError):
        _set(study, claim.trial_id, {CURVE: list(curve)})


def finish(study: optuna.Study, claim: Claim, record: Record) -> Record | None:
    """Close a claim with its result; returns the record with its number, None if it was declared lost before."""
    record = sound(record)
    attrs: dict[str, Any] = {CURVE: record.curve, RESULT: record.result}
    if EFFORT in record.usage:
        attrs[EFFORT] = record.usage[EFFORT]
    done = _close(study, claim.trial_id, attrs, STATES[record.state], record.values)
    return replace(record, trial=claim.number) if done else None


def withdraw(study: optuna.Study, trial_id: int) -> bool:
    """Close a claim as if it had never been made; False if it was closed before, with a result or as lost."""
    return _close(study, trial_id, {FATE: "withdrawn"})


def interrupt(study: optuna.Study, trial_id: int) -> None:
    """Close a claim that is to be taken up again, which counts as no attempt. What has ended meanwhile stays."""
    _close(study, trial_id, {FATE: "lost", "reason": _INTERRUPTED})


def next_attempt(lost: FrozenTrial) -> int:
    """The number of the attempt that takes up a lost claim."""
    return int(lost.user_attrs["attempt"]) + (lost.user_attrs.get("reason") != _INTERRUPTED)


def lose(study: optuna.Study, trial: FrozenTrial, reason: str) -> Record | None:
    """Close a claim whose worker is gone. After the last attempt this is a failure, whose record is returned."""
    store = store_of(study)
    trial_id = store.trial_id(trial.number)
    if trial.user_attrs.get("attempt", 1) < ATTEMPTS:
        _close(study, trial_id, {FATE: "lost", "reason": reason})
        return None
    nothing: dict[str, Any] = {"val_accuracy": None, "epochs": 0, "train_seconds": 0.0, "usage": {}}
    result = {**nothing, "state": "failed", "reason": f"{reason}, in each of {ATTEMPTS} attempts"}
    closed = _close(study, trial_id, {CURVE: [], RESULT: result})
    return record_of(store.storage.get_trial(trial_id)) if closed else None


def _close(
    study: optuna.Study,
    trial_id: int,
    attrs: Mapping[str, Any],
    state: TrialState = TrialState.FAIL,
    values: Sequence[float] | None = None,
) -> bool:
    """Write attributes, then the state, which makes them final; False if somebody else closed the trial before."""
    try:
        _set(study, trial_id, attrs)
        return store_of(study).storage.set_trial_state_values(trial_id, state, values)
    except UpdateFinishedTrialError:
        return _is_closed_so(store_of(study).storage.get_trial(trial_id), attrs, state)


def _is_closed_so(trial: FrozenTrial, attrs: Mapping[str, Any], state: TrialState) -> bool:
    """Whether the trial was closed by just these words: they were said before, and the answer was lost on the way."""
    found = {name: value for name, value in trial.user_attrs.items() if name in (*attrs, FATE)}
    return trial.state == state and found == dict(attrs)


def _set(study: optuna.Study, trial_id: int, attrs: Mapping[str, Any]) -> None:
    for name, value in attrs.items():
        store_of(study).storage.set_trial_user_attr(trial_id, name, value)


@contextmanager
def beating(study: optuna.Study, claim: Claim, every: float = BEAT) -> Iterator[None]:
    """Show others that the claim's worker lives, from a thread of its own."""
    ended = threading.Event()

    def beat() -> None:
        lease = 0
        while not ended.wait(every):
            lease += 1
            # Declared lost, or the storage is away for too long: both show when the training is over.
            with suppress(UpdateFinishedTrialError, StudyError):
                _set(study, claim.trial_id, {LEASE: lease})

    thread = threading.Thread(target=beat, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
