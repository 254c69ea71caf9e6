"""The Pareto picture: accuracy against parameters, the front as a staircase, the budget and what it rejects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from archsearch.files import write_with
from archsearch.storage import Record
from archsearch.tables import front
from archsearch.units import format_short

INK, FRONT, REJECTED = "#3b4252", "#d1495b", "#8d99ae"


def plot(path: Path, history: Sequence[Record], max_params: float | None, title: str) -> Path:
    """Draw the study's candidates into a PNG, whole. Raises OSError."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), dpi=110, layout="constrained")
    axes = figure.subplots()
    measured = [r for r in history if r.val_accuracy is not None]
    others = [r for r in measured if r.state == "stopped"]
    complete = [r for r in measured if r.state == "complete"]
    axes.set_xscale("log")
    axes.scatter([r.params for r in complete], _percent(complete), s=26, color=INK, alpha=0.55, label="trained")
    if others:
        axes.scatter([r.params for r in others], _percent(others), s=22, marker="x", color=INK, label="stopped early")
    best = front(history)
    if best:
        axes.step([r.params for r in best], _percent(best), where="post", color=FRONT, lw=1.8, zorder=3)
        axes.scatter([r.params for r in best], _percent(best), s=42, color=FRONT, zorder=4, label="Pareto front")
    if max_params is not None:
        right = max_params * 2
        axes.axvline(max_params, color=REJECTED, ls="--", lw=1.2)
        axes.axvspan(
            max_params, right, color=REJECTED, alpha=0.22, lw=0, label=f"rejected: {format_short(max_params)}+"
        )
        axes.set_xlim(right=right)
    axes.set(xlabel="parameters", ylabel="validation accuracy (%)", title=title)
    axes.grid(which="major", alpha=0.25)
    axes.legend(loc="lower right")
    return write_with(path, lambda temporary: figure.savefig(temporary))


def _percent(rows: Sequence[Record]) -> list[float]:
    return [100 * (row.val_accuracy or 0.0) for row in rows]
