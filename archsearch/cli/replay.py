"""`archsearch replay`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archsearch.cli.options import COUNT, out_option, study_folder
from archsearch.errors import InputError

if TYPE_CHECKING:
    from archsearch.replay import Table

TRAININGS = (5, 10, 20, 50, 100, 200)


@click.command()
@click.argument("target")
@click.option("--budget", type=COUNT, help="Sizes must be below.  [default: the study's limit, or none]")
@click.option("--samplers", default="pareto,tpe,nsga2,random", show_default=True, help="Any of the four.")
@click.option("--seeds", type=click.IntRange(1), default=10, show_default=True, help="Searches a sampler.")
@click.option("--trainings", help="Where to look, as 10,20,50.  [default: what the table's size allows]")
@click.option("--rungs", type=click.FloatRange(1, min_open=True), help="One in N goes on after --early-epochs.")
@click.option("--early-epochs", type=click.IntRange(1), help="Epoch of the rung.  [default: a quarter of a training]")
@click.option("--dims", help="Columns, comma-separated; one alone is split into its characters.")
@click.option("--size", default="params", show_default=True, help="Column of the exact size.")
@click.option("--accuracy", default="val_accuracy", show_default=True, help="Columns, one a seed.")
@click.option("--final", help="Column of the accuracy that counts.  [default: the mean of --accuracy]")
@click.option("--key", help="Column: equal values are one network.")
@click.option("--features", help="Columns known beforehand, such as MACs; shown to pareto.  [a study's: its MACs]")
@click.option("--early", help="Column of the accuracy after --early-epochs.")
@click.option("--epochs", type=click.IntRange(1), default=1, show_default=True, help="Epochs of a full training.")
@click.option("--ordered", is_flag=True, help="Whole numbers in --dims are quantities, not names.")
@click.option("--plot", "picture", type=click.Path(path_type=Path), help="Write a plot (PNG) here.")
@out_option
def replay(target: str, samplers: str, seeds: int, picture: Path | None, **options: Any) -> None:
    """Replay searches on networks that were trained before: which sampler would have found the front sooner?

    TARGET is a CSV file, plain or gzipped, one network a row, or a study (its folder, or its name in OUT), whose
    complete candidates are replayed. The space is what was measured: nothing else is proposed or trained.
    """
    import optuna

    from archsearch.replay import SAMPLERS
    from archsearch.replay import replay as search
    from archsearch.replay.figures import lines, plot, shares

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    names = samplers.split(",")
    unknown = [name for name in names if name not in SAMPLERS]
    if unknown:
        raise InputError(f"no sampler {unknown[0]!r}: choose from {', '.join(SAMPLERS)}")
    if picture and picture.suffix.lower() != ".png":
        raise InputError(f"--plot {picture}: must end in .png")
    table, budget = _table(target, options)
    if options["rungs"] and table.early_epochs >= table.epochs:
        raise InputError(f"--rungs: a rung after epoch {table.early_epochs} of {table.epochs} stops nothing")
    counts = _counts(options["trainings"], len({*_keys(table, budget)}))
    found = {}
    for name in names:
        runs = [search(table, budget, name, counts[-1], seed, options["rungs"] or 0.0) for seed in range(seeds)]
        for line in lines(name, runs, table, budget, counts):
            click.echo(line)
        found[name] = shares(runs, table, budget, range(1, counts[-1] + 1))
    if picture:
        plot(found, f"{target}, below {budget:g}", picture)


def _table(target: str, options: Mapping[str, Any]) -> tuple[Table, float]:
    """The measured networks, and the budget: the option's, the study's, or just above the largest."""
    from archsearch.replay import Table

    limit = None
    if target.endswith((".csv", ".csv.gz")):
        table = Table.read(target, _columns(options), ordered=options["ordered"])
    else:
        table, limit = _of_study(target, options)
    return table, options["budget"] or limit or 1.001 * float(table.size.max())


def _of_study(target: str, options: Mapping[str, Any]) -> tuple[Table, float | None]:
    from archsearch.replay import Table
    from archsearch.study.storage import open_existing

    study, config = open_existing(study_folder(target, options["out"]))
    early = options["early_epochs"] or max(1, round(config.recipe.epochs / 4))
    return Table.of_study(study, early if options["rungs"] else 0), config.budget.get("max_params")


def _columns(options: Mapping[str, Any]) -> Any:
    from archsearch.replay import Columns

    if not options["dims"]:
        raise InputError("a CSV file needs --dims: the columns that hold its networks' dims")
    if options["rungs"] and not (options["early"] and options["early_epochs"]):
        raise InputError("--rungs on a CSV file needs --early, --early-epochs and --epochs")
    return Columns(
        dims=tuple(options["dims"].split(",")),
        size=options["size"],
        accuracy=tuple(options["accuracy"].split(",")),
        final=options["final"],
        key=options["key"],
        early=options["early"],
        early_epochs=options["early_epochs"] or 1,
        epochs=options["epochs"],
        features=tuple(options["features"].split(",")) if options["features"] else (),
    )


def _keys(table: Table, budget: float) -> list[Any]:
    """Of the networks inside the budget."""
    table.corner(budget)
    return [key for key, size in zip(table.keys, table.size, strict=True) if size < budget]


def _counts(text: str | None, networks: int) -> list[int]:
    """Numbers of trainings to look at, rising; by default those that leave something untrained."""
    if text is None:
        return [count for count in TRAININGS if count < networks] or [1]
    words = text.split(",")
    if not all(word.isdecimal() and int(word) for word in words):
        raise InputError(f"--trainings {text}: give whole numbers above zero, as 10,20,50")
    return sorted(map(int, words))
