"""What a tracker is, and which ones there are."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from archsearch.errors import InputError

NAMES = ("tensorboard", "mlflow", "wandb")
"""Each is an extra, a package and a module beside this one."""

Value = str | int | float | bool


class Tracker(Protocol):
    """One place to which a search is told. All calls come from one thread; any error ends its use.

    Made without importing what it needs, which takes seconds: `open` does that.
    """

    def open(self, config: Mapping[str, Value]) -> None:
        """Before anything else; `config` is the search's."""

    def begin(self, arch: str, config: Mapping[str, Value]) -> None:
        """A candidate's training begins, for the first time or again."""

    def epoch(self, arch: str, epoch: int, metrics: Mapping[str, float]) -> None:
        """val_accuracy, val_score where that is another, and train_loss, val_loss, learning_rate as far as known."""

    def end(self, arch: str, state: str, summary: Mapping[str, float]) -> None:
        """A candidate is complete, stopped, failed or lost."""

    def close(self, columns: Sequence[str], rows: Sequence[Sequence[Value | None]]) -> None:
        """The front as a table. Whatever is still open is closed."""


def require(names: Sequence[str]) -> None:
    """Raises InputError where a tracker's package is not installed; imports nothing."""
    for name in names:
        if find_spec(name) is None:
            raise InputError(f"--track {name}: {name} is not installed; pip install 'archsearch[{name}]'")


def make_tracker(name: str, folder: Path, study: str, say: Callable[[str], None]) -> Tracker:
    """A tracker by its name; what it writes lies below `folder`. `say` tells the user a line."""
    module: Any = importlib.import_module(f"archsearch.tracking.{name}")
    tracker: Tracker = module.make(folder / "tracking", study, say)
    return tracker


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Value]:
    """Nested plain values under dotted names; lists as text, None left out."""
    found: dict[str, Value] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        elif value is not None:
            found[f"{prefix}{name}"] = value if isinstance(value, str | int | float | bool) else str(value)
    return found
