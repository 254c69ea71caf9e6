"""A search under a limit on milliseconds: whether it holds, and what measuring and predicting cost.

    python benchmarks/latency_limit.py --space resnin --side 32 --trials 200 --threads 1

The limit is the median of what is predicted of the space's networks, from the first that a search measures. Networks
that a busy machine refuses three times are left out there. What a training would take is left out: a
candidate's score is the logarithm of its multiply-accumulates with a little noise, so that the search goes where
networks are slow, and each network that would be trained has been measured. All of them are then measured again, with
no cache. One that is over the limit by more than its interval (95%) counts as over it.

Then the seconds that went into measuring, predicting and learning, for a candidate, as a share of a run whose trainings
take `--training` seconds each. One JSON line.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from archsearch.errors import NotMeasurable
from archsearch.export.timed import Stopwatch
from archsearch.inference.latency_cache import Key, LatencyCache, layers_of, machine
from archsearch.inference.latency_layers import kernels_of
from archsearch.inference.latency_model import LatencyModel, spread
from archsearch.network.arch import Arch
from archsearch.network.budget import Budget
from archsearch.network.timing import RUNTIMES, Timing
from archsearch.space.domain import Domain
from archsearch.space.reader import load_space
from archsearch.workers import latencies
from archsearch.workers.local import search

_PAUSE, _TRIES = 0.5, 3


class Spent:
    """Seconds of what `Latencies` does, by method, those of methods that it calls itself not counted twice."""

    METHODS = ("begin", "measured", "over")

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(self.METHODS, 0.0)

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        before = {name: getattr(latencies.Latencies, name) for name in self.METHODS}
        for name, method in before.items():
            setattr(latencies.Latencies, name, self._timed(name, method))
        try:
            yield
        finally:
            for name, method in before.items():
                setattr(latencies.Latencies, name, method)

    def _timed(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **options: Any) -> Any:
            start = time.perf_counter()
            try:
                return method(*args, **options)
            finally:
                self.seconds[name] += time.perf_counter() - start

        return timed


class Waiting:
    """For a quiet moment, so many times."""

    def __init__(self, most: float = math.inf) -> None:
        self.tries, self.most = 0, most

    def __call__(self, _: NotMeasurable) -> bool:
        time.sleep(_PAUSE)
        self.tries += 1
        return self.tries < self.most


def median(archs: list[Arch], clock: Stopwatch) -> float:
    """Of the milliseconds of networks, as they are predicted from those that can be measured."""
    measured = list[tuple[Arch, float]]()
    for arch in spread(archs, latencies.FIRST):
        with contextlib.suppress(NotMeasurable):
            measured.append((arch, clock(arch, Waiting(_TRIES))))
    known, values = zip(*measured, strict=True)
    guesses, _ = LatencyModel.fit(known, values, kernels_of(clock.timing.runtime)).predict(archs)
    return float(statistics.median(guesses))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="resnin")
    parser.add_argument("--side", type=int, default=32, help="pixels")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--runtime", default="onnxruntime")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument(
        "--training", type=float, default=20.0, help="seconds of a training, of which overhead is a share"
    )
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> int:
    options = parse()
    shape = (3, options.side, options.side)
    space = load_space(options.space).with_sizes((options.side,))
    timing = Timing(options.runtime, options.precision, options.threads)
    with tempfile.TemporaryDirectory() as name:
        clock = Stopwatch(timing, Path(name))
        limit = median(latencies.candidates(Domain(space, shape, options.classes), Budget()), clock)
        print(f"the limit: {limit:.3g} ms", file=sys.stderr, flush=True)
        forget(Path(name))  # the search measures them itself
        trained = list[Arch]()
        noise = random.Random(options.seed)

        def evaluate(arch: Arch, report: object) -> float:
            trained.append(arch)
            print(f"\r{len(trained)} trained", end="", file=sys.stderr, flush=True)
            return 1 - 3 / math.log(arch.cost.macs) + noise.gauss(0, 0.002)

        spent, start = Spent(), time.perf_counter()
        with spent.counted():
            result = search(
                space, evaluate=evaluate, input_shape=shape, classes=options.classes, trials=options.trials,
                seed=options.seed, budget=Budget(max_latency=limit, timing=timing),
                stopwatch=Stopwatch(timing, Path(name)),
            )  # fmt: skip
        whole = time.perf_counter() - start
        forget(Path(name))
        over = list(again(trained, timing, limit, Path(name)))
    overhead = sum(spent.seconds.values())
    share = overhead / (whole + options.training * len(trained))
    print(json.dumps({
        "space": options.space, "pixels": options.side, "timing": timing.words, "limit_ms": round(limit, 4),
        "trained": len(trained), "over": len(over), "worst": over, "rejected": result.counts.broke,
        "seconds": {key: round(value, 1) for key, value in spent.seconds.items()}, "all": round(whole, 1),
        f"share_at_{options.training:g}s_each": round(share, 4),
    }))  # fmt: skip
    return int(bool(over))


def again(archs: list[Arch], timing: Timing, limit: float, data_dir: Path) -> Iterator[tuple[str, float, float]]:
    """Those that are over the limit beyond their interval: id, the interval's lower end and the median."""
    clock, cache, package = Stopwatch(timing, data_dir), LatencyCache(data_dir), RUNTIMES[timing.runtime].package
    for arch in archs:
        clock(arch, Waiting())
        found = cache.get(Key(layers_of(arch), package, version(package), timing.precision, timing.threads, machine()))
        if found and found.low >= limit:
            yield arch.id, round(found.low, 4), round(found.median, 4)


def forget(data_dir: Path) -> None:
    """What was measured, but not how fast the machine is when nobody disturbs it."""
    with sqlite3.connect(LatencyCache(data_dir).path) as opened:
        opened.execute("DELETE FROM measured")


if __name__ == "__main__":
    sys.exit(main())
