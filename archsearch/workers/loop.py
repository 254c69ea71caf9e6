"""The loop of one worker: ask, check, reject or claim, train, tell."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import optuna

from archsearch.errors import NothingFeasible, SpaceExhausted, StopTraining
from archsearch.network.arch import Arch
from archsearch.network.budget import Budget, Verdict
from archsearch.network.limits import LATENCY
from archsearch.sampler.asha import Rungs
from archsearch.space.domain import Domain
from archsearch.space.feasibility import check_feasible, nothing_at_once
from archsearch.study.leases import (
    Board,
    Claim,
    Seat,
    beating,
    finish,
    interrupt,
    lose,
    make_claim,
    next_attempt,
    note_curve,
    withdraw,
)
from archsearch.study.observers import Candidate, Counts, Observer, up_to_date
from archsearch.study.records import Draw, Record
from archsearch.study.storage import score_of
from archsearch.workers.latencies import IN_VAIN, Latencies
from archsearch.workers.ledger import Ledger
from archsearch.workers.measure import Curve, Evaluate, measure, proposal
from archsearch.workers.proposer import Draft, TrainingCost

MAX_FAILURES = 10
_SAMPLER_DRAWS = 200
_RANDOM_DRAWS = 20_000
_WAIT = 0.2
_FAR = 1e3
"""The largest excess that a sampler is told of."""


@dataclass
class Loop:
    """One worker's search at a study; the arguments are those of `search`."""

    domain: Domain
    budget: Budget
    seed: int
    study: optuna.Study
    rungs: Rungs | None
    observers: Sequence[Observer]
    seat: Seat
    memory: Callable[[Arch], float]
    latencies: Latencies | None = None
    training_cost: TrainingCost | None = None

    def __post_init__(self) -> None:
        self.deadline = float("inf")
        self._learnt: set[int] = set()
        self.board = Board(self.study)
        self.score = score_of(self.study)

    def start(self, sampler: str, counts: Counts | None, rejected: Iterable[str]) -> None:
        """Take the study's history in."""
        known = frozenset(record.trial for record in self.board.history)
        self.before = known if self.seat.before is None else self.seat.before
        counts = up_to_date(counts or Counts(), self.board.history, len(self.board.orphans))
        seen = self.board.archs | set(rejected)
        self.ledger = Ledger(self.budget, counts, seen, self.observers, self.latencies)
        history, cost = self.board.finished, self.training_cost
        self.draft = Draft(sampler, self.seed, history, self.domain, self.ledger, self.seat.index, cost)

    @property
    def counts(self) -> Counts:
        """What became of the candidates whose cost was taken."""
        return self.ledger.counts

    @property
    def history(self) -> Sequence[Record]:
        """Every finished candidate of all workers, as far as this one knows."""
        return self.board.history

    def __call__(self, evaluate: Evaluate, trials: Callable[[], int], timeout: float | None) -> str:
        """Search until one of the ends of `search`, which is returned."""
        check_feasible(self.domain, self.budget)
        self._tell(lambda observer: observer.started(self.history, self.counts))
        try:
            return self._loop(evaluate, trials, timeout)
        finally:
            self._tell(lambda observer: observer.ended(self.history, self.counts))

    def _loop(self, evaluate: Evaluate, total: Callable[[], int], timeout: float | None) -> str:
        self.deadline = deadline = float("inf") if timeout is None else time.monotonic() + timeout
        if self.latencies and self._look() < total():
            self.latencies.begin(self.domain, deadline)
        while self._look() < (trials := total()):
            if self._failing():
                return "failures"
            if time.monotonic() >= deadline:
                return "timeout"
            if self.board.trained + len(self.board.running) >= trials:
                time.sleep(_WAIT)  # every place is taken, but a training may yet fail
                continue
            try:
                candidate = self._orphan() or self._next(deadline)
            except SpaceExhausted:
                return "exhausted"
            if candidate is None:
                return "timeout"
            claim = self._claim(candidate, trials)
            if claim:
                self._train(candidate, claim, evaluate)
        return "trials"

    def _failing(self) -> bool:
        """Whether the last ten candidates of all workers failed, those of earlier runs left out."""
        last = [record for record in self.history if record.trial not in self.before][-MAX_FAILURES:]
        return len(last) == MAX_FAILURES and all(record.state == "failed" for record in last)

    def _look(self) -> int:
        """See what other workers did since; returns how many candidates are trained."""
        self.board.read()
        for trial in self.board.stale():
            lose(self.study, trial, "worker gone: its lease ran out")
        self.draft.update(self.board.trials)
        self.ledger.take_in(self.board.archs, self.history)
        self._learn()
        return self.board.trained

    def _learn(self) -> None:
        """What the study says of milliseconds."""
        if not self.latencies:
            return
        for trial in self.board.trials:
            known = trial.user_attrs.get("more", {}).get(LATENCY)
            if known is not None and trial.number not in self._learnt:
                self._learnt.add(trial.number)
                self.latencies.keep(self.domain.arch(trial.params), known)

    def _orphan(self) -> Candidate | None:
        """A candidate whose worker is gone, to be trained again."""
        for trial in self.board.orphans:
            arch = self.domain.arch(trial.params)
            draw = Draw(dict(trial.params), dict(trial.distributions))
            return Candidate(arch, self.budget.check(arch.cost), draw, next_attempt(trial))
        return None

    def _next(self, deadline: float) -> Candidate | None:
        """The next new candidate inside the budget; None when time is up first."""
        for i in range(_SAMPLER_DRAWS + _RANDOM_DRAWS):
            if time.monotonic() >= deadline:
                return None
            if self.latencies and self.latencies.in_vain >= IN_VAIN:
                break
            try:
                draw, ask = self.draft.ask() if i < _SAMPLER_DRAWS else self.draft.ask_random()
            except NothingFeasible:
                raise self._nothing() from None
            candidate = self._consider(self.domain.draw(ask), draw)
            if candidate:
                return candidate
        if not self.counts.trained and not self.counts.failed:
            raise self._nothing()
        raise SpaceExhausted(f"no new candidate inside the budget in {_SAMPLER_DRAWS + _RANDOM_DRAWS:,} draws")

    def _nothing(self) -> NothingFeasible:
        reason = nothing_at_once(self.domain, self.budget)
        return self.latencies.nothing(reason) if self.latencies else reason

    def _consider(self, arch: Arch, draw: Draw) -> Candidate | None:
        """Exact cost, then the verdict: over budget, a duplicate, or a candidate."""
        new = self.ledger.is_new(arch)
        verdict = self.budget.check(arch.cost) if self.draft.judges else self.ledger.judge(arch)
        if verdict is None or not verdict.ok:
            self.counts.duplicates += not new
            self._refuse(arch, draw, verdict)
            return None
        if not new:
            self.draft.drop(draw)
            self.ledger.duplicate()
            return None
        timed = self._timed(self.latencies, arch, draw) if self.latencies else verdict
        if timed is None:
            return None
        self.ledger.seen.add(arch.id)
        return Candidate(arch, timed, draw)

    def _timed(self, latencies: Latencies, arch: Arch, draw: Draw) -> Verdict | None:
        """The verdict with milliseconds, which are measured now; None where they are too many, or time is up first."""
        verdict = self.ledger.foresee(arch)
        if verdict is None:
            measured = latencies.measured(arch, self.deadline)
            if measured is None:
                self.draft.drop(draw)
                self.ledger.drop(arch)
                return None
            verdict = self.ledger.time(arch, measured)
        if verdict.ok:
            return verdict
        self._refuse(arch, draw, verdict)
        return None

    def _refuse(self, arch: Arch, draw: Draw, verdict: Verdict | None) -> None:
        """Teach the sampler what is over budget; what makes no network teaches it nothing."""
        if verdict is None:
            self.draft.drop(draw)
        else:
            self.draft.reject(draw, arch.cost.params, min(verdict.excess, _FAR))

    def _claim(self, candidate: Candidate, trials: int) -> Claim | None:
        """Claim a candidate; None if another worker was faster, or the last place is taken."""
        obstacle = "crowded"
        while obstacle == "crowded":
            claim = self._try_claim(candidate)
            obstacle = self.board.stands(claim, candidate.arch.id, trials, self.seat)
            if not obstacle:
                return claim
            withdraw(self.study, claim.trial_id)
        self.draft.drop(candidate.draw)
        if candidate.attempt == 1 and obstacle == "taken":
            self.ledger.duplicate()
        elif candidate.attempt == 1:
            self.ledger.drop(candidate.arch)
        return None

    def _try_claim(self, candidate: Candidate) -> Claim:
        """A claim, as soon as the device has room for it."""
        row = self._told(candidate.arch, proposal(candidate.arch, self.budget, self.seed))
        bytes_needed = self.memory(candidate.arch)
        while not self.board.has_room(self.seat, bytes_needed):
            time.sleep(_WAIT)
            self.board.read()
        claim = make_claim(
            self.study,
            row,
            candidate.draw,
            candidate.verdict,
            self.seat,
            candidate.attempt,
            bytes_needed,
        )
        self.board.read()
        claim = self.board.settle(claim)
        self.draft.own(claim.number)
        return claim

    def _train(self, candidate: Candidate, claim: Claim, evaluate: Evaluate) -> None:
        self._tell(lambda observer: observer.training(candidate))
        follow = partial(self._follow, candidate, claim)
        try:
            with beating(self.study, claim):
                record = measure(candidate.arch, evaluate, follow, self.budget, self.seed)
                record = self._told(candidate.arch, record)
                self._tell(lambda observer: observer.measured(candidate, record, [*self.history, record]))
            done = finish(self.study, claim, record)
        except Exception:
            # without an end it is no candidate: a resumed search may draw it again
            self.counts.checked -= withdraw(self.study, claim.trial_id)
            raise
        except BaseException:
            interrupt(self.study, claim.trial_id)
            raise
        self._commit(candidate, done)

    def _told(self, arch: Arch, record: Record) -> Record:
        """With the searched part of its input in the summary, and what was measured of it."""
        timed = self.latencies.of(arch) if self.latencies else {}
        return replace(record, summary=self.domain.summary(arch), more={**record.more, **timed})

    def _follow(self, candidate: Candidate, claim: Claim, curve: Curve, metrics: Mapping[str, float]) -> None:
        """Tell of an epoch. Raises StopTraining at a rung."""
        epoch, accuracy = int(curve[-1][0]), curve[-1][1]
        self._tell(lambda observer: observer.epoch(candidate, epoch, accuracy, metrics))
        if self.rungs and epoch in self.rungs.at:
            self._judge(self.rungs, claim, curve, candidate.arch.cost.params)

    def _judge(self, rungs: Rungs, claim: Claim, curve: Curve, size: int) -> None:
        """Compare it with all that were measured at this rung, by any worker. Raises StopTraining."""
        epoch, accuracy = int(curve[-1][0]), curve[-1][1]
        note_curve(self.study, claim, curve)
        self.board.read()
        trials = [*self.board.running, *self.board.finished]
        standing = rungs.standing(trials, claim.number, epoch, accuracy, size)
        if not standing.goes_on:
            raise StopTraining(
                f"stopped after {epoch} of {rungs.epochs} epochs: {standing.dominators} of {standing.peers} others"
                f" were no larger and {self.score.no_worse} there"
            )

    def _commit(self, candidate: Candidate, record: Record | None) -> None:
        """Tell everybody of a record; None if the claim was declared lost: who takes it up will measure it again."""
        if record is None or record.state == "failed":
            self.draft.drop(candidate.draw)
        else:
            self.draft.finish(candidate.draw, record)
        if record:
            self.board.add(record)
            self.ledger.take_in(set(), self.history)
            self._tell(lambda observer: observer.finished(record, self.history, self.counts))

    def _tell(self, what: Callable[[Observer], None]) -> None:
        for observer in self.observers:
            what(observer)
