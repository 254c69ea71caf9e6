"""The Optuna dashboard: the front as a note with files as artifacts of its trials, and the learning curves."""

from __future__ import annotations

import html
import json
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.artifacts import FileSystemArtifactStore

from archsearch._utils.scores import Score
from archsearch._utils.units import format_bytes, format_count, format_ms
from archsearch.network.limits import LATENCY
from archsearch.report.html.words import score_words
from archsearch.report.tables import Tested, tested
from archsearch.study.observers import Counts, Observer
from archsearch.study.records import Record, front
from archsearch.study.storage import records, score_of, stored_retrained
from archsearch.study.store import store_of

FOLDER = "artifacts"
_LAST_WORDS = "the page to show to others is `report.html` there."
_KINDS = {".toml": "text/plain"}
_REMOVED = "null"  # what the dashboard writes over an artifact that a person has deleted
PLOT_ID = "learning-curves"
_COLOURS = {"front": "#d1495b", "complete": "#3b4252", "stopped": "#b0b7c3", "failed": "#b0b7c3"}


def show_front(folder: Path, study: optuna.Study) -> None:
    """Save the note, and for every trial of the front its weights and architecture file.

    What a trial has already is left as it is. Artifacts lie in `folder`/artifacts. Raises OSError.
    """
    from optuna_dashboard import get_note, save_note

    best = front(records(study))
    save_note(study, merged(get_note(study), note(folder, study, best)))
    for record in best:
        _attach(folder, study, store_of(study).trial_id(record.trial), record)


def merged(old: str, new: str) -> str:
    """A note with our part replaced by `new`; what people wrote above and below it stays."""
    heading = new.splitlines()[0]
    above, found, rest = old.partition(heading)
    if not found:
        return f"{old.rstrip()}\n\n{new}".lstrip()
    return above + new + rest.partition(_LAST_WORDS)[2]


def note(folder: Path, study: optuna.Study, best: Sequence[Record]) -> str:
    """The front as a Markdown table with links to the trials."""
    tests, score = tested(stored_retrained(study)), score_of(study)
    rows = [_row(store_of(study).id, r, tests.get(r.arch), score) for r in best]
    columns = [name for name in (rows[0] if rows else ()) if tests or not name.startswith("test ")]
    table = [columns, ["---"] * len(columns), *([row[name] for name in columns] for row in rows)]
    lines = ["| " + " | ".join(cells) + " |" for cells in table]
    return "\n".join(
        [
            f"## {html.escape(folder.name)}: the front",
            "",
            *(lines if rows else ["No candidate is complete yet."]),
            "",
            f"Files lie in the study's folder; {_LAST_WORDS}",
        ]
    )


def _row(study: int, record: Record, test: Tested | None, score: Score) -> dict[str, str]:
    return {
        "trial": f"[{record.trial}](/dashboard/studies/{study}/trials?numbers={record.trial})",
        "network": html.escape(record.summary).replace("|", "\\|"),
        f"validation {score.words}": score.shown(record.score or 0.0),
        f"test {score.words}": score_words(test, score) if test else "",
        "parameters": format_count(record.params),
        "on disk": format_bytes(record.size_bytes),
        **({"one image": format_ms(record.more[LATENCY])} if LATENCY in record.more else {}),
        "weights": f"`weights/{record.arch}.safetensors`",
    }


def _attach(folder: Path, study: optuna.Study, trial_id: int, record: Record) -> None:
    weights = sorted((folder / "weights").glob(f"{record.arch}*.safetensors"))
    for path in (*weights, folder / "archs" / f"{record.arch}.toml"):
        if path.exists():
            _put(path, folder / FOLDER, study, trial_id)


def _put(path: Path, place: Path, study: optuna.Study, trial_id: int) -> None:
    """One file into the store, unless it is there; its name into the study, unless that has it or had it removed.

    Optuna's `upload_artifact` refuses finished trials. The dashboard also looks for a trial's artifacts among the
    attributes of the study, where it kept them itself once.
    """
    artifact = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{study.study_name}/{trial_id}/{path.name}"))
    key = f"dashboard:artifacts:{trial_id}:{artifact}"
    store = store_of(study)
    known = store.storage.get_study_system_attrs(store.id).get(key)
    if known == _REMOVED or (known and (place / artifact).exists()):
        return
    place.mkdir(exist_ok=True)
    try:
        with path.open("rb") as file:
            FileSystemArtifactStore(str(place)).write(artifact, file)
    except OSError as error:
        (place / artifact).unlink(missing_ok=True)
        error.filename = error.filename or str(place / artifact)
        raise
    kind = _KINDS.get(path.suffix, "application/octet-stream")
    about = {"artifact_id": artifact, "filename": path.name, "mimetype": kind, "encoding": None}
    store.storage.set_study_system_attr(store.id, key, json.dumps(about))


class DashboardFront(Observer):
    """Saves note and artifacts when the search ends, however it ends."""

    def __init__(self, folder: Path, study: optuna.Study) -> None:
        self.folder, self.study = folder, study

    def ended(self, history: Sequence[Record], counts: Counts) -> None:
        """Only what is not there yet costs anything."""
        show_front(self.folder, self.study)


class Figure:
    """What the dashboard asks of a plotly figure: its JSON. Saves depending on plotly for one call."""

    def __init__(self, data: list[dict[str, Any]], layout: dict[str, Any]) -> None:
        self.data, self.layout = data, layout

    def to_json(self) -> str:
        """The figure in plotly's JSON schema."""
        return json.dumps({"data": self.data, "layout": self.layout})


def figure(history: Sequence[Record], score: Score) -> Figure:
    """Validation score by epoch, a line a candidate; the front stands out."""
    best = {record.arch for record in front(history)}
    lines = [_line(record, record.arch in best, score) for record in history if record.curve]
    unit = f" ({score.unit})" if score.unit else ""
    layout = {
        "title": {"text": "Learning curves"},
        "xaxis": {"title": {"text": "epoch"}},
        "yaxis": {"title": {"text": f"validation {score.words}{unit}"}},
        "showlegend": False,
    }
    return Figure(lines, layout)


def _line(record: Record, on_front: bool, score: Score) -> dict[str, Any]:
    epochs, values = zip(*record.curve, strict=True)
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": list(epochs),
        "y": [round(score.drawn(value), 3 if score.unit else 5) for value in values],
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

        save_plotly_graph_object(self.study, figure(history, score_of(self.study)), graph_object_id=PLOT_ID)
