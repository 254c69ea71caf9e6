"""The Pareto picture: accuracy against parameters, the front as a staircase, the budget and what it rejects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from archsearch._utils.files import write_with
from archsearch.network.budget import Budget
from archsearch.study.records import Record, front

INK, FRONT, REJECTED, REFERENCE = "#3b4252", "#d1495b", "#8d99ae", "#2e86ab"


def plot(path: Path, history: Sequence[Record], budget: Budget, title: str) -> Path:
    """Draw the study's candidates into a PNG, whole.

    A limit on bytes is drawn where a network of nothing but parameters would break it.

    Raises:
        OSError: the file cannot be written.
    """
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
    for record in (r for r in measured if r.state == "reference"):
        height = 100 * (record.val_accuracy or 0.0)
        axes.scatter(record.params, height, s=60, marker="*", color=REFERENCE, zorder=5)
        axes.annotate(record.reason, (record.params, height), fontsize=8, xytext=(4, -10), textcoords="offset points")
    lines = budget.edges
    for at, label in lines.items():
        axes.axvline(at, color=REJECTED, ls="--", lw=1.2, label=label)
    if lines:
        edge, right = min(lines), 2 * max(lines)
        axes.axvspan(edge, right, color=REJECTED, alpha=0.22, lw=0, label="rejected")
        axes.set_xlim(right=right)
    axes.set(xlabel="parameters", ylabel="validation accuracy (%)", title=title)
    axes.grid(which="major", alpha=0.25)
    axes.legend(loc="lower right")
    return write_with(path, lambda temporary: figure.savefig(temporary))


def _percent(rows: Sequence[Record]) -> list[float]:
    return [100 * (row.val_accuracy or 0.0) for row in rows]
