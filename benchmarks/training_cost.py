"""Does it pay to prefer cheap trainings? Replayed searches on trained networks, at equal seconds of training.

    archsearch run --sampler random --no-rungs --trials 120 --max-params 10k --study small ...
    archsearch run --sampler random --no-rungs --trials 120 --min-params 10k --max-params 1M --study large ...
    python benchmarks/training_cost.py results/small results/large --budget 1M --powers 0,0.5,1

The studies must be of one space; all that they trained is one table. Each search has a random three quarters of it. A
power is what a candidate's gain is divided by its training cost to: 0 is a sampler that does not look at it.
Prints how seconds follow from multiply-accumulates, then a line a power: share of the hypervolume in (accuracy,
log parameters) and best accuracy, after so many mean trainings' worth of seconds; mean and deviation over seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import optuna
from numpy.typing import NDArray
from replays import Table

from archsearch._utils.units import parse_count
from archsearch.errors import SpaceExhausted
from archsearch.sampler import ParetoSampler, engine
from archsearch.study.storage import open_existing, records
from archsearch.training.estimate import OF_AN_IMAGE

Array = NDArray[np.float64]
SHARE = 0.75
"""Of the networks, in each search: what a seed changes."""


def table_of(folders: Sequence[Path]) -> tuple[Table, Array]:
    """The trained networks, and the seconds of each training."""
    studies = [open_existing(folder)[0] for folder in folders]
    seconds = {record.arch: record.train_seconds for study in studies for record in records(study)}
    table = Table.of_studies(studies)
    return table, np.array([seconds[arch] for arch in table.keys])


def follow(table: Table, seconds: Array) -> str:
    """How seconds follow from multiply-accumulates, by least squares."""
    assert table.features is not None
    macs = table.features[:, 0] / 1e6
    slope, start = np.polyfit(macs, seconds, 1)
    near = np.corrcoef(macs, seconds)[0, 1]
    return f"seconds = {start:.2f} + {slope:.3f} a million: {start / slope:.1f}M for an image; correlation {near:.3f}"


def search(table: Table, seconds: Array, budget: float, power: float, seed: int) -> Iterator[tuple[float, ...]]:
    """Of each training of a search: seconds at its end; before it, hypervolume in percent, best accuracy, trainings."""
    rng = np.random.default_rng(seed)
    some = rng.permutation(len(table.size))[: int(SHARE * len(table.size))]
    macs = table.features
    assert macs is not None
    sampler = ParetoSampler(
        table.distributions,
        lambda params: float(table.size[table.nearest(params)]),
        budget,
        seed,
        lambda params: table.keys[table.nearest(params)],
        candidates=[table.params(row) for row in some],
        features=lambda params: macs[table.nearest(params)],
        training_cost=lambda params: OF_AN_IMAGE + float(macs[table.nearest(params)][0]),
    )
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    front = table.hypervolume([row for row in some if table.size[row] < budget], budget)
    engine.PER_WORK = power
    spent, rows = 0.0, []
    while True:
        try:
            trial = study.ask(table.distributions)
        except SpaceExhausted:
            return
        row = table.nearest(trial.params)
        spent += float(seconds[row])
        yield spent, 100 * table.hypervolume(rows, budget) / front, table.final[rows].max(initial=0.0), len(rows)
        rows.append(row)
        study.tell(trial, (float(table.final[row]), float(table.size[row])))


def looked(search: Iterator[tuple[float, ...]], marks: Sequence[float]) -> list[tuple[float, ...]]:
    """Hypervolume, best accuracy and trainings at each mark of seconds: of what had ended by then."""
    found: list[tuple[float, ...]] = []
    for spent, *now in search:
        while len(found) < len(marks) and spent > marks[len(found)]:
            found.append(tuple(now))
        if len(found) == len(marks):
            return found
    raise SystemExit("training_cost: the table is used up before the last mark: give fewer --marks")


def main(arguments: Sequence[str] | None = None) -> None:
    """A line a power."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="+", type=Path)
    parser.add_argument("--budget", type=parse_count, required=True, help="parameters must be below")
    parser.add_argument("--powers", default="0,0.5,1")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--marks", default="10,15,20,30,45", help="where to look, in mean trainings")
    options = parser.parse_args(arguments)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table, seconds = table_of(options.studies)
    print(f"{len(seconds)} networks; {follow(table, seconds)}", flush=True)
    marks = [float(mark) * seconds[table.size < options.budget].mean() for mark in options.marks.split(",")]
    for power in map(float, options.powers.split(",")):
        runs = [looked(search(table, seconds, options.budget, power, seed), marks) for seed in range(options.seeds)]
        said = []
        for mark, at in zip(options.marks.split(","), np.array(runs).transpose(1, 2, 0), strict=True):
            said.append(
                f"@{mark} {at[0].mean():.1f} ± {at[0].std():.1f}, best {100 * at[1].mean():.2f}, {at[2].mean():.0f}"
            )
        print(f"power {power:g}: {'; '.join(said)}", flush=True)


if __name__ == "__main__":
    main()
