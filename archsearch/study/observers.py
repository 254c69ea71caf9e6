"""What happens in a search, and who is told of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from archsearch.network.arch import Arch
from archsearch.network.budget import Verdict
from archsearch.study.records import Draw, Record, Reject


@dataclass(frozen=True)
class Candidate:
    """A network inside the budget that is about to be trained, for the first time or after a crash."""

    arch: Arch
    verdict: Verdict
    draw: Draw
    attempt: int = 1


@dataclass
class Counts:
    """What became of the candidates whose cost was taken.

    `over_budget` counts distinct ones over the budget, or without a network; `duplicates` every draw of one that
    was drawn before. With a stock sampler checked = over_budget + duplicates + trained + failed (+ one in
    training); the sampler `pareto` also checks candidates that fit but promise less.
    """

    checked: int = 0
    over_budget: int = 0
    duplicates: int = 0
    trained: int = 0
    failed: int = 0
    broke: dict[str, int] = field(default_factory=dict)


class Observer:
    """Told of everything that happens in a search; every method may be left as it is."""

    def prepared(self, words: str, about: Mapping[str, Any]) -> None:
        """Before a run starts: data, space, budget and device in one line, and what `run.json` says."""

    def noted(self, line: str) -> None:
        """What is worth knowing of space and budget, such as a limit that lies idle, and what has to be waited for."""

    def reference(self, record: Record, every: Sequence[Record]) -> None:
        """A textbook's network was trained or failed; `every` holds those that are trained."""

    def started(self, history: Sequence[Record], counts: Counts) -> None:
        """Before the first draw; `history` holds what an earlier run of the study finished."""

    def estimated(self, arch: Arch, seconds: float) -> None:
        """How long a whole training of a typical candidate takes here, measured before the first one."""

    def checked(self, counts: Counts, reject: Reject | None) -> None:
        """After every draw that is not trained; `reject` for the first 10,000 distinct ones over budget."""

    def training(self, candidate: Candidate) -> None:
        """Before a candidate is trained."""

    def epoch(self, candidate: Candidate, epoch: int, accuracy: float, metrics: Mapping[str, float]) -> None:
        """After every report of the training; `metrics` as far as it has any, such as losses."""

    def lost(self, arch: str, reason: str) -> None:
        """The worker that trained this candidate is gone: somebody will train it again."""

    def outage(self, line: str) -> None:
        """The study's storage is away: everybody waits for it."""

    def measured(self, candidate: Candidate, record: Record, history: Sequence[Record]) -> None:
        """A candidate is finished but not yet in the study: the time to save what must be there with it."""

    def finished(self, record: Record, history: Sequence[Record], counts: Counts) -> None:
        """A candidate is in the study; `history` includes it."""

    def ended(self, history: Sequence[Record], counts: Counts) -> None:
        """After the last candidate, also when the search is interrupted."""


def trained(history: Sequence[Record]) -> int:
    """How many candidates count towards the total: complete or stopped by a rung."""
    return sum(record.state in ("complete", "stopped") for record in history)


def up_to_date(counts: Counts, history: Sequence[Record], orphans: int) -> Counts:
    """Counts of an earlier run that hold for its study, which a kill may have left one candidate ahead.

    Orphans are to be trained again without being checked again.
    """
    done = trained(history)
    late = len(history) - counts.trained - counts.failed
    least = counts.over_budget + counts.duplicates + len(history) + orphans
    return replace(counts, checked=max(counts.checked + late, least), trained=done, failed=len(history) - done)
