"""What replayed searches found: figures and a plot."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from archsearch._utils.files import write_with
from replays.loop import Replay
from replays.table import Array, Table


def shares(runs: Sequence[Replay], table: Table, budget: float, counts: Sequence[int]) -> Array:
    """(runs, counts): per cent of the table's own hypervolume after the epochs of so many trainings."""
    whole = table.hypervolume([int(i) for i in np.flatnonzero(table.size < budget)], budget)
    got = [[table.hypervolume(run.rows_after(n * table.epochs), budget) for n in counts] for run in runs]
    return 100 * np.array(got) / (whole or 1.0)


def best(runs: Sequence[Replay], table: Table, counts: Sequence[int]) -> Array:
    """(runs, counts): best final accuracy."""
    rows = [[run.rows_after(n * table.epochs) for n in counts] for run in runs]
    return np.array([[table.final[index].max() if index else np.nan for index in run] for run in rows])


def lines(name: str, runs: Sequence[Replay], table: Table, budget: float, counts: Sequence[int]) -> Iterator[str]:
    """All figures of one sampler, a line each: mean and standard deviation over runs."""
    yield from _means(f"{name} hypervolume %", shares(runs, table, budget, counts), counts, 2)
    yield from _means(f"{name} best accuracy", best(runs, table, counts), counts, _digits(table.final))
    seconds = list(itertools.chain.from_iterable(run.seconds for run in runs))
    yield f"{name} wasted, over budget: {np.mean([run.over_budget for run in runs]):.1f} a run"
    yield f"{name} wasted, duplicates: {np.mean([run.duplicates for run in runs]):.1f} a run"
    yield f"{name} stopped at the rung: {np.mean([run.stopped for run in runs]):.1f} a run"
    yield f"{name} seconds a proposal: median {np.median(seconds):.3f}, longest {max(seconds):.3f}"


def _means(name: str, values: Array, counts: Sequence[int], digits: int) -> Iterator[str]:
    for count, column in zip(counts, values.T, strict=True):
        spread = np.std(column, ddof=1) if len(column) > 1 else 0.0
        yield f"{name}@{count}: {np.mean(column):.{digits}f} ± {spread:.{digits}f}"


def _digits(accuracy: Array) -> int:
    """Decimals for accuracies: two in per cent, four for fractions."""
    return 4 if accuracy.max() <= 1 else 2


def plot(found: Mapping[str, Array], title: str, path: Path) -> None:
    """Mean share of the hypervolume against trainings, with a band of one deviation.

    Args:
        found: of each sampler, (runs, trainings) from `shares`.
        title: of the picture.
        path: a PNG file; its folder is made.

    Raises:
        OSError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    fig = Figure(figsize=(7, 4.5), layout="constrained")
    axes = fig.subplots()
    for name, values in found.items():
        at, mean, spread = np.arange(1, values.shape[1] + 1), values.mean(0), values.std(0)
        axes.plot(at, mean, label=name)
        axes.fill_between(at, mean - spread, mean + spread, alpha=0.15)
    axes.set(xlabel="full trainings' worth of epochs", ylabel="share of the hypervolume, %", title=title)
    lowest = min((values.mean(0) - values.std(0)).min() for values in found.values())
    axes.set_ylim(max(0.0, min(40.0, lowest)), 101)
    axes.legend()
    write_with(path, lambda temporary: fig.savefig(temporary, dpi=150))
