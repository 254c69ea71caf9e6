"""What one worker knows of all networks that were drawn: the loop and the proposer write into the same ledger."""

from __future__ import annotations

from collections.abc import Sequence

from archsearch.errors import SpecError
from archsearch.network.arch import Arch
from archsearch.network.budget import Budget, Verdict
from archsearch.network.format_size import file_bytes
from archsearch.network.limits import LATENCY
from archsearch.study.observers import Counts, Observer
from archsearch.study.records import Record, Reject
from archsearch.workers.latencies import Latencies

KEPT_REJECTS = 10_000


class Ledger:
    """Counts, ids that were met, and rejects, which observers are told of.

    Args:
        budget: what candidates are held against.
        counts: of the history, to go on from.
        seen: ids of networks that are finished, running or rejected.
        latencies: where milliseconds are limited.
    """

    def __init__(
        self,
        budget: Budget,
        counts: Counts,
        seen: set[str],
        observers: Sequence[Observer] = (),
        latencies: Latencies | None = None,
    ) -> None:
        self.budget, self.counts, self.seen, self.observers = budget, counts, seen, observers
        self.latencies = latencies

    def judge(self, arch: Arch) -> Verdict | None:
        """Count a candidate as checked and, the first time it is over budget, as rejected.

        Returns:
            The verdict; None if the candidate makes no network.
        """
        self.counts.checked += 1
        try:
            verdict = self.budget.check(arch.cost)
        except SpecError as error:
            self._reject(arch, None, f"no network: {error}")
            return None
        if not verdict.ok:
            self._reject(arch, verdict, verdict.broke)
            return verdict
        return self.foresee(arch) or verdict

    def foresee(self, arch: Arch) -> Verdict | None:
        """The verdict on a network that is too slow by what was measured so far, counted as rejected; else None."""
        over = self.latencies.over(arch) if self.latencies else None
        if self.latencies is None or over is None:
            return None
        if self.latencies.of(arch):
            return self.time(arch, over)
        verdict = self.budget.check(arch.cost, {LATENCY: over})
        self._reject(arch, verdict, f"{verdict.broke} (predicted {over:.3g})")
        return verdict

    def time(self, arch: Arch, milliseconds: float) -> Verdict:
        """The verdict on a new network that was measured; over the limit it is counted as rejected."""
        verdict = self.budget.check(arch.cost, {LATENCY: milliseconds})
        if not verdict.ok:
            self._reject(arch, verdict, verdict.broke, milliseconds)
        return verdict

    def is_new(self, arch: Arch) -> bool:
        """Whether nobody has met it."""
        return _identity(arch) not in self.seen

    def duplicate(self) -> None:
        """A candidate was drawn that was met before."""
        self.counts.duplicates += 1
        self.tell()

    def drop(self, arch: Arch) -> None:
        """Nobody has trained this candidate: it may be drawn, and checked, again."""
        self.counts.checked -= 1
        self.seen.discard(arch.id)
        self.tell()

    def take_in(self, archs: set[str], history: Sequence[Record]) -> None:
        """What all workers have claimed and finished by now."""
        self.seen |= archs
        self.counts.trained = sum(record.state != "failed" for record in history)
        self.counts.failed = len(history) - self.counts.trained

    def tell(self, reject: Reject | None = None) -> None:
        """Let observers see the counts, and a reject."""
        for observer in self.observers:
            observer.checked(self.counts, reject)

    def _reject(self, arch: Arch, verdict: Verdict | None, broke: str, milliseconds: float | None = None) -> None:
        if not self.is_new(arch):
            return
        self.seen.add(_identity(arch))
        self.counts.over_budget += 1
        names = ["no network"] if verdict is None else [check.name for check in verdict.limits if not check.ok]
        for name in names:
            self.counts.broke[name] = self.counts.broke.get(name, 0) + 1
        keep = self.counts.over_budget <= KEPT_REJECTS
        self.tell(self._row(arch, verdict, broke, milliseconds) if keep else None)

    def _row(self, arch: Arch, verdict: Verdict | None, broke: str, milliseconds: float | None) -> Reject:
        if verdict is None:
            return Reject("", None, None, None, broke)
        cost = arch.cost
        return Reject(arch.id, cost.params, file_bytes(cost, self.budget.written), cost.macs, broke, milliseconds)


def _identity(arch: Arch) -> str:
    """A candidate's id; without a network, which has none, its description."""
    try:
        return arch.id
    except SpecError:
        return repr(arch)
