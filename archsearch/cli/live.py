"""What a person sees of a running search: a live view in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from archsearch._utils.units import format_bytes, format_count, format_seconds
from archsearch.study.observers import Candidate, Counts, Observer
from archsearch.study.records import Record, Reject, front

_ROWS = 12


def live_view(trials: int, epochs: int, timeout: float | None = None) -> Lines:
    """The view that fits the output."""
    return (Live if sys.stdout.isatty() else Lines)(trials, epochs, timeout)


class Lines(Observer):
    """One line per finished candidate.

    Args:
        trials: to be trained in total. epochs: of a candidate.
        timeout: seconds after which no further candidate is started.
    """

    def __init__(self, trials: int, epochs: int, timeout: float | None = None) -> None:
        self.trials, self.epochs, self.timeout = trials, epochs, timeout
        self.before = self.done = 0
        self.clock = time.monotonic()

    def __enter__(self) -> Lines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is KeyboardInterrupt:
            self.tail("interrupted; everything finished is saved, --resume goes on")

    def prepared(self, words: str, about: Mapping[str, Any]) -> None:
        """What the run is about."""
        self.head(f"archsearch: {words}")
        for line in about.get("data_notes", ()):
            self.head(line)
        if about["dataset"]["name"] == "digits":
            self.head("this is the embedded demonstration; add --dataset cifar10 for the real thing (170 MB download)")

    def reference(self, record: Record, every: Sequence[Record]) -> None:
        """A line each."""
        self.head(self.describe(record))

    def started(self, history: Sequence[Record], counts: Counts) -> None:
        """Time is counted from here, over candidates of this run."""
        self.before, self.clock = counts.trained, time.monotonic()
        if history:
            self.head(f"going on with {counts.trained} trained candidates")

    def finished(self, record: Record, history: Sequence[Record], counts: Counts) -> None:
        """`[ 3/24]  97.21%  78,042 params  ...`"""
        self.done += record.state != "failed"
        self.head(f"[{counts.trained:>{len(str(self.trials))}}/{self.trials}] {self.describe(record)}")

    def lost(self, arch: str, reason: str) -> None:
        """A crash is worth a line, even if the next attempt succeeds."""
        self.head(f"{arch}: {reason}")

    def outage(self, line: str) -> None:
        """Why nothing happens for a while."""
        self.head(line)

    def describe(self, record: Record) -> str:
        """A finished candidate in one line."""
        accuracy = "failed " if record.val_accuracy is None else f"{100 * record.val_accuracy:6.2f}%"
        tail = record.reason or f"{record.train_seconds:.1f} s  {record.summary}"
        return f"{accuracy} {format_count(record.params):>11} params  {record.arch}  {tail}"

    def left(self, counts: Counts) -> str:
        """The expected time to the end, from the candidates of this run, or what the timeout leaves of it."""
        done, passed = counts.trained - self.before, time.monotonic() - self.clock
        ends = [passed / done * (self.trials - counts.trained)] if done else []
        if self.timeout is not None:
            if passed > self.timeout:
                return "time is up, the last candidates are finishing"
            ends.append(self.timeout - passed)
        return f"about {format_seconds(min(ends))} left" if ends else "time left: unknown"

    def head(self, line: str) -> None:
        """A line that stays."""
        print(line, flush=True)

    def tail(self, *lines: str) -> None:
        """The last lines."""
        for line in lines:
            print(line, flush=True)

    def table(self, rows: Sequence[Record]) -> None:
        """The front, smallest first."""
        self.head("Pareto front:")
        for row in rows:
            accuracy = 100 * (row.val_accuracy or 0)
            self.head(
                f"  {row.arch}  {accuracy:6.2f}%  {format_count(row.params):>11} params"
                f"  {format_bytes(row.size_bytes):>9}  {row.summary}"
            )


class Live(Lines):
    """A table that is redrawn in place: counts, the current candidate, the front so far, time left."""

    def __init__(self, trials: int, epochs: int, timeout: float | None = None) -> None:
        super().__init__(trials, epochs, timeout)
        from rich.console import Console
        from rich.live import Live as RichLive

        self.console = Console()
        self.counts = Counts()
        self.now: dict[str, str] = {}
        self.rows: Sequence[Record] = ()
        self.live = RichLive(console=self.console, refresh_per_second=4, get_renderable=self.render)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.stop()
        super().__exit__(kind, error, trace)

    def started(self, history: Sequence[Record], counts: Counts) -> None:
        """What an earlier run found is on the front already."""
        super().started(history, counts)
        self.counts, self.rows = counts, front(history)
        self.live.start()

    def checked(self, counts: Counts, reject: Reject | None) -> None:
        """Counts move with every draw."""
        self.counts = counts

    def training(self, candidate: Candidate) -> None:
        """A candidate whose epochs come next; each worker has one."""
        self.now = {**self.now, candidate.arch.id: self._about(candidate)}

    def epoch(self, candidate: Candidate, epoch: int, accuracy: float, metrics: Mapping[str, float]) -> None:
        """Its epoch and accuracy."""
        at = f"  epoch {epoch}/{self.epochs}  {100 * accuracy:.2f}%"
        self.now = {**self.now, candidate.arch.id: self._about(candidate) + at}

    def _about(self, candidate: Candidate) -> str:
        arch = candidate.arch
        return f"{arch.id}  {format_count(arch.cost.params)} params  {arch.summary}"

    def lost(self, arch: str, reason: str) -> None:
        """It is trained no more, for now."""
        super().lost(arch, reason)
        self.now = {name: line for name, line in self.now.items() if name != arch}

    def finished(self, record: Record, history: Sequence[Record], counts: Counts) -> None:
        """The front so far."""
        self.rows, self.counts = front(history), counts
        self.now = {name: line for name, line in self.now.items() if name != record.arch}
        if record.state == "failed":
            self.head(self.describe(record))

    def head(self, line: str) -> None:
        """A line above the live view."""
        self.console.print(line, markup=False, highlight=False)

    def tail(self, *lines: str) -> None:
        """The last lines."""
        for line in lines:
            self.head(line)

    def table(self, rows: Sequence[Record]) -> None:
        """The final front; the live view has gone by now."""
        self.console.print(self._front(rows))

    def render(self) -> Any:
        """The whole view."""
        from rich.console import Group
        from rich.text import Text

        counts = self.counts
        broke = ", ".join(f"{name} {n:,}" for name, n in sorted(counts.broke.items()))
        lines = [
            f"checked {counts.checked:,}   over budget {counts.over_budget:,}" + (f" ({broke})" if broke else ""),
            f"trained {counts.trained} of {self.trials}   failed {counts.failed}   {self.left(counts)}",
            *(f"now: {line}" for line in self.now.values() or ["drawing"]),
        ]
        return Group(
            *(Text(line, no_wrap=True, overflow="ellipsis") for line in lines), self._front(self.rows[-_ROWS:])
        )

    def _front(self, rows: Sequence[Record]) -> Any:
        from rich.table import Table

        table = Table(title="Pareto front", title_justify="left", box=None, pad_edge=False)
        for name in ("arch", "val accuracy", "params", "size"):
            table.add_column(name, justify="left" if name == "arch" else "right", no_wrap=True)
        table.add_column("network", no_wrap=True, overflow="ellipsis")
        for row in rows:
            accuracy = f"{100 * (row.val_accuracy or 0):.2f}%"
            table.add_row(row.arch, accuracy, format_count(row.params), format_bytes(row.size_bytes), row.summary)
        return table
