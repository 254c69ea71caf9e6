"""The Pareto picture: the score against parameters, the front as a staircase, the budget and what it rejects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from archsearch._utils.files import write_with
from archsearch._utils.scores import Score
from archsearch.network.budget import Budget
from archsearch.report.labels import Box, Name, place
from archsearch.study.records import Record, front

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARK, _GAP = 7.0, 9.0
"""Half a mark, and from its middle to its name, in pixels."""
_ACCURACY = Score()
_MARGINS = {"left": 0.1, "right": 0.98, "bottom": 0.11, "top": 0.93}
INK, FRONT, REJECTED, REFERENCE = "#3b4252", "#d1495b", "#8d99ae", "#2e86ab"


def plot(path: Path, history: Sequence[Record], budget: Budget, title: str, score: Score = _ACCURACY) -> Path:
    """Draw the study's candidates into a PNG, whole; `score` is what they were trained for.

    A limit on bytes is drawn where a network of nothing but parameters would break it.

    Raises:
        OSError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), dpi=110)
    axes = figure.subplots(gridspec_kw=_MARGINS)  # a layout engine takes twice the time of the rest
    measured = [r for r in history if r.score is not None]
    others = [r for r in measured if r.state == "stopped"]
    complete = [r for r in measured if r.state == "complete"]
    axes.set_xscale("log")
    axes.scatter([r.params for r in complete], _heights(complete, score), s=26, color=INK, alpha=0.55, label="trained")
    if others:
        heights = _heights(others, score)
        axes.scatter([r.params for r in others], heights, s=22, marker="x", color=INK, label="stopped early")
    best = front(history)
    if best:
        axes.step([r.params for r in best], _heights(best, score), where="post", color=FRONT, lw=1.8, zorder=3)
        axes.scatter([r.params for r in best], _heights(best, score), s=42, color=FRONT, zorder=4, label="Pareto front")
    for record in (r for r in measured if r.state == "reference"):
        axes.scatter(record.params, score.drawn(record.score), s=60, marker="*", color=REFERENCE, zorder=5)
    lines = budget.edges
    for at, label in lines.items():
        axes.axvline(at, color=REJECTED, ls="--", lw=1.2, label=label)
    if lines:
        edge, right = min(lines), 2 * max(lines)
        axes.axvspan(edge, right, color=REJECTED, alpha=0.22, lw=0, label="rejected")
        axes.set_xlim(right=right)
    unit = f" ({score.unit})" if score.unit else ""
    axes.set(xlabel="parameters", ylabel=f"validation {score.words}{unit}", title=title)
    axes.grid(which="major", alpha=0.25)
    axes.legend(loc="best")
    _name(figure, axes, [r for r in measured if r.state == "reference"], measured, score)
    return write_with(path, lambda temporary: figure.savefig(temporary))


def _name(figure: Figure, axes: Axes, named: Sequence[Record], every: Sequence[Record], score: Score) -> None:
    """References' names, where they lie on no mark, not on each other and not on the legend."""
    if not named:
        return
    figure.draw_without_rendering()  # what follows needs places and sizes in pixels
    pixels = axes.transData.transform
    texts = [axes.text(0, 0, r.reason, fontsize=8, transform=None, va="bottom") for r in named]
    sizes = [text.get_window_extent() for text in texts]
    places = [pixels((r.params, score.drawn(r.score))) for r in named]
    legend = axes.get_legend()
    taken = [_around(*pixels((r.params, score.drawn(r.score)))) for r in every]
    taken += [Box(*legend.get_window_extent().extents)] if legend else []
    names = [Name(x, y, size.width, size.height) for (x, y), size in zip(places, sizes, strict=True)]
    for text, box in zip(texts, place(names, taken, Box(*axes.get_window_extent().extents), _GAP), strict=True):
        text.set_position((box.left, box.bottom))


def _around(x: float, y: float) -> Box:
    return Box(x - _MARK, y - _MARK, x + _MARK, y + _MARK)


def _heights(rows: Sequence[Record], score: Score) -> list[float]:
    return [score.drawn(row.score) for row in rows]
