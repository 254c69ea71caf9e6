"""How many CPU threads a training step takes: all of them, or fewer where other processes want the cores.

The threads of a step wait for each other at every layer. Where one of them waits for a core, all do: beside two busy
processes two threads on two cores may get a twentieth of what one thread gets.

    tuner = ThreadTuner(threads)
    tuner.start()
    with tuner:
        loss = step(images, labels)
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

CORES = torch.get_num_threads()
"""What torch takes by itself."""
_FEWEST, _LEAST, _MOST = 3, 0.3, 1.0
"""So many steps say how long one takes, if they took so many seconds; fewer do if they took the most."""
_WAITING = 0.65
"""Threads that computed for less than this share of the time had to wait for cores: fewer are tried."""
_OWN = 0.9
"""Threads that computed for more than this share had their cores for themselves: more are tried."""
_STARVED = 0.8
"""All threads together had less than this share of one core: something else runs, whatever a first step prepares."""
_GAIN = 0.85
"""Another number is kept where a step takes less than this share of the time."""
_REST = 50
"""After a try in vain so many times its seconds pass before the next."""


class ThreadTuner:
    """The number of threads of one step after the other, chosen by how long they took.

    Where nothing else runs it stays at what a training begins with, and reruns are equal to the last digit.

    Args:
        most: threads at most; None: all cores.
        tell: is given a line, once, when fewer were faster.

    Attributes:
        count: of the next step that is not little.
    """

    def __init__(self, most: int | None = None, tell: Callable[[str], None] | None = None) -> None:
        self.most = self.count = most or CORES
        self._tell = tell
        self._chooses = False
        self._before: tuple[int, float] | None = None
        self._rest = 0.0
        self._clocks = 0.0, 0.0
        self._first, self._steps, self._wall, self._cpu = True, 0, 0.0, 0.0

    def start(self, little: bool = False, fixed: bool = False) -> None:
        """Begin a training, with the number of threads of the last one.

        Args:
            little: its steps stay with one thread, as a second waits more than it helps.
            fixed: the number does not change.
        """
        self.fresh()
        self._chooses = self.most > 1 and not little and not fixed
        torch.set_num_threads(1 if little else self.count)

    def fresh(self) -> None:
        """Steps are others from here on: a try that is not over is given up."""
        if self._before:
            self._set(self._before[0])
        self._before = None
        self._forget(first=True)

    def __enter__(self) -> None:
        self._clocks = time.perf_counter(), time.process_time()

    def __exit__(self, *_: object) -> None:
        now = time.perf_counter(), time.process_time()
        self.note(now[0] - self._clocks[0], now[1] - self._clocks[1])

    def note(self, wall: float, cpu: float) -> None:
        """A step took so many seconds, in which the threads computed for `cpu` seconds together."""
        if not self._chooses:
            return
        before = self._before
        hopeless = before and self.count > before[0] and wall > 2 * before[1]
        if self._first and not hopeless and cpu > _STARVED * wall:
            self._first = False  # it makes plans and threads
            return
        self._first = False
        self._steps, self._wall, self._cpu = self._steps + 1, self._wall + wall, self._cpu + cpu
        enough = self._wall >= _MOST or (self._steps >= _FEWEST and self._wall >= _LEAST)
        if not enough and not hopeless:
            return
        spent, seconds, share = self._wall, self._wall / self._steps, self._cpu / self._wall / self.count
        starved = self.count > 1 and self._cpu < _STARVED * self._wall
        self._forget()
        if before:
            self._judge(*before, seconds, spent)
        elif self._rest > 0 and not starved:
            self._rest -= spent
        elif share < _WAITING and self.count > 1:
            self._try(self.count // 2, seconds)
        elif share > _OWN and self.count < self.most:
            self._try(min(2 * self.count, self.most), seconds)

    def _try(self, count: int, seconds: float) -> None:
        self._before = self.count, seconds
        self._set(count)

    def _judge(self, count: int, before: float, seconds: float, spent: float) -> None:
        """Keep what is tried where a step is faster than with `count` threads; else back to these for a while."""
        self._before = None
        if seconds >= _GAIN * before:
            self._rest = _REST * spent
            self._set(count)
        elif self.count < count and self._tell:
            self._tell(
                f"this machine is busy: a training step took {before / seconds:.1f} times as long by {count} threads"
                f" as by {self.count}, so {self.count} it is until cores are free"
            )
            self._tell = None

    def _set(self, count: int) -> None:
        self.count = count
        torch.set_num_threads(count)
        self._forget(first=True)

    def _forget(self, first: bool = False) -> None:
        """Begin a span; with a step of its kind that is the first."""
        self._first, self._steps, self._wall, self._cpu = first, 0, 0.0, 0.0
