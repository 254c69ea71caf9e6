"""Replay searches on a table of measured networks: `python benchmarks/replay.py TABLE --budget 1.5e6`.

Prints one line a figure: the mean and the standard deviation over seeds. The two tables of this project are
known by name; for any other name the columns with the options below.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna

from archsearch.errors import InputError
from archsearch.replay import SAMPLERS, Columns, Table, replay
from archsearch.replay.figures import lines, plot, shares

KNOWN = {
    "nas_bench_macro_cifar10": Columns(
        dims=("arch",), accuracy=("acc1", "acc2", "acc3"), final="mean_acc", key="canon", features=("flops",)
    ),
    "nb201_cifar10": Columns(
        dims=("e0", "e1", "e2", "e3", "e4", "e5"),
        accuracy=("c10_test_200ep",),
        key="iso_id",
        features=("flops_M",),
        early="c10_val_12ep",
        early_epochs=12,
        epochs=200,
    ),
}


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("table", type=Path, help="CSV file, plain or gzipped")
    parser.add_argument("--budget", type=float, required=True, help="sizes must be below")
    parser.add_argument("--samplers", default=",".join(SAMPLERS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trainings", default="20,50,100,200")
    parser.add_argument("--rungs", type=float, default=0.0, help="reduction factor at the early accuracy; 0: none")
    parser.add_argument("--forget-stopped", action="store_true", help="the surrogate ignores stopped trials")
    parser.add_argument("--ordered", action="store_true", help="treat codes in the table as ordered numbers")
    parser.add_argument("--plot", type=Path, help="write a plot here")
    parser.add_argument("--dims", help="comma-separated columns, or one whose characters are the dims")
    parser.add_argument("--size", default="params")
    parser.add_argument("--accuracy", help="comma-separated columns, one a seed")
    parser.add_argument("--final")
    parser.add_argument("--key")
    parser.add_argument("--early")
    parser.add_argument("--early-epochs", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--features", help="comma-separated columns that are known beforehand; shown to pareto")
    parser.add_argument("--no-features", action="store_true", help="hide those of a known table")
    return parser.parse_args(arguments)


def columns_of(options: argparse.Namespace) -> Columns:
    """What the options say, or what is known of the table."""
    name = options.table.name.split(".")[0]
    if not options.dims:
        if name not in KNOWN:
            raise InputError(f"{name} is not a table known here: name its columns with --dims and --accuracy")
        return KNOWN[name]
    return Columns(
        dims=tuple(options.dims.split(",")),
        size=options.size,
        accuracy=tuple((options.accuracy or "val_accuracy").split(",")),
        final=options.final,
        key=options.key,
        early=options.early,
        early_epochs=options.early_epochs,
        epochs=options.epochs,
        features=tuple(options.features.split(",")) if options.features else (),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Replay, print, plot."""
    options = parse(arguments)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table = Table.read(options.table, columns_of(options), ordered=options.ordered)
    counts = [int(count) for count in options.trainings.split(",")]
    more: dict[str, Any] = {"use_stopped": False} if options.forget_stopped else {}
    if options.no_features:
        more["features"] = None
    found = {}
    for name in options.samplers.split(","):
        extra = more if name == "pareto" else {}
        runs = [
            replay(table, options.budget, name, max(counts), seed, options.rungs, **extra)
            for seed in range(options.seeds)
        ]
        for line in lines(name, runs, table, options.budget, counts):
            print(line, flush=True)
        found[name] = shares(runs, table, options.budget, range(1, max(counts) + 1))
    if options.plot:
        plot(found, f"{options.table.name}, below {options.budget:g}", options.plot)


if __name__ == "__main__":
    main()
