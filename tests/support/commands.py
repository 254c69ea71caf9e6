"""`archsearch` in real processes: a tiny space, a small run, what a command said, and what files it is given."""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from archsearch.cli import main

TINY = """summary = "tiny"
[stem]
type = "conv"
width = { choice = [4, 8] }
[[stage]]
block = { choice = ["basic", "nin"] }
width = { choice = [8, 12, 16, 256] }
stride = 2
kernel = { choice = [1, 3] }
[head]
type = "linear"
"""
RUN = ["run", "--max-params", "20k", "--space", "tiny.toml", "--trials", "5", "--epochs", "2", "--seed", "3"]
STUDY = "digits-tiny-params20k"
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "COLUMNS": "160", "TERM": "xterm-256color"}


@dataclass
class Answer:
    """What a command said: its exit status and both streams."""

    status: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line on stderr; anything else is a failure."""
        lines = self.err.splitlines()
        assert len(lines) == 1, f"stderr must hold one line: {self.err!r}"
        assert lines[0].startswith("archsearch: ")
        return lines[0]


class Process:
    """`archsearch ARGS` in a process of its own, forked from one that has imported everything."""

    def __init__(
        self, args: list[str], cwd: Path, log: Path, terminal: str = "", environment: dict[str, str] | None = None
    ) -> None:
        log.mkdir(parents=True, exist_ok=True)
        self.log = log
        self.args = args
        context = multiprocessing.get_context("forkserver")
        self.process = context.Process(target=_child, args=(args, str(cwd), str(log), terminal, environment or {}))
        self.process.start()

    def lines(self) -> list[str]:
        """What stands on stdout by now, in whole lines."""
        path = self.log / "out"
        return path.read_text().split("\n")[:-1] if path.exists() else []

    def signal(self, number: int) -> None:
        assert self.process.pid
        os.kill(self.process.pid, number)

    def wait(self, seconds: float = 120) -> Answer:
        self.process.join(seconds)
        status = self.process.exitcode
        if status is None:
            self.process.kill()
            self.process.join()
            pytest.fail(f"archsearch {' '.join(self.args)} was still running after {seconds} s: {self.lines()}")
        texts = [(self.log / name).read_text() if (self.log / name).exists() else "" for name in ("out", "err")]
        return Answer(status, *texts)


def _child(args: list[str], cwd: str, log: str, terminal: str, environment: dict[str, str]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(cwd)
    sys.path.insert(0, cwd)
    for number, name in ((1, "out"), (2, "err")):
        flags = os.O_RDWR | (0 if terminal else os.O_CREAT | os.O_APPEND)
        os.dup2(os.open(terminal or str(Path(log) / name), flags, 0o666), number)
    os.environ.update(ENVIRONMENT | environment)
    forked_by_the_same()
    sys.argv = ["archsearch", *args]
    main(args)


def forked_by_the_same() -> None:
    """Workers come from the process that this one comes from: a second one would import everything again."""
    server = multiprocessing.forkserver
    server.ensure_running = server._forkserver.ensure_running = lambda: None


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below a folder by its relative path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def small_npz(path: Path, **changes: object) -> Path:
    """Two classes of dark and bright 8x8 pictures that anything can tell apart; None leaves an array out."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    images = (rng.integers(0, 60, (60, 8, 8)) + 180 * labels[:, None, None]).astype(np.uint8)
    arrays: dict[str, object] = {
        "train_images": images, "train_labels": labels, "test_images": images[:10], "test_labels": labels[:10],
        **changes,
    }  # fmt: skip
    np.savez(path, allow_pickle=True, **{name: value for name, value in arrays.items() if value is not None})
    return path


def until(done: Callable[[], bool], process: Process, seconds: float = 90) -> None:
    """Wait for something that a running process does."""
    end = time.monotonic() + seconds
    while not done():
        assert process.process.is_alive(), "the process ended too early"
        assert time.monotonic() < end, f"still not there: {process.lines()}"
        time.sleep(0.02)
