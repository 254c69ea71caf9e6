"""The page's charts as places in percent: the template draws them, and nothing depends on the screen's width."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from archsearch._utils.scores import Score
from archsearch._utils.units import counted, format_bytes, format_count, format_short
from archsearch.report.html.axes import Axis, epoch_axis, log_axis, score_axis
from archsearch.report.html.contents import PageContents
from archsearch.report.labels import Box, Name, place
from archsearch.study.records import Record, Reject

KINDS = {
    "front": "on the Pareto front",
    "complete": "trained",
    "stopped": "stopped early",
    "reference": "reference",
}
_RUG, _BARS, _POINTS = 250, 24, 60
_LETTER, _LINE, _GAP, _MARK = 1.15, 5.0, 1.9, (1.4, 2.9)
"""Of a name and a mark, in percent of the narrowest chart that has names: 600 pixels, 290 high."""
_BEYOND = 2.5


@dataclass(frozen=True)
class Mark:
    """One measured network; `x`, `y` in percent from the left and from the bottom, `key` unique in the page."""

    key: str
    x: float
    y: float
    kind: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Label:
    """A reference's name beside its mark at `x`, its middle at `y`; `left`: it stands to the left."""

    text: str
    x: float
    y: float
    left: bool


@dataclass(frozen=True)
class LimitLine:
    """A limit on the parameter axis."""

    at: float
    label: str


@dataclass(frozen=True)
class FrontChart:
    """The score against parameters."""

    x: Axis
    y: Axis
    marks: tuple[Mark, ...]
    labels: tuple[Label, ...]
    stairs: str
    limits: tuple[LimitLine, ...]
    rug: str

    @property
    def edge(self) -> float | None:
        """Where the rejected region begins."""
        return min((limit.at for limit in self.limits), default=None)


@dataclass(frozen=True)
class Curve:
    """One training's score by epoch as the points of a polyline; its end is a mark."""

    points: str
    end: Mark


@dataclass(frozen=True)
class CurveChart:
    """The score against epochs."""

    x: Axis
    y: Axis
    curves: tuple[Curve, ...]
    rungs: tuple[LimitLine, ...]


@dataclass(frozen=True)
class Bar:
    """A bar of a histogram; `height` in percent of the largest one."""

    height: float
    label: str


@dataclass(frozen=True)
class Histogram:
    """Numbers of rejected candidates by parameters, on a logarithmic axis."""

    x: Axis
    bars: tuple[Bar, ...]
    limit: LimitLine | None

    @property
    def others(self) -> bool:
        """Whether some broke another limit than the one that is drawn."""
        return self.limit is not None and any(
            bar.height for i, bar in enumerate(self.bars) if 100 * (i + 1) / len(self.bars) < self.limit.at
        )


def kind_of(record: Record, best: set[str]) -> str:
    """One of `KINDS`."""
    return "front" if record.state == "complete" and record.arch in best else record.state


def key_of(record: Record) -> str:
    """What names a network within the page."""
    return f"r-{record.reason}" if record.state == "reference" else f"t{record.trial}"


def front_chart(contents: PageContents) -> FrontChart:
    """All measured candidates and references, the front's staircase, the limits and what they reject."""
    rows, score = [r for r in (*contents.history, *contents.references) if r.score is not None], contents.score
    limits = contents.budget.edges
    x = log_axis([max(1, r.params) for r in rows] + [*limits] + [_BEYOND * at for at in sorted(limits)[:1]])
    y = score_axis([score.drawn(r.score) for r in rows], score)
    best = {r.arch for r in contents.front}
    marks = tuple(_mark(r, kind_of(r, best), x, y, score) for r in sorted(rows, key=lambda r: (r.params, r.trial)))
    names = [(r.reason, x.place(r.params), y.place(score.drawn(r.score))) for r in rows if r.state == "reference"]
    drawn = _drawn(limits, x)
    steps = [(x.place(r.params), round(100 - y.place(score.drawn(r.score)), 2)) for r in contents.front]
    stairs = _stairs(steps, min((limit.at for limit in drawn), default=100))
    return FrontChart(x, y, marks, _labels(names, marks), stairs, drawn, _rug(contents.rejects, x))


def _mark(record: Record, kind: str, x: Axis, y: Axis, score: Score) -> Mark:
    lines = (
        record.reason if kind == "reference" else record.summary,
        score.named(record.score or 0.0, "validation"),
        f"{format_count(record.params)} parameters, {format_bytes(record.size_bytes)}",
        f"{KINDS[kind]}"
        + (f" after {counted(record.epochs, 'epoch')}" if kind == "stopped" else "")
        + f" · {record.arch}",
        *lineage(record),
    )
    return Mark(key_of(record), x.place(record.params), y.place(score.drawn(record.score)), kind, lines)


def lineage(record: Record) -> list[str]:
    """Of a candidate that began with another's weights: whose, and how much training it stands on; else nothing."""
    if "parent" not in record.usage:
        return []
    parent, epochs = record.usage["parent"], record.usage["lineage_epochs"]
    return [f"began with candidate {parent:.0f}: {epochs:.3g} epochs in all"]


def _drawn(limits: Mapping[float, str], x: Axis) -> tuple[LimitLine, ...]:
    return tuple(LimitLine(x.place(at), label) for at, label in sorted(limits.items()))


def _labels(names: Sequence[tuple[str, float, float]], marks: Sequence[Mark]) -> tuple[Label, ...]:
    """Names beside their marks, where they lie on no mark and on no other name."""
    ordered = sorted(names, key=lambda name: (name[2], name[1]))
    wide, high = _MARK
    boxes = [Box(mark.x - wide, mark.y - high, mark.x + wide, mark.y + high) for mark in marks]
    sized = [Name(x, y, _LETTER * len(text), _LINE) for text, x, y in ordered]
    placed = place(sized, boxes, Box(0, 0, 100, 100), _GAP)
    return tuple(
        Label(text, x, round((box.bottom + box.top) / 2, 2), box.left < x)
        for (text, x, _), box in zip(ordered, placed, strict=True)
    )


def _stairs(steps: Sequence[tuple[float, float]], end: float) -> str:
    """An SVG path in a box of 100 by 100: right to the next size, then up; on to where the budget ends."""
    path = ""
    for across, up in steps:
        path += f"H{across}V{up}" if path else f"M{across} {up}"
    return path and f"{path}H{end}"


def _rug(rejects: Sequence[Reject], x: Axis) -> str:
    """One short line for every size that was rejected and lies within the axis, as an SVG path of height 10."""
    inside = {round(x.place(r.params) * _RUG / 100) for r in rejects if r.params and x.low <= r.params <= x.high}
    return "".join(f"M{100 * at / _RUG:g} 0V10" for at in sorted(inside))


def curve_chart(contents: PageContents) -> CurveChart:
    """A line a training, the front's last so that they lie on top."""
    best = {r.arch for r in contents.front}
    rows = [r for r in (*contents.history, *contents.references) if r.curve and r.state in KINDS]
    rows.sort(key=lambda r: kind_of(r, best) == "front")
    rungs = [rung for rung in contents.about.get("rungs", []) if isinstance(rung, int)]
    x = epoch_axis(int(max([r.curve[-1][0] for r in rows] + [*map(float, rungs)], default=1)))
    y = score_axis([contents.score.drawn(value) for r in rows for _, value in r.curve], contents.score)
    curves = tuple(_curve(r, kind_of(r, best), x, y, contents.score) for r in rows)
    return CurveChart(x, y, curves, tuple(LimitLine(x.place(rung), f"rung after {rung}") for rung in rungs))


def _curve(record: Record, kind: str, x: Axis, y: Axis, score: Score) -> Curve:
    step = math.ceil(len(record.curve) / _POINTS)
    kept = [*record.curve[:-1:step], record.curve[-1]]
    places = [(x.place(epoch), y.place(score.drawn(value))) for epoch, value in kept]
    points = " ".join(f"{across:g},{100 - up:g}" for across, up in ((a, round(u, 2)) for a, u in places))
    end = _mark(record, kind, log_axis([record.params]), y, score)
    return Curve(points, replace(end, x=places[-1][0], y=places[-1][1]))


def reject_histogram(contents: PageContents) -> Histogram | None:
    """How many of the recorded rejects have which size; None without any."""
    sizes = [r.params for r in contents.rejects if r.params]
    if not sizes:
        return None
    limits = contents.budget.edges
    x = log_axis([*sizes, *limits])
    counts = [0] * _BARS
    for size in sizes:
        counts[min(_BARS - 1, int(x.place(size) * _BARS / 100))] += 1
    edges = [x.low * (x.high / x.low) ** (i / _BARS) for i in range(_BARS + 1)]
    bars = tuple(
        Bar(round(100 * n / max(counts), 1), f"{n:,} from {format_short(edges[i])} to {format_short(edges[i + 1])}")
        for i, n in enumerate(counts)
    )
    return Histogram(x, bars, _drawn(limits, x)[0] if limits else None)
