"""A progress bar for who calls `search` from a program or a notebook; it writes to stderr, as tqdm does."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from archsearch.study.observers import Candidate, Counts, Observer, trained
from archsearch.study.records import Record, front

_EVERY = 0.1  # seconds


def is_watched() -> bool:
    """Whether a person may be looking: stderr is a terminal, or this is a notebook."""
    return "ipykernel" in sys.modules or bool(sys.stderr and sys.stderr.isatty())


class ProgressBar(Observer):
    """Trained candidates of the total, the front so far, and what is trained now.

    Args:
        total: of candidates that are to be trained, those of the study's history included.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.bar: Any = None
        self.clock = 0.0

    def noted(self, line: str) -> None:
        """The line, above the bar."""
        from tqdm.auto import tqdm

        tqdm.write(f"archsearch: {line}", file=sys.stderr)

    def started(self, history: Sequence[Record], counts: Counts) -> None:
        """What the study has counts."""
        from tqdm.auto import tqdm

        self.bar = tqdm(total=self.total, initial=trained(history), unit="network", dynamic_ncols=True)
        self._describe(history)

    def training(self, candidate: Candidate) -> None:
        """Its id and size."""
        self._now(candidate, "")

    def epoch(self, candidate: Candidate, epoch: int, accuracy: float, metrics: Mapping[str, float]) -> None:
        """Its last epoch and score."""
        self._now(candidate, f", epoch {epoch}: {accuracy:.4g}")

    def _now(self, candidate: Candidate, more: str) -> None:
        arch, now = candidate.arch, time.monotonic()
        due = now - self.clock > _EVERY
        self.clock = now if due else self.clock
        self.bar.set_postfix_str(f"{arch.id} of {arch.cost.params:,} parameters{more}", refresh=due)

    def finished(self, record: Record, history: Sequence[Record], counts: Counts) -> None:
        """One step, unless it failed."""
        self._describe(history)
        self.bar.update(trained(history) - self.bar.n)

    def _describe(self, history: Sequence[Record]) -> None:
        best, failed = front(history), len(history) - trained(history)
        words = [f"front {len(best)}, best {best[-1].score:.4g}"] if best else []
        self.bar.set_description(", ".join([*words, f"failed {failed}"] if failed else words), refresh=False)

    def ended(self, history: Sequence[Record], counts: Counts) -> None:
        """The bar stays as it is."""
        self.bar.set_postfix_str("")
        self.bar.close()
