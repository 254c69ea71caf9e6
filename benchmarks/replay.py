"""Replay searches on networks that were trained before: which sampler would have found the front sooner?

    python benchmarks/replay.py TABLE.csv.gz --budget 1.5e6 --dims arch --accuracy a1,a2
    python benchmarks/replay.py results/STUDY [results/ANOTHER ...]

Of a study its complete candidates are replayed; several of one space are one table. The space is what was measured:
nothing else is proposed or trained. Prints one line a figure: the mean and the standard deviation over seeds. The
columns of two tables are known by the files' names.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from replays import SAMPLERS, Columns, Table, replay
from replays.figures import lines, plot, shares

from archsearch._utils.units import parse_count
from archsearch.errors import InputError
from archsearch.study.storage import open_existing

TRAININGS = (5, 10, 20, 50, 100, 200)

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
    add = parser.add_argument
    add("table", type=Path, nargs="+", help="CSV file, plain or gzipped, one network a row; or folders of studies")
    add("--budget", type=parse_count, help="sizes must be below; by default the study's limit, or none")
    add("--samplers", default=",".join(SAMPLERS))
    add("--seeds", type=int, default=10, help="searches a sampler")
    add("--trainings", help="where to look, as 10,20,50; by default what the table's size allows")
    add("--rungs", type=float, default=0.0, help="one in so many goes on at the early accuracy; 0: no rung")
    add("--forget-stopped", action="store_true", help="the surrogate ignores stopped trials")
    add("--ordered", action="store_true", help="whole numbers in the dims are quantities, not names")
    add("--plot", type=Path, help="write a picture here, a PNG file")
    add("--dims", help="comma-separated columns, or one whose characters are the dims")
    add("--size", default="params", help="column of the exact size")
    add("--accuracy", default="val_accuracy", help="comma-separated columns, one a seed")
    add("--final", help="column of the accuracy that counts; by default the mean of --accuracy")
    add("--key", help="column: equal values are one network")
    add("--early", help="column of the accuracy after --early-epochs")
    add("--early-epochs", type=int, help="epoch of the rung; by default a quarter of a study's training")
    add("--epochs", type=int, default=1, help="epochs of a full training")
    add("--features", help="comma-separated columns that are known beforehand; shown to pareto")
    add("--no-features", action="store_true", help="hide those of a known table or of a study")
    options = parser.parse_args(arguments)
    options.samplers = options.samplers.split(",")
    return options


def check(options: argparse.Namespace) -> None:
    """Raises InputError where an option cannot be."""
    unknown = [name for name in options.samplers if name not in SAMPLERS]
    if unknown:
        raise InputError(f"no sampler {unknown[0]!r}: choose from {', '.join(SAMPLERS)}")
    if options.plot and options.plot.suffix.lower() != ".png":
        raise InputError(f"--plot {options.plot}: must end in .png")


def columns_of(options: argparse.Namespace) -> Columns:
    """What the options say, or what is known of the table."""
    name = options.table[0].name.split(".")[0]
    if not options.dims:
        if name not in KNOWN:
            raise InputError(f"{name} is not a table known here: name its columns with --dims and --accuracy")
        return KNOWN[name]
    if options.rungs and not (options.early and options.early_epochs):
        raise InputError("--rungs on a CSV file needs --early, --early-epochs and --epochs")
    return Columns(
        dims=tuple(options.dims.split(",")),
        size=options.size,
        accuracy=tuple(options.accuracy.split(",")),
        final=options.final,
        key=options.key,
        early=options.early,
        early_epochs=options.early_epochs or 1,
        epochs=options.epochs,
        features=tuple(options.features.split(",")) if options.features else (),
    )


def table_of(options: argparse.Namespace) -> tuple[Table, float]:
    """The measured networks, and the budget: the option's, the study's, or just above the largest."""
    limit = None
    if options.table[0].name.endswith((".csv", ".csv.gz")):
        if len(options.table) > 1:
            raise InputError(f"{options.table[1]}: a CSV file is replayed alone")
        table = Table.read(options.table[0], columns_of(options), ordered=options.ordered)
    else:
        table, limit = studies_of(options)
    if options.rungs and table.early_epochs >= table.epochs:
        raise InputError(f"--rungs: a rung after epoch {table.early_epochs} of {table.epochs} stops nothing")
    return table, options.budget or limit or 1.001 * float(table.size.max())


def studies_of(options: argparse.Namespace) -> tuple[Table, float | None]:
    """The candidates of studies, and the largest of their limits of parameters."""
    for folder in options.table:
        if not (folder / "study.db").exists():
            raise InputError(f"{folder} is neither a CSV file nor the folder of a study: it holds no study.db")
    studies, configs = zip(*map(open_existing, options.table), strict=True)
    early = options.early_epochs or max(1, round(configs[0].recipe.epochs / 4))
    limits = [config.budget.get("max_params") for config in configs]
    return Table.of_studies(studies, early if options.rungs else 0), None if None in limits else max(limits)


def counts_of(text: str | None, table: Table, budget: float) -> list[int]:
    """Numbers of trainings to look at, rising; by default those that leave something untrained."""
    table.corner(budget)
    if text is None:
        networks = {key for key, size in zip(table.keys, table.size, strict=True) if size < budget}
        return [count for count in TRAININGS if count < len(networks)] or [1]
    words = text.split(",")
    if not all(word.isdecimal() and int(word) for word in words):
        raise InputError(f"--trainings {text}: give whole numbers above zero, as 10,20,50")
    return sorted(map(int, words))


def main(arguments: Sequence[str] | None = None) -> None:
    """Replay, print, plot."""
    options = parse(arguments)
    check(options)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table, budget = table_of(options)
    counts = counts_of(options.trainings, table, budget)
    more: dict[str, Any] = {"use_stopped": False} if options.forget_stopped else {}
    if options.no_features:
        more["features"] = None
    found = {}
    for name in options.samplers:
        extra = more if name == "pareto" else {}
        runs = [replay(table, budget, name, counts[-1], seed, options.rungs, **extra) for seed in range(options.seeds)]
        for line in lines(name, runs, table, budget, counts):
            print(line, flush=True)
        found[name] = shares(runs, table, budget, range(1, counts[-1] + 1))
    if options.plot:
        plot(found, f"{options.table[0].name}, below {budget:g}", options.plot)


if __name__ == "__main__":
    main()
