"""How long one image takes: by the runtime of its users, at batch 1, warm, on a machine that may be busy.

    hosted = host(Path("model.tflite"), threads=1, data_dir=DATA)
    found = measure(hosted, (3, 32, 32), seconds=0.5)      # Latency: milliseconds

Blocks of runs alternate with blocks of a fixed piece of work in the same process. Where that work's own time changes,
the machine was busy with something else: all is measured again, and after the third time nothing is said.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from archsearch.errors import NotMeasurable

SECONDS = 0.5
"""For one measurement of a quiet machine, where nothing else is said."""
WIDTH = 0.05
"""Enough runs: the interval of the median is not wider than this share of it."""
DRIFT = 0.10
"""The machine was busy: the fixed work took longer by more than this share."""
INTERRUPTED = 0.25
"""The machine was busy: more than this share of runs was interrupted. The median of fewer is that of the others."""
SPREAD = 0.20
"""Something else is in the way: the runs of one block took longer than those of another by more than this share."""
ATTEMPTS = 3
_BLOCKS = 8
"""Of runs, at most."""
_FEWEST = 3
_SURE = 5
"""Runs of a block whose median says something."""
_REFERENCE = 0.15
"""The share of the time that the fixed work takes."""
_TAIL = 0.025
"""The probability that the median lies below its interval, or above it."""


Blocks = Sequence[Sequence[float]]
"""Milliseconds of single runs, some behind the other."""


class Timed(Protocol):
    """What can be timed: `inference.hosted.Hosted`."""

    def milliseconds(self, shape: tuple[int, ...], seconds: float, least: int) -> list[float]: ...

    def reference(self, seconds: float) -> list[float]: ...


@dataclass(frozen=True)
class Latency:
    """Milliseconds for one image (batch 1, warm).

    `low` and `high`: where the median lies with 95% confidence, whatever the distribution; 0 and infinite after fewer
    than six runs. `reference`: milliseconds of the fixed work.
    """

    median: float
    p95: float
    low: float
    high: float
    runs: int
    reference: float

    @property
    def width(self) -> float:
        """Of the interval, as a share of the median."""
        return (self.high - self.low) / self.median


def measure(timed: Timed, shape: tuple[int, ...], seconds: float = SECONDS, known: float | None = None) -> Latency:
    """The latency of one image (C, H, W).

    Ends when the interval is narrow (`WIDTH`) or the time is up; then `width` says how wide it is.

    Args:
        seconds: for one attempt. A busy machine gets three.
        known: the fixed work's milliseconds when this machine was quiet, None if nobody knows.

    Raises:
        NotMeasurable: the machine is busy.
        InputError: the runtime refuses or dies.
    """
    reason = ""
    for _ in range(ATTEMPTS):
        runs, references = _attempt(timed, shape, seconds)
        found = summary(joined(runs), statistics.median(joined(references)))
        reason = _busy(found, runs, references, known)
        if not reason:
            return found
    raise NotMeasurable(
        f"not measurable on this busy machine, in {ATTEMPTS} attempts: {reason} (see docs/reference/bench.md)"
    )


def _busy(found: Latency, runs: Blocks, references: Blocks, known: float | None) -> str:
    """Why a measurement says nothing, or nothing."""
    drift, slow, hit = drift_of(references), slowness_of(references, known), interrupted(references, found.median)
    spread = drift_of([block for block in runs if len(block) >= _SURE])
    if hit > INTERRUPTED:
        return f"about {100 * hit:.0f}% of its runs were interrupted"
    if drift > DRIFT:
        return f"work that is always the same took up to {100 * drift:.0f}% longer"
    if slow > DRIFT:
        return f"work that is always the same takes {100 * slow:.0f}% longer than the {known:.3g} ms known of it"
    if spread > SPREAD:
        return f"it took up to {100 * spread:.0f}% longer from one moment to the next"
    return ""


def _attempt(timed: Timed, shape: tuple[int, ...], seconds: float) -> tuple[list[list[float]], list[list[float]]]:
    """Blocks of runs, and of the fixed work: before, between and after them."""
    start = time.perf_counter()
    each = seconds / _BLOCKS
    runs, references = list[list[float]](), [timed.reference(_REFERENCE * each)]
    for block in range(1, _BLOCKS + 1):
        runs.append(timed.milliseconds(shape, (1 - _REFERENCE) * each, least=1))
        references.append(timed.reference(_REFERENCE * each))
        late = time.perf_counter() - start + each > seconds
        if late or (block >= _FEWEST and summary(joined(runs)).width <= WIDTH):
            break
    return runs, references


def interrupted(references: Blocks, milliseconds: float) -> float:
    """The share of runs that are interrupted, where a run takes so long and interruptions come as in the fixed work.

    Those that last less than `DRIFT` of a run do not count.
    """
    every = joined(references)
    middle = statistics.median(every)
    hits = sum(value - middle > DRIFT * milliseconds for value in every)
    return 1 - math.exp(-hits / (len(every) * middle) * milliseconds)


def drift_of(blocks: Blocks) -> float:
    """By which share the slowest block was slower than the fastest, by their medians."""
    middles = [statistics.median(block) for block in blocks]
    return max(middles) / min(middles) - 1 if middles else 0.0


def slowness_of(references: Blocks, known: float | None) -> float:
    """By which share the fastest block of the fixed work was slower than what is known of a quiet machine."""
    return min(statistics.median(block) for block in references) / known - 1 if known else 0.0


def joined(blocks: Blocks) -> list[float]:
    """The values of all blocks."""
    return [value for block in blocks for value in block]


def summary(runs: Sequence[float], reference: float = math.nan) -> Latency:
    """Median, 95th percentile (nearest rank) and interval of runs, at least one."""
    ordered = sorted(runs)
    low, high = interval(ordered)
    p95 = ordered[math.ceil(0.95 * len(ordered)) - 1]
    return Latency(statistics.median(ordered), p95, low, high, len(ordered), reference)


def interval(ordered: Sequence[float]) -> tuple[float, float]:
    """Where the median lies with 95% confidence, from the ranks of sorted values: no distribution is assumed.

    The number of values below the median is binomial, of n at one half.
    """
    n = len(ordered)
    rank, below = -1, 0.0
    while True:
        below += math.exp(math.lgamma(n + 1) - math.lgamma(rank + 2) - math.lgamma(n - rank) - n * math.log(2))
        if below > _TAIL:
            break
        rank += 1
    return (0.0, math.inf) if rank < 0 else (ordered[rank], ordered[n - 1 - rank])
