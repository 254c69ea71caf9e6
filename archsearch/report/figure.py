"""The Pareto picture: accuracy against parameters, the front as a staircase, the budget and what it rejects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from archsearch._utils.files import write_with
from archsearch.network.budget import Budget
from archsearch.report.labels import Box, Name, place
from archsearch.study.records import Record, front

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARK, _GAP = 7.0, 9.0
"""Half a mark, and from its middle to its name, in pixels."""
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
    lines = budget.edges
    for at, label in lines.items():
        axes.axvline(at, color=REJECTED, ls="--", lw=1.2, label=label)
    if lines:
        edge, right = min(lines), 2 * max(lines)
        axes.axvspan(edge, right, color=REJECTED, alpha=0.22, lw=0, label="rejected")
        axes.set_xlim(right=right)
    axes.set(xlabel="parameters", ylabel="validation accuracy (%)", title=title)
    axes.grid(which="major", alpha=0.25)
    axes.legend(loc="best")
    _name(figure, axes, [r for r in measured if r.state == "reference"], measured)
    return write_with(path, lambda temporary: figure.savefig(temporary))


def _name(figure: Figure, axes: Axes, named: Sequence[Record], every: Sequence[Record]) -> None:
    """References' names, where they lie on no mark, not on each other and not on the legend."""
    if not named:
        return
    figure.draw_without_rendering()  # what follows needs places and sizes in pixels
    figure.set_layout_engine("none")
    pixels = axes.transData.transform
    texts = [axes.text(0, 0, r.reason, fontsize=8, transform=None, va="bottom") for r in named]
    sizes = [text.get_window_extent() for text in texts]
    places = [pixels((r.params, 100 * (r.val_accuracy or 0.0))) for r in named]
    legend = axes.get_legend()
    taken = [_around(*pixels((r.params, 100 * (r.val_accuracy or 0.0)))) for r in every]
    taken += [Box(*legend.get_window_extent().extents)] if legend else []
    names = [Name(x, y, size.width, size.height) for (x, y), size in zip(places, sizes, strict=True)]
    for text, box in zip(texts, place(names, taken, Box(*axes.get_window_extent().extents), _GAP), strict=True):
        text.set_position((box.left, box.bottom))


def _around(x: float, y: float) -> Box:
    return Box(x - _MARK, y - _MARK, x + _MARK, y + _MARK)


def _percent(rows: Sequence[Record]) -> list[float]:
    return [100 * (row.val_accuracy or 0.0) for row in rows]
