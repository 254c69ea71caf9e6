"""How well milliseconds are predicted from 30 measured networks, and how well by multiply-accumulates alone.

    python benchmarks/latency.py                                   # all spaces, sizes and runtimes, one after the other
    python benchmarks/latency.py --only resnin:32:onnxruntime
    python benchmarks/latency.py --only compact:96:litert --first 5 --fresh 5     # a try

    taskset -c 0 python benchmarks/latency.py --shared 3           # beside other work: the fastest of three passes

Needs a quiet machine: a busy one is waited for, but for --shared, which refuses nothing. What was measured is in
DATA_DIR/cache/latency.db, so a run that was ended goes on where it was. Each space's rows go to OUT/latency.json, and
all that are there into the table.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from archsearch._utils.formats import file_name
from archsearch.errors import ExportFailed, InputError, NotMeasurable
from archsearch.export.converted import Resident
from archsearch.export.graphs import Graphs
from archsearch.export.timed import Stopwatch, write_random
from archsearch.inference.hosted import host
from archsearch.inference.latency import Latency, summary
from archsearch.inference.latency_cache import Key, LatencyCache, layers_of, machine
from archsearch.inference.latency_layers import kernels_of
from archsearch.inference.latency_model import LatencyModel, spread
from archsearch.network.arch import Arch
from archsearch.network.budget import Budget
from archsearch.network.timing import RUNTIMES, Timing
from archsearch.space.domain import Domain
from archsearch.space.reader import load_space
from archsearch.workers.latencies import FIRST, candidates

SPACES, SIZES = ("resnin", "compact", "photos"), (32, 96)
FRESH, CLASSES = 100, 10
_PAUSE = 10.0
_SECONDS = 0.3
"""Of a network in a pass."""
_COLUMNS = ("space", "pixels", "runtime", "Spearman", "median error", "90th", "of MACs: Spearman", "median error")


def chosen(space: str, size: int, first: int, fresh: int, seed: int = 1) -> tuple[list[Arch], list[Arch]]:
    """The networks that are learnt from, and others."""
    loaded = load_space(space).with_sizes((size,))
    found = candidates(Domain(loaded, (3, size, size), CLASSES), Budget())
    learnt = spread(found, first)
    known = {arch.cost.parts for arch in learnt}
    others = [arch for arch in found if arch.cost.parts not in known]
    return learnt, random.Random(seed).sample(others, min(fresh, len(others)))


class Shared:
    """Milliseconds on a machine that is never quiet, of which none are refused.

    What disturbs runs makes them slower, and lasts for seconds: several passes over all networks, and the lowest
    median of each, are the least disturbed. Files are kept in DATA_DIR/cache/timed.
    """

    def __init__(self, timing: Timing, data_dir: Path, number: int) -> None:
        self.clock, self.data_dir, self.number = Stopwatch(timing, data_dir), data_dir, number
        self.cache, self.graphs, self.convert = LatencyCache(data_dir), Graphs(), Resident()

    def __call__(self, arch: Arch, again: Any = None) -> float:
        """Raises ExportFailed, InputError as `Stopwatch` does."""
        timing = self.clock.timing
        where = f"{machine()}, shared, pass {self.number}"
        package = RUNTIMES[timing.runtime].package
        key = Key(layers_of(arch), package, version(package), timing.precision, timing.threads, where)
        known = self.cache.get(key)
        if known is None:
            known = self._median(arch, timing)
            self.cache.put(key, known)
        return known.median

    def _median(self, arch: Arch, timing: Timing) -> Latency:
        hosted = host(self._file(arch, timing), timing.threads, self.data_dir)
        try:
            _, runs = hosted.moments(arch.input_shape, _SECONDS)
            return summary([value for moment in runs for value in moment])
        finally:
            hosted.close()

    def _file(self, arch: Arch, timing: Timing) -> Path:
        """Written once for all passes: LiteRT's takes seconds."""
        name = file_name(timing.kind, timing.precision)
        folder = self.data_dir / "cache" / "timed" / arch.id
        if not (folder / name).exists():
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as part:
                write_random(Path(part) / name, arch, timing, self.data_dir, self.graphs, self.convert)
                for written in Path(part).iterdir():
                    written.replace(folder / written.name)
        return folder / name


def patient(error: NotMeasurable) -> bool:
    """Wait for a quiet moment, for ever."""
    print(f"\n{error}", file=sys.stderr)
    time.sleep(_PAUSE)
    return True


def measured(archs: Sequence[Arch], stopwatch: Stopwatch | Shared) -> tuple[list[Arch], list[float]]:
    """Those that can be measured, and their milliseconds."""
    found: list[tuple[Arch, float]] = []
    for number, arch in enumerate(archs, 1):
        print(f"\r{number} of {len(archs)}", end="", file=sys.stderr)
        try:
            found.append((arch, stopwatch(arch, patient)))
        except (ExportFailed, InputError) as error:
            print(f"\n{arch.id}: {error}", file=sys.stderr)
    print(file=sys.stderr)
    return [arch for arch, _ in found], [value for _, value in found]


def fastest(archs: Sequence[Arch], passes: Sequence[Any]) -> tuple[list[Arch], list[float]]:
    """Those that can be measured, and the fewest milliseconds of all passes, which are known by now."""
    found, every = archs, list[list[float]]()
    for one in passes:
        found, values = measured(archs, one)
        every.append(values)
    return list(found), [min(values) for values in zip(*every, strict=True)]


def figures(
    learnt: Sequence[Arch], known: Sequence[float], fresh: Sequence[Arch], truth: Sequence[float], runtime: str
) -> dict[str, float]:
    """Rank correlation and relative errors of the model, and of a power of the multiply-accumulates."""
    guess, doubt = LatencyModel.fit(learnt, known, kernels_of(runtime)).predict(fresh)
    slope, height = np.polyfit(np.log([arch.cost.macs for arch in learnt]), np.log(known), 1)
    by_macs = np.exp(slope * np.log([arch.cost.macs for arch in fresh]) + height)
    errors, macs_errors = (np.abs(values / np.asarray(truth) - 1) for values in (guess, by_macs))
    return {
        "spearman": float(spearmanr(guess, truth)[0]),
        "median_error": float(np.median(errors)),
        "error_90": float(np.quantile(errors, 0.9)),
        "within_two_deviations": float(np.mean(np.abs(np.log(guess / np.asarray(truth))) < 2 * doubt)),
        "macs_spearman": float(spearmanr(by_macs, truth)[0]),
        "macs_median_error": float(np.median(macs_errors)),
    }


def row(space: str, size: int, runtime: str, options: argparse.Namespace) -> dict[str, Any]:
    """All of one space at one size by one runtime, measured where it was not yet."""
    timing = Timing(runtime, options.precision)
    passes: list[Any] = [Shared(timing, options.data_dir, number) for number in range(options.shared)]
    passes = passes or [Stopwatch(timing, options.data_dir)]
    learnt, fresh = chosen(space, size, options.first, options.fresh, options.seed)
    start = time.monotonic()
    for one in passes:
        measured([*learnt, *fresh], one)
    learnt, known = fastest(learnt, passes)
    fresh, truth = fastest(fresh, passes)
    seconds = time.monotonic() - start
    return {
        "space": space, "pixels": size, "runtime": runtime, "precision": options.precision, "machine": machine(),
        "learnt": len(learnt), "fresh": len(fresh), "passes": options.shared, "seed": options.seed,
        "seconds": round(seconds, 1),
        "least_ms": min(truth), "most_ms": max(truth), **figures(learnt, known, fresh, truth, runtime),
    }  # fmt: skip


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows in Markdown."""
    cells = [
        (
            *(r["space"], r["pixels"], RUNTIMES[r["runtime"]].words),
            *(f"{r['spearman']:.3f}", _percent(r["median_error"]), _percent(r["error_90"])),
            *(f"{r['macs_spearman']:.3f}", _percent(r["macs_median_error"])),
        )
        for r in rows
    ]
    lines = [_COLUMNS, ("---",) * len(_COLUMNS), *cells]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", metavar="SPACE:SIZE:RUNTIME", help="repeatable; all by default")
    parser.add_argument("--first", type=int, default=FIRST, help="networks to learn from")
    parser.add_argument("--fresh", type=int, default=FRESH, help="networks to predict")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--shared", type=int, default=0, metavar="N", help="the fastest of N passes, none refused")
    parser.add_argument("--seed", type=int, default=1, help="of the choice of networks to predict")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("results"))
    options = parser.parse_args()
    every = [f"{space}:{size}:{runtime}" for space in SPACES for size in SIZES for runtime in ("onnxruntime", "litert")]
    kept = options.out / "latency.json"
    rows: list[dict[str, Any]] = json.loads(kept.read_text()) if kept.exists() else []
    for name in options.only or every:
        space, size, runtime = name.split(":")
        print(name, file=sys.stderr)
        found = row(space, int(size), runtime, options)
        same = ("space", "pixels", "runtime", "precision")
        rows = [*(one for one in rows if any(one[key] != found[key] for key in same)), found]
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(rows, indent=1) + "\n")
        print(json.dumps(found))
    print(table(rows))


if __name__ == "__main__":
    main()
