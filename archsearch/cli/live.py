"""What a person sees of a running search: a live view in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from archsearch._utils.scores import Score
from archsearch._utils.units import format_bytes, format_count, format_seconds, format_short
from archsearch.cli.screen import columns, shortened, wrapped
from archsearch.network.arch import Arch
from archsearch.study.observers import Candidate, Counts, Observer
from archsearch.study.records import Record, Reject, front

_ROWS, _SAID = 12, 4
_ACCURACY = Score()
_LONG = 600
"""Seconds of a run from which on it is said how to shorten it."""
_SILENCE = 10
"""Seconds without a line after which an epoch is one."""


def live_view(trials: int, epochs: int, timeout: float | None = None, score: Score = _ACCURACY) -> Lines:
    """The view that fits the output."""
    from rich.console import Console

    return (Live if sys.stdout.isatty() and Console().is_interactive else Lines)(trials, epochs, timeout, score)


def _cells(row: Record, score: Score) -> tuple[str, str, str, str, str]:
    shown = score.shown(row.score or 0.0)
    return row.arch, shown, format_count(row.params), format_bytes(row.size_bytes), row.summary


class Lines(Observer):
    """One line per finished candidate.

    Args:
        trials: to be trained in total. epochs: of a candidate.
        timeout: seconds after which no further candidate is started. score: what is maximised.
    """

    def __init__(self, trials: int, epochs: int, timeout: float | None = None, score: Score = _ACCURACY) -> None:
        self.trials, self.epochs, self.timeout, self.score = trials, epochs, timeout, score
        self.before = self.done = 0
        self.workers, self.expected = 1, 0.0
        self.clock = self.spoke = time.monotonic()

    def __enter__(self) -> Lines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is KeyboardInterrupt:
            self.tail("interrupted; everything finished is saved, --resume goes on")

    def prepared(self, words: str, about: Mapping[str, Any]) -> None:
        """What the run is about."""
        self.workers = about.get("workers", 1)
        self.head(f"archsearch: {words}")
        for line in about.get("data_notes", ()):
            self.head(line)
        if about["dataset"]["name"] == "digits":
            self.head("this is the embedded demonstration; add --dataset cifar10 for the real thing (170 MB download)")

    def noted(self, line: str) -> None:
        """The line."""
        self.head(line)

    def reference(self, record: Record, every: Sequence[Record]) -> None:
        """A line each."""
        self.head(self.describe(record))

    def started(self, history: Sequence[Record], counts: Counts) -> None:
        """Time is counted from here, over candidates of this run."""
        self.before, self.clock = counts.trained, time.monotonic()
        if history:
            self.head(f"going on with {counts.trained} trained candidates")

    def estimated(self, arch: Arch, seconds: float) -> None:
        """What to expect, and what to change where that is long."""
        self.expected = seconds
        cost, total = arch.cost, seconds * self.trials / self.workers
        room = "" if self.timeout is None or total < self.timeout else f", ended after {format_seconds(self.timeout)}"
        self.head(
            f"expected: {format_seconds(seconds)} a candidate (measured here on a median one: {format_short(cost.macs)}"
            f" MACs, {format_short(cost.params)} parameters), {format_seconds(total)} at most for {self.trials}{room}"
        )
        if total > _LONG and not room:
            limit = format_short(cost.macs / 2)
            self.head(f"to be done sooner: --max-macs {limit}, fewer --epochs or --trials, or a --timeout such as 20m")

    def training(self, candidate: Candidate) -> None:
        """Who is trained, where that will take long."""
        if self.expected > _SILENCE:
            self.head(f"training {self._about(candidate)}")

    def epoch(self, candidate: Candidate, epoch: int, accuracy: float, metrics: Mapping[str, float]) -> None:
        """A line if there was none for a while."""
        if time.monotonic() - self.spoke > _SILENCE:
            self.head(f"{candidate.arch.id}  epoch {epoch}/{self.epochs}  {self.score.shown(accuracy)}")

    def _about(self, candidate: Candidate, at: str = "") -> str:
        arch = candidate.arch
        return f"{arch.id}  {format_count(arch.cost.params)} params{at}  {arch.summary}"

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
        shown = "failed " if record.score is None else f"{self.score.shown(record.score):>7}"
        tail = record.reason or f"{record.train_seconds:.1f} s  {record.summary}"
        return f"{shown} {format_count(record.params):>11} params  {record.arch}  {tail}"

    def left(self, counts: Counts) -> str:
        """The expected time to the end, from the candidates of this run, or what the timeout leaves of it."""
        done, passed = counts.trained - self.before, time.monotonic() - self.clock
        each = passed / done if done else self.expected / self.workers
        ends = [each * (self.trials - counts.trained)] if each else []
        if self.timeout is not None:
            if passed > self.timeout:
                return "time is up, the last candidates are finishing"
            ends.append(self.timeout - passed)
        return f"about {format_seconds(min(ends))} left" if ends else "time left: unknown"

    def head(self, line: str) -> None:
        """A line that stays."""
        self.spoke = time.monotonic()
        print(*wrapped([line]), sep="\n", flush=True)

    def tail(self, *lines: str) -> None:
        """The last lines."""
        for line in lines:
            self.head(line)

    def table(self, rows: Sequence[Record]) -> None:
        """The front, smallest first."""
        each = (_cells(row, self.score) for row in rows)
        cells = [("", arch, shown, f"{params} params", *rest) for arch, shown, params, *rest in each]
        print(self.heading, *columns(cells, left=(1, 5), cut=True), sep="\n", flush=True)

    @property
    def heading(self) -> str:
        """Of the front."""
        return "Pareto front:" if self.score.is_accuracy else f"Pareto front, by {self.score.words}:"


class Live(Lines):
    """Counts, the current candidates, the front so far and the time left, on a screen of its own.

    A terminal that changes its width breaks the lines that stand on it, so nothing is redrawn among lines that stay:
    the terminal is as it was when the view closes. What was said meanwhile stands there then.
    """

    def __init__(self, trials: int, epochs: int, timeout: float | None = None, score: Score = _ACCURACY) -> None:
        super().__init__(trials, epochs, timeout, score)
        from rich.console import Console
        from rich.live import Live as RichLive

        self.console = Console()
        self.counts = Counts()
        self.now: dict[str, str] = {}
        self.rows: Sequence[Record] = ()
        self.above: list[str] = []
        self.said: list[str] = []
        self.live = RichLive(console=self.console, screen=True, refresh_per_second=4, get_renderable=self.render)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.stop()
        for line in self.said:
            self.head(line)
        if kind is not None and self.rows:
            self.table(self.rows)
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
        """Its epoch and score."""
        at = f"  epoch {epoch}/{self.epochs}  {self.score.shown(accuracy)}"
        self.now = {**self.now, candidate.arch.id: self._about(candidate, at)}

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
        """A line that stays, on the terminal once the view has closed."""
        if self.live.is_started:
            self.said.append(line)
        else:
            self.above.append(line)
            super().head(line)

    def table(self, rows: Sequence[Record]) -> None:
        """The final front; the live view has gone by now."""
        print(self.heading, *_front(rows, self.score), sep="\n", flush=True)

    def render(self) -> Any:
        """The whole view."""
        from rich.text import Text

        width, height = self.console.size
        lines = [*self._lines(width), *wrapped(self.said[-_SAID:], width)]
        room = max(1, min(_ROWS, height - len(lines) - 3))
        best = _front(self.rows[-room:], self.score, width) if self.rows else ["nothing is trained to the end yet"]
        return Text("\n".join([*lines, self.heading, *best]), no_wrap=True)

    def _lines(self, width: int) -> list[str]:
        """What the run is about, counts, and what is being trained."""
        counts = self.counts
        broke = ", ".join(f"{name} {n:,}" for name, n in sorted(counts.broke.items()))
        lines = [
            *self.above,
            f"checked {counts.checked:,}   over budget {counts.over_budget:,}" + (f" ({broke})" if broke else ""),
            f"trained {counts.trained:,} of {self.trials:,}   failed {counts.failed:,}   {self.left(counts)}",
        ]
        now, most = list(self.now.values()) or ["drawing candidates"], max(1, self.console.height // 3)
        more = [f"now: {len(now) - most} more"] if len(now) > most else []
        return [*wrapped(lines, width), *(shortened(f"now: {line}", width) for line in now[:most]), *more]


def _front(rows: Sequence[Record], score: Score, width: int | None = None) -> list[str]:
    heads = ("arch", f"val {score.words}", "params", "size", "network")
    return columns([heads, *(_cells(row, score) for row in rows)], left=(0, 4), width=width, cut=True)
