"""A search's events, handed to one tracker by a thread of its own: a slow or broken tracker holds up nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from queue import SimpleQueue
from typing import Any

from archsearch._utils.sharing import shared
from archsearch.errors import one_line
from archsearch.report.tables import BASE_COLUMNS, SCORE_COLUMN
from archsearch.study.observers import Candidate, Counts, Observer
from archsearch.study.records import Record, front
from archsearch.tracking.tracker import Tracker, flat

DRAIN_SECONDS = 300.0


class Tracking(Observer):
    """Tells one tracker of every candidate and epoch, and of the front in the end.

    The first error of the tracker is said in one line and switches it off.

    Args:
        name: of the tracker, for that line.
        config: of the search; plain values, nested ones under dotted names.
        say: told what a user must know.
        drain_seconds: seconds that the end of the search waits for a tracker to take everything in.
    """

    def __init__(
        self,
        name: str,
        tracker: Tracker,
        config: Mapping[str, Any],
        say: Callable[[str], None],
        drain_seconds: float = DRAIN_SECONDS,
    ) -> None:
        self.name, self.tracker, self.say, self.drain_seconds = name, tracker, say, drain_seconds
        self.config = config
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=f"track-{name}", daemon=True)

    def _work(self) -> None:
        """Make the calls in order; after an error only throw them away."""
        on = True
        while (call := self._calls.get()) is not None:
            if not on:
                continue
            try:
                call()
            except Exception as error:  # noqa: BLE001 - whatever a tracker throws must not end a search
                on = False
                self.say(f"tracking with {self.name} is off from here: {one_line(error)}")

    def prepared(self, words: str, about: Mapping[str, Any]) -> None:
        """What the tracker is told of the search."""
        told = shared(about)
        self.config = {**told, "space": told["space"]["name"]}

    def started(self, history: Sequence[Record], counts: Counts) -> None:
        """The tracker's packages are imported while the first candidate is drawn and trained."""
        self._thread.start()
        config = flat(self.config)
        self._calls.put(lambda: self.tracker.open(config))

    def training(self, candidate: Candidate) -> None:
        """With sizes, recipe and the values of all dims."""
        config = flat(self._about(candidate))
        self._calls.put(lambda: self.tracker.begin(candidate.arch.id, config))

    def _about(self, candidate: Candidate) -> dict[str, Any]:
        arch = candidate.arch
        recipe = {**self.config.get("settled_recipe", {}), **arch.recipe}
        sizes = {limit.name: limit.value for limit in candidate.verdict.limits}
        own = {"params": arch.cost.params, "macs": arch.cost.macs, **sizes, "summary": arch.summary}
        return {**own, "attempt": candidate.attempt, "recipe": recipe, "space": candidate.draw.params}

    def epoch(self, candidate: Candidate, epoch: int, accuracy: float, metrics: Mapping[str, float]) -> None:
        """All that the training knows."""
        values = {"val_score" if "val_accuracy" in metrics else "val_accuracy": accuracy, **metrics}
        self._calls.put(lambda: self.tracker.epoch(candidate.arch.id, epoch, values))

    def lost(self, arch: str, reason: str) -> None:
        """It may be trained again."""
        self._calls.put(lambda: self.tracker.end(arch, "lost", {}))

    def finished(self, record: Record, history: Sequence[Record], counts: Counts) -> None:
        """With what the tables hold of it."""
        values = {"epochs": record.epochs, "train_seconds": record.train_seconds, "params": record.params}
        if record.val_accuracy is not None:
            values["val_accuracy"] = record.val_accuracy
        if record.val_score is not None:
            values["val_score"] = record.val_score
        self._calls.put(lambda: self.tracker.end(record.arch, record.state, values))

    def ended(self, history: Sequence[Record], counts: Counts) -> None:
        """The front; then wait until the tracker has everything."""
        best = front(history)
        scored = [SCORE_COLUMN] if any(record.val_score is not None for record in best) else []
        columns = [*BASE_COLUMNS, *scored]
        rows = [[asdict(record)[name] for name in columns] for record in best]
        self._calls.put(lambda: self.tracker.close(columns, rows))
        self._calls.put(None)
        self._thread.join(self.drain_seconds)
        if self._thread.is_alive():
            self.say(f"tracking with {self.name}: not done after {self.drain_seconds:g} s; what it still has is lost")
