"""Learning curves of all candidates, as a plot that the Optuna dashboard shows with the study."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import optuna

from archsearch.events import Counts, Observer
from archsearch.records import Record, front
from archsearch.units import format_count

PLOT_ID = "learning-curves"
_COLOURS = {"front": "#d1495b", "complete": "#3b4252", "stopped": "#b0b7c3", "failed": "#b0b7c3"}


class Figure:
    """What the dashboard asks of a plotly figure: its JSON. Saves depending on plotly for one call."""

    def __init__(self, data: list[dict[str, Any]], layout: dict[str, Any]) -> None:
        self.data, self.layout = data, layout

    def to_json(self) -> str:
        """The figure in plotly's JSON schema."""
        return json.dumps({"data": self.data, "layout": self.layout})


def figure(history: Sequence[Record]) -> Figure:
    """Validation accuracy (%) by epoch, a line a candidate; the front stands out."""
    best = {record.arch for record in front(history)}
    lines = [_line(record, record.arch in best) for record in history if record.curve]
    layout = {
        "title": {"text": "Learning curves"},
        "xaxis": {"title": {"text": "epoch"}},
        "yaxis": {"title": {"text": "validation accuracy (%)"}},
        "showlegend": False,
    }
    return Figure(lines, layout)


def _line(record: Record, on_front: bool) -> dict[str, Any]:
    epochs, accuracies = zip(*record.curve, strict=True)
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": list(epochs),
        "y": [round(100 * accuracy, 3) for accuracy in accuracies],
        "name": f"{record.arch}, {format_count(record.params)} parameters, {record.state}",
        "line": {"color": _COLOURS["front" if on_front else record.state], "width": 2 if on_front else 1},
        "marker": {"size": 4},
    }


class DashboardCurves(Observer):
    """Saves the plot with the study when the search ends, however it ends."""

    def __init__(self, study: optuna.Study) -> None:
        self.study = study

    def ended(self, history: Sequence[Record], counts: Counts) -> None:
        """One plot, written over the one of an earlier run."""
        from optuna_dashboard import save_plotly_graph_object

        save_plotly_graph_object(self.study, figure(history), graph_object_id=PLOT_ID)
