"""The state of a training that is not finished, in a file, so that another process can go on with it."""

from __future__ import annotations

import io
import math
import pickle
import time
from pathlib import Path
from typing import Any

import torch

from archsearch._utils.files import write_with

_EVERY = 60.0


class Checkpoint:
    """One training's state on disk, written at most every `every` seconds.

    Args:
        key: says which training it is; a file with another key is none of this one's and is written over.
        until: from this monotonic time on every state is due, since the training may be stopped after any.

    Attributes:
        before, epochs: seconds and epochs of the training up to the state that was read.
    """

    def __init__(self, path: Path, key: str, every: float = _EVERY, until: float = math.inf) -> None:
        self.path, self.key, self.every, self.until = path, key, every, until
        self._started = self._written = time.monotonic()
        self.before, self.epochs = 0.0, 0

    @property
    def seconds(self) -> float:
        """The time of the training so far, in all processes that had a part in it."""
        return self.before + time.monotonic() - self._started

    @property
    def is_due(self) -> bool:
        """Whether the last one is old enough, or the end is near."""
        now = time.monotonic()
        return now - self._written >= self.every or now >= self.until

    def read(self) -> dict[str, Any] | None:
        """The state, its tensors on the CPU; None where there is no file, or none of this training."""
        found = self.found()
        if found is None or found["key"] != self.key:
            return None
        self.before = found["seconds"]
        state: dict[str, Any] = found["state"]
        self.epochs = state.get("epoch", 0)
        return state

    def found(self) -> dict[str, Any] | None:
        """Key, seconds and state of whatever training the file is of; None where there is none."""
        try:
            found = torch.load(self.path, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            return None
        except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError):  # not a file of ours
            return None
        return found if isinstance(found, dict) and "key" in found else None

    def write(self, state: dict[str, Any]) -> None:
        """Keep a state of tensors and plain values, whole; makes the folder. Raises OSError."""
        buffer = io.BytesIO()  # to a full disk torch itself would raise a RuntimeError
        torch.save({"key": self.key, "seconds": self.seconds, "state": state}, buffer)
        write_with(self.path, lambda temporary: temporary.write_bytes(buffer.getbuffer()))
        self._written = time.monotonic()

    def remove(self) -> None:
        """The training is over."""
        self.path.unlink(missing_ok=True)
