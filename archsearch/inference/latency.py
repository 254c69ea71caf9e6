"""How long one image takes: by the runtime of its users, at batch 1, warm, on a machine that is rarely quiet.

    hosted = host(Path("model.tflite"), threads=1, data_dir=DATA)
    found = measure(hosted, (3, 32, 32), seconds=0.5)      # Latency: milliseconds

Moments of a few runs alternate with a fixed piece of work in the same process. What disturbs them comes and goes within
milliseconds: other virtual machines on the same processor slow most of them down, and hardly ever all. A moment counts
where the fixed work was as fast before and after it as it is when nobody disturbs it. A network's own time decides
nothing, so that its median is not made better than it is.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from archsearch.errors import NotMeasurable

SECONDS = 0.5
"""For one measurement of a quiet machine, where nothing else is said."""
WIDTH = 0.05
"""Enough runs: the interval of the median is not wider than this share of it."""
DRIFT = 0.10
"""A moment does not count: the fixed work took longer by more than this share."""
SPREAD = 0.20
"""Something else is in the way: a quarter of the moments took longer than another quarter by more than this share."""
ATTEMPTS = 3
"""How many times as long a busy machine is looked at."""
_PARTS = 8
"""After which it is looked whether more is needed, at most."""
_FEWEST, _ENOUGH = 5, 8
"""Moments that must count at the end; with which a measurement may end sooner, and whose quarters say something."""
_FLOOR = 50
"""The fixed work takes what one in so many takes at most, when nobody disturbs it."""
_TAIL = 0.025
"""The probability that the median lies below its interval, or above it."""


Work = tuple[float, float]
"""Milliseconds of the fixed work: of a product of matrices, and of bytes that are read."""
Known = tuple[float | None, float | None]
"""The same when nobody disturbed it; None: nobody knows."""
UNKNOWN: Known = (None, None)


class Timed(Protocol):
    """What can be timed: `inference.hosted.Hosted`."""

    def moments(self, shape: tuple[int, ...], seconds: float) -> tuple[list[Work], list[list[float]]]: ...


@dataclass(frozen=True)
class Moment:
    """Milliseconds of a few runs, one behind the other; `before` and `after` them that of the fixed work."""

    before: Work
    runs: Sequence[float]
    after: Work


@dataclass(frozen=True)
class Latency:
    """Milliseconds for one image (batch 1, warm).

    `low` and `high`: where the median lies with 95% confidence, whatever the distribution; 0 and infinite after fewer
    than six runs. `work`: milliseconds of the fixed work.
    """

    median: float
    p95: float
    low: float
    high: float
    runs: int
    work: Work

    @property
    def width(self) -> float:
        """Of the interval, as a share of the median."""
        return (self.high - self.low) / self.median


def measure(timed: Timed, shape: tuple[int, ...], seconds: float = SECONDS, known: Known = UNKNOWN) -> Latency:
    """The latency of one image (C, H, W).

    Ends when the interval is narrow (`WIDTH`) or the time is up; then `width` says how wide it is.

    Args:
        seconds: for a quiet machine that is known. Others get three times as many.
        known: the fixed work's milliseconds when nobody disturbed it.

    Raises:
        NotMeasurable: the machine is busy.
        InputError: the runtime refuses or dies.
    """
    start, every = time.perf_counter(), list[Moment]()
    longest = ATTEMPTS * seconds
    while True:
        work, runs = timed.moments(shape, seconds / _PARTS)
        every += map(Moment, work, runs, work[1:])
        kept = quiet(every, known)
        reason = _busy(every, kept, known)
        spent = time.perf_counter() - start + seconds / _PARTS
        if not reason:
            found = summary([value for moment in kept for value in moment.runs], _work(kept))
            sure = len(kept) >= _ENOUGH and found.width <= WIDTH
            over = spent > seconds and (len(kept) >= _ENOUGH or 2 * len(kept) >= len(every))
            if spent > longest or (None not in known and (sure or over)):
                return found
        if spent > longest:
            raise NotMeasurable(f"not measurable on this busy machine: {reason} (see docs/reference/bench.md)")


def quiet(moments: Sequence[Moment], known: Known = UNKNOWN) -> list[Moment]:
    """Those in which nobody disturbed the fixed work, by what is `known` of it or, without that, by the fastest."""
    for part, value in enumerate(known):
        least = value or (_fastest(moments, part) if moments else 0)
        moments = [one for one in moments if max(one.before[part], one.after[part]) <= (1 + DRIFT) * least]
    return list(moments)


def _fastest(moments: Sequence[Moment], part: int) -> float:
    return sorted(moment.before[part] for moment in moments)[len(moments) // _FLOOR]


def _work(moments: Sequence[Moment]) -> Work:
    product, reading = (statistics.median(moment.before[part] for moment in moments) for part in (0, 1))
    return product, reading


def _busy(every: Sequence[Moment], kept: Sequence[Moment], known: Known) -> str:
    """Why moments say nothing, or nothing."""
    if len(kept) < min(_FEWEST, len(every)):
        least = [value or _fastest(every, part) for part, value in enumerate(known)]
        slower = max(usual / quick - 1 for usual, quick in zip(_work(every), least, strict=True))
        return (
            f"work that is always the same was disturbed in {len(every) - len(kept)} of {len(every)} moments,"
            f" and took up to {100 * slower:.0f}% longer"
        )
    spread = spread_of(statistics.median(moment.runs) for moment in kept)
    if spread > SPREAD:
        return f"it took {100 * spread:.0f}% longer from one moment to the next"
    return ""


def spread_of(values: Iterable[float]) -> float:
    """By which share the slower quarter of values is above the faster one; 0 of few values, which do not tell."""
    found = list(values)
    if len(found) < _ENOUGH:
        return 0.0
    low, _, high = statistics.quantiles(found, n=4)
    return high / low - 1


def summary(runs: Sequence[float], work: Work = (math.nan, math.nan)) -> Latency:
    """Median, 95th percentile (nearest rank) and interval of runs, at least one."""
    ordered = sorted(runs)
    low, high = interval(ordered)
    p95 = ordered[math.ceil(0.95 * len(ordered)) - 1]
    return Latency(statistics.median(ordered), p95, low, high, len(ordered), work)


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
