"""Many workers at one study, with trainings that only sleep: what the storage and the sampler cost, as a study grows.

    OMP_NUM_THREADS=1 python benchmarks/scale.py --sampler random --workers 64 --trials 5000 --seconds 10
    python benchmarks/scale.py --storage postgresql+psycopg://... --workers 64 --trials 1000

Everything but the training is real: claims, leases, reads, proposals, on a PostgreSQL of its own unless --storage names
one. Storage seconds are those that a worker spends in storage calls for one trial; proposal seconds are the rest of its
time between two trainings. Both are wall time, so a machine with few cores shows as well.
"""

from __future__ import annotations

import argparse
import csv
import math
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import optuna
import sqlalchemy

from archsearch import Arch, Budget
from archsearch.network.recipe import Recipe
from archsearch.space.reader import load_space, space_text
from archsearch.study.config import StudyConfig, StudyData
from archsearch.study.leases import Seat
from archsearch.study.observers import Candidate, Counts, Observer
from archsearch.study.records import Record
from archsearch.study.retrying import Waiter, waiter_of
from archsearch.study.storage import create_study, load_study, open_storage, records
from archsearch.workers.local import search

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))
from postgres import Postgres

SHAPE, CLASSES = (3, 32, 32), 10
COLOURS = {"storage": "#d1495b", "proposal": "#3b4252"}
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Row:
    """One trial, as its worker saw it."""

    finished: int
    storage_seconds: float
    proposal_seconds: float
    calls: int
    queries: int
    memory_mb: float


class Metered(Waiter):
    """Counts calls and their seconds."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.seconds, self.calls, self.queries = 0.0, 0, 0

    def attempt(self, call: Callable[[], Answer]) -> Answer:
        clock = time.monotonic()
        try:
            return super().attempt(call)
        finally:
            self.seconds += time.monotonic() - clock
            self.calls += 1

    def query(self, *about: object) -> None:
        """Listens to SQLAlchemy."""
        self.queries += 1


class Meter(Observer):
    """A row for every training that begins: what came between it and the end of the one before."""

    def __init__(self, waiter: Metered, slept: float) -> None:
        self.waiter, self.slept = waiter, slept
        self.rows: list[Row] = []
        self.mark = (time.monotonic(), 0.0, 0, 0)
        self.known = 0

    def training(self, candidate: Candidate) -> None:
        clock, seconds, calls, queries = self.mark
        waiter = self.waiter
        stored = waiter.seconds - seconds
        between = time.monotonic() - clock - stored
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        self.rows.append(
            Row(self.known, stored, max(0.0, between), waiter.calls - calls, waiter.queries - queries, memory)
        )
        self.mark = (time.monotonic() + self.slept, waiter.seconds, waiter.calls, waiter.queries)

    def finished(self, record: Record, history: Sequence[Record], counts: Counts) -> None:
        self.known = len(history)


def accuracy(arch: Arch) -> float:
    """More parameters help, the rest is luck that stays with the candidate."""
    return 0.5 + 0.03 * math.log(arch.cost.params) + 0.05 * int(arch.id[:6], 16) / 16**6


def work(url: str, index: int, options: argparse.Namespace, rows: Any) -> None:
    """One simulated worker in a process of its own."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = open_storage(url, wait=True)
    metered = Metered(url)
    storage.waiter = metered
    sqlalchemy.event.listen(sqlalchemy.engine.Engine, "before_cursor_execute", metered.query)
    time.sleep(options.seconds * index / options.workers)  # trainings do not begin together
    meter = Meter(metered, options.seconds)

    def evaluate(arch: Arch, report: Any) -> float:
        time.sleep(options.seconds)
        report(1, accuracy(arch))
        return accuracy(arch)

    search(
        load_space(options.space), evaluate=evaluate, input_shape=SHAPE, classes=CLASSES, trials=options.trials,
        budget=Budget(max_params=options.max_params), sampler=options.sampler, study=load_study(storage, "s")[0],
        seat=Seat(index), observers=[meter],
    )  # fmt: skip
    assert waiter_of(storage) is metered
    rows.put([astuple(row) for row in meter.rows])


def simulate(url: str, options: argparse.Namespace) -> tuple[list[Row], float]:
    """Rows of all workers, and the seconds of the whole."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space, budget = load_space(options.space), Budget(max_params=options.max_params)
    data = StudyData("none", "", validation=0.2)
    config = StudyConfig(space.name, space_text(options.space), budget, data, SHAPE, CLASSES, Recipe())
    study = create_study(open_storage(url), "s", config)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["archsearch.workers.local", "optuna.storages", "psycopg", __name__])
    queue, clock = context.Queue(), time.monotonic()
    workers = [context.Process(target=work, args=(url, i, options, queue)) for i in range(options.workers)]
    for process in workers:
        process.start()
    rows = [Row(*row) for _ in workers for row in queue.get()]
    for process in workers:
        process.join()
    seconds = time.monotonic() - clock
    done = records(study)
    assert [process.exitcode for process in workers] == [0] * len(workers)
    assert len(done) == len({record.arch for record in done}) == options.trials
    return sorted(rows, key=lambda row: row.finished), seconds


def summary(rows: Sequence[Row], seconds: float, options: argparse.Namespace) -> list[str]:
    """What was measured, over the whole and by size of the study."""
    lines = [
        f"{options.workers} workers, {options.trials:,} trials of {options.seconds:g} s, sampler {options.sampler},"
        f" space {options.space}: {seconds:.0f} s, {options.trials / seconds:.2f} trials a second"
        f" (no cost at all: {options.workers / options.seconds:.2f})"
    ]
    for part in parts(rows):
        storage = [row.storage_seconds for row in part]
        share = 100 * statistics.mean(storage) / options.seconds
        lines.append(
            f"{part[0].finished:>6,} to {part[-1].finished:>6,} finished: storage {statistics.median(storage):.3f} s"
            f" (mean {share:.1f}% of a training, worst {max(storage):.2f} s),"
            f" proposal {statistics.median(row.proposal_seconds for row in part):.3f} s,"
            f" {statistics.mean(row.calls for row in part):.0f} calls,"
            f" {statistics.mean(row.queries for row in part):.0f} queries a trial,"
            f" memory {max(row.memory_mb for row in part):.0f} MB a worker"
        )
    return lines


def parts(rows: Sequence[Row], count: int = 5) -> Iterator[Sequence[Row]]:
    """Rows in so many parts of equal size, by finished trials; first ones, which start a worker, left out."""
    kept = [row for row in rows if row.queries or row.calls][min(len(rows) // 10, 64) :]
    size = max(1, math.ceil(len(kept) / count))
    for i in range(0, len(kept), size):
        yield kept[i : i + size]


def draw(path: Path, rows: Sequence[Row], options: argparse.Namespace) -> None:
    """Seconds a trial by number of finished trials."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    done = [row.finished for row in rows]
    for name, colour in COLOURS.items():
        axes.plot(done, [getattr(row, f"{name}_seconds") for row in rows], ".", ms=2, color=colour, label=name)
    axes.axhline(0.05 * options.seconds, color="grey", lw=0.8, ls="--", label="5% of a training")
    axes.set(xlabel="finished trials", ylabel="seconds a trial", yscale="log")
    axes.set_title(f"{options.workers} workers, trainings of {options.seconds:g} s, one PostgreSQL")
    axes.legend()
    figure.savefig(path, dpi=120)


@contextmanager
def database(options: argparse.Namespace) -> Iterator[str]:
    """The URL of `--storage`, or of a new server."""
    if options.storage:
        yield options.storage
        return
    with Postgres(Path(tempfile.gettempdir()), "-c max_connections=500") as server:
        yield server.database()


def main(words: list[str] | None = None) -> None:
    """Measure, print, and keep the rows as CSV and the plot where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--storage", help="a storage without a study `s`  [default: a PostgreSQL of its own]")
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--sampler", default="pareto")
    parser.add_argument("--space", default="resnin")
    parser.add_argument("--max-params", type=float, default=1e6)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args(words)
    with database(options) as url:
        rows, seconds = simulate(url, options)
    print("\n".join(summary(rows, seconds, options)))
    if options.csv:
        with options.csv.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([field.name for field in fields(Row)])
            writer.writerows(astuple(row) for row in rows)
    if options.plot:
        draw(options.plot, rows, options)


if __name__ == "__main__":
    main()
