"""The front in the Optuna dashboard: a note with its table, and its files as artifacts of its trials."""

from __future__ import annotations

import html
import json
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.artifacts import FileSystemArtifactStore

from archsearch.events import Counts, Observer
from archsearch.page.axes import Axis, epoch_axis, percent_axis
from archsearch.page.charts import percent
from archsearch.page.words import score_words
from archsearch.records import Record, front
from archsearch.storage import records, stored_retrained
from archsearch.tables import Tested, tested
from archsearch.units import format_bytes, format_count

FOLDER = "artifacts"
CURVE = "learning-curve.svg"
_COLUMNS = ("trial", "network", "validation accuracy", "test accuracy", "parameters", "on disk", "weights")
_LAST_WORDS = "the page to show to others is `report.html` there."
_KINDS = {".svg": "image/svg+xml", ".toml": "text/plain"}
_REMOVED = "null"  # what the dashboard writes over an artifact that a person has deleted
_WIDTH, _HEIGHT, _LEFT, _BELOW = 480, 280, 56, 34


def show_front(folder: Path, study: optuna.Study) -> None:
    """Save the note, and for every trial of the front its weights, architecture file and learning curve.

    What a trial has already is left as it is. Artifacts lie in `folder`/artifacts. Raises OSError.
    """
    from optuna_dashboard import get_note, save_note

    best = front(records(study))
    save_note(study, merged(get_note(study), note(folder, study, best)))
    trials = study.get_trials(deepcopy=False)
    for record in best:
        _attach(folder, study, trials[record.trial]._trial_id, record)


def merged(old: str, new: str) -> str:
    """A note with our part replaced by `new`; what people wrote above and below it stays."""
    heading = new.splitlines()[0]
    above, found, rest = old.partition(heading)
    if not found:
        return f"{old.rstrip()}\n\n{new}".lstrip()
    return above + new + rest.partition(_LAST_WORDS)[2]


def note(folder: Path, study: optuna.Study, best: Sequence[Record]) -> str:
    """The front as a Markdown table with links to the trials."""
    tests = tested(stored_retrained(study))
    columns = [name for name in _COLUMNS if tests or name != "test accuracy"]
    rows = [_row(study._study_id, r, tests.get(r.arch)) for r in best]
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


def _row(study: int, record: Record, test: Tested | None) -> dict[str, str]:
    return {
        "trial": f"[{record.trial}](/dashboard/studies/{study}/trials?numbers={record.trial})",
        "network": html.escape(record.summary).replace("|", "\\|"),
        "validation accuracy": f"{percent(record.val_accuracy):.2f}%",
        "test accuracy": score_words(test) if test else "",
        "parameters": format_count(record.params),
        "on disk": format_bytes(record.size_bytes),
        "weights": f"`weights/{record.arch}.safetensors`",
    }


def _attach(folder: Path, study: optuna.Study, trial_id: int, record: Record) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        picture = Path(temporary) / CURVE
        picture.write_text(curve_picture(record), encoding="utf-8")
        weights = sorted((folder / "weights").glob(f"{record.arch}*.safetensors"))
        for path in (*weights, folder / "archs" / f"{record.arch}.toml", picture):
            if path.exists():
                _put(path, folder / FOLDER, study, trial_id)


def _put(path: Path, place: Path, study: optuna.Study, trial_id: int) -> None:
    """One file into the store, unless it is there; its name into the study, unless that has it or had it removed.

    Optuna's `upload_artifact` refuses finished trials. The dashboard also looks for a trial's artifacts among the
    attributes of the study, where it kept them itself once.
    """
    artifact = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{study.study_name}/{trial_id}/{path.name}"))
    key = f"dashboard:artifacts:{trial_id}:{artifact}"
    known = study._storage.get_study_system_attrs(study._study_id).get(key)
    if known == _REMOVED or (known and (place / artifact).exists()):
        return
    place.mkdir(exist_ok=True)
    with path.open("rb") as file:
        FileSystemArtifactStore(str(place)).write(artifact, file)
    kind = _KINDS.get(path.suffix, "application/octet-stream")
    about = {"artifact_id": artifact, "filename": path.name, "mimetype": kind, "encoding": None}
    study._storage.set_study_system_attr(study._study_id, key, json.dumps(about))


def curve_picture(record: Record) -> str:
    """Validation accuracy by epoch as an SVG picture."""
    values = [percent(value) for _, value in record.curve]
    x, y = epoch_axis(int(record.curve[-1][0]) if record.curve else 1), percent_axis(values)
    line = " ".join(f"{_across(x, at):g},{_down(y, percent(value)):g}" for at, value in record.curve)
    across = [
        f'<text x="{_across_at(t.at):g}" y="{_HEIGHT - 14}" text-anchor="middle">{t.label}</text>' for t in x.ticks
    ]
    up = [
        f'<path d="M{_LEFT} {_down_at(t.at):g}H{_WIDTH - 8}" stroke="#ddd"/>'
        f'<text x="{_LEFT - 6}" y="{_down_at(t.at) + 4:g}" text-anchor="end">{t.label}</text>'
        for t in y.ticks
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}"'
        ' font-family="sans-serif" font-size="12" fill="#444" stroke="none">'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(up)}{"".join(across)}'
        f'<polyline points="{line}" fill="none" stroke="#c2334d" stroke-width="2"/>'
        f'<text x="{_WIDTH - 8}" y="{_HEIGHT - 1}" text-anchor="end">epoch</text></svg>\n'
    )


def _across(x: Axis, value: float) -> float:
    return _across_at(x.place(value))


def _across_at(share: float) -> float:
    return round(_LEFT + share / 100 * (_WIDTH - _LEFT - 8), 2)


def _down(y: Axis, value: float) -> float:
    return _down_at(y.place(value))


def _down_at(share: float) -> float:
    return round(8 + (1 - share / 100) * (_HEIGHT - _BELOW - 8), 2)


class DashboardFront(Observer):
    """Saves note and artifacts when the search ends, however it ends."""

    def __init__(self, folder: Path, study: optuna.Study) -> None:
        self.folder, self.study = folder, study

    def ended(self, history: Sequence[Record], counts: Counts) -> None:
        """Only what is not there yet costs anything."""
        show_front(self.folder, self.study)
