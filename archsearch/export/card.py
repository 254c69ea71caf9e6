"""The model card beside exported files: a README.md that says what they are, how good, and how to load them.

Its first lines are for Hugging Face, see `header`; behind them stands, as a comment, what the next export has to know.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archsearch._utils.files import write_text
from archsearch._utils.formats import FORMATS, files_of, format_of
from archsearch._utils.scores import Score
from archsearch._utils.sharing import names_beside, shipped
from archsearch._utils.units import format_bytes, format_count
from archsearch.export.header import HEAD, header, plain
from archsearch.export.job import Exported, Source
from archsearch.export.reopen import RESTORED
from archsearch.export.snippets import loading
from archsearch.export.verify import Parity
from archsearch.metrics.thresholds import is_several
from archsearch.network.blocks.registry import is_a
from archsearch.network.file_size import DTYPE_BYTES, Written
from archsearch.network.limits import measures

if TYPE_CHECKING:
    from archsearch.report.tables import Tested

_OPEN, _CLOSE = "<!-- archsearch ", " -->"
_LISTED = 200
"""Class names up to so many are listed."""
_SEVERAL = (
    "the sigmoid of each is the probability of its label, which is said above its threshold: `network.thresholds`, in"
    " the file's metadata `thresholds`."
)


def write_card(exported: Exported, dtype: str, source: Source, tested: Tested | None = None) -> Path:
    """Write the card of the file's folder, with the files of the same network that were exported there before.

    A README.md that is no card is left alone: the card is then named after the file.

    Raises:
        OSError: the card cannot be written.
    """
    path = exported.path.parent / "README.md"
    if path.exists() and not _own(path).startswith(_OPEN):
        path = exported.path.with_name(f"{exported.path.name}.md")
    files = _noted(path, _weights(source))
    files[exported.path.name] = {
        "dtype": dtype,
        **_runtime(exported),
        "bytes": exported.bytes,
        "sha256": _digests(exported.path),
        "accuracy": exported.parity.accuracy,
        "max_abs_diff": exported.parity.max_abs_diff,
        "images": exported.parity.images,
        "labelled": exported.parity.labelled,
    }
    return write_text(path, card(source, files, exported.parity, tested))


def listed(card: Path) -> list[Path]:
    """The files that a card lists and that are still as they were certified. Raises OSError."""
    return [card.parent / name for entry in _noted(card).values() for name in entry["sha256"]]


def _digests(path: Path) -> dict[str, str]:
    """SHA-256 of all files that belong to one. Raises OSError."""
    beside = [names_beside(path)] if format_of(path) == "safetensors" and names_beside(path).is_file() else []
    return {file.name: _sha256(file) for file in (*files_of(path), *beside)}


def _runtime(exported: Exported) -> dict[str, Any]:
    """Which runtime checked a file, how many images it takes at a time, and how pixels become its integers."""
    about = exported.about
    if not about:
        return {}
    found = {"runtime": f"{about['runtime']} {about['version']}", "batch": about["batch"]}
    sides = {side: about[side] for side in ("input", "output") if about[side]["dtype"] != "float32"}
    return {**found, **sides}


def _own(path: Path) -> str:
    """A card without its head."""
    return HEAD.sub("", path.read_text(encoding="utf-8", errors="replace"))


def _noted(path: Path, weights: str | None = None) -> dict[str, Any]:
    """What a card notes of its files, by name: of those that still are as they were.

    Args:
        weights: those of which the card must be; None: any.
    """
    first = _own(path).partition("\n")[0] if path.exists() else ""
    try:
        said = json.loads(first.removeprefix(_OPEN).removesuffix(_CLOSE))
    except ValueError:
        return {}
    files = said.get("files") if isinstance(said, dict) and weights in (None, said.get("weights")) else None
    if not isinstance(files, dict):
        return {}
    return {name: f for name, f in files.items() if _is_entry(name, f) and _is_whole(path.parent / name, f)}


def _is_whole(path: Path, entry: Mapping[str, Any]) -> bool:
    return all(file.is_file() for file in files_of(path)) and _digests(path) == entry["sha256"]


def _is_entry(name: str, value: object) -> bool:
    """Whether a card's note of a file is as `write_card` writes it, and nobody's edit."""
    numbers = ("bytes", "accuracy", "max_abs_diff", "images", "labelled")
    return (
        isinstance(value, dict)
        and Path(name).name == name
        and isinstance(value.get("sha256"), dict)
        and any(value.get("dtype") in form.dtypes for form in FORMATS.values())
        and all(is_a(value.get(k), float) for k in numbers)
    )


def _weights(source: Source) -> str:
    """The file's name does not say which training it is of: `retrain --overwrite` keeps it."""
    return _sha256(source.path)[:16]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def card(source: Source, files: Mapping[str, Mapping[str, Any]], parity: Parity, tested: Tested | None) -> str:
    """The text of a card.

    Args:
        files: by name: dtype, bytes, and what its check found.
        parity: of the last file's check: the network's own accuracy on the validation split.
        tested: what retraining measured on the test split, None where it did not.
    """
    state = json.dumps({"weights": _weights(source), "files": files}).replace(">", "\\u003e")
    parts = [
        header(source, files, tested),
        f"{_OPEN}{state}{_CLOSE}",
        f"# {_layers(source)}",
        _task(source),
        "## Files\n\n" + _files(files),
        "## Accuracy\n\n" + _accuracy(source, parity, tested),
        "## Network\n\n" + _network(source),
        "## Input and output\n\n" + _input(source, files),
        "## How to load\n\n" + "\n\n".join(loading(name, source, files[name]) for name in sorted(files)),
    ]
    return "\n\n".join(parts) + "\n"


def _task(source: Source) -> str:
    arch, names = source.arch, source.info.get("classes")
    listed = isinstance(names, list) and len(names) <= _LISTED
    classes = f": {', '.join(map(plain, names))}" if listed and names else ""
    kept = source.info.get(RESTORED)
    restored = f" Its weights were read out of an ONNX file at {kept}." if kept in FORMATS["onnx"].dtypes else ""
    return (
        f"An image classifier for `{plain(shipped(str(source.info.get('dataset', 'unknown data'))))}`,"
        f" {arch.classes} classes{classes}. Found and trained by archsearch; network `{arch.id}`.{restored}"
    )


def _layers(source: Source) -> str:
    return source.arch.summary.replace(" | ", " · ")


def _files(files: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        f"| `{name}` | {f['dtype']} | {format_count(f['bytes'])} | {_percent(f['accuracy'])}"
        f" of {format_count(f['labelled'])}"
        f" | {f['max_abs_diff']:.2g} over {format_count(f['images'])} images |"
        for name, f in sorted(files.items())
    ]
    head = "| file | precision | bytes | validation accuracy | largest difference of an output |\n|---|---|---|---|---|"
    return (
        "\n".join([head, *rows]) + "\n\nEach file was run after it was written; differences are to the network in fp32."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.2f}%"


def _accuracy(source: Source, parity: Parity, tested: Tested | None) -> str:
    of = f"{format_count(parity.labelled)} {parity.what}"
    if is_several(source.info):
        of += ", yes or no for every image and label"
    lines = [f"- validation split, before export: {_percent(parity.module_accuracy)} of {of}"]
    if source.info.get("trained") not in (None, "search"):
        lines[0] += " (these weights were trained on that split too, so this says only what the export changed)"
    if tested:
        over = (
            "one training"
            if tested.std is None
            else f"mean of {tested.seeds} trainings, standard deviation {100 * tested.std:.2f} points"
        )
        lines.append(f"- test split: {_percent(tested.mean)}, {over}")
    elif isinstance(source.info.get("test_accuracy"), int | float):
        lines.append(f"- test split: {_percent(source.info['test_accuracy'])}, one training")
    else:
        lines.append("- test split: not measured here; `archsearch evaluate` does")
    if parity.judged:
        score = f"{plain(parity.score.words)}, validation split, before export: {parity.score.shown(parity.before)}"
        lines.insert(1, f"- {score}")
    return "\n".join([*lines, *_scores(source.info, tested)])


def _scores(info: Mapping[str, Any], tested: Tested | None) -> list[str]:
    """Lines for the metric of the training, where it was another than accuracy."""
    name, mean = info.get("metric"), tested.score_mean if tested else info.get("test_score")
    if not isinstance(name, str):
        return []
    score, lines = Score(name), list[str]()
    words = plain(score.words)
    if isinstance(info.get("val_score"), int | float):
        lines.append(f"- {words}, by which it was chosen, on the validation split: {score.shown(info['val_score'])}")
    if isinstance(mean, int | float):
        lines.append(f"- {words} on the test split: {score.spread(mean, tested.score_std if tested else None)}")
    return lines


def _network(source: Source) -> str:
    arch = source.arch
    cost = arch.cost
    recipe = source.info.get("recipe")
    rows = [
        ("layers", f"`{_layers(source)}`"),
        ("parameters", format_count(cost.params)),
        ("multiply-accumulates for one image", format_count(cost.macs)),
        *((f"safetensors bytes at {dtype}, at most", format_count(cost.size_bytes(dtype))) for dtype in DTYPE_BYTES),
        ("live activations for one image in fp32, at most", format_bytes(cost.peak_activation_bytes())),
    ]
    if ram := measures(cost, Written())["ram_bytes"]:
        rows.append(("RAM in TensorFlow Lite Micro, of an int8 `.tflite` file, at most", format_bytes(ram)))
    if isinstance(recipe, dict):
        rows.append(("training", plain(", ".join(f"{key} {value}" for key, value in recipe.items()))))
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def _input(source: Source, files: Mapping[str, Mapping[str, Any]]) -> str:
    channels, height, width = source.arch.input_shape
    answer = _SEVERAL if is_several(source.info) else "the largest is the class."
    order = {1: "grey", 3: "red, green, blue"}.get(channels, "channels as in the data")
    return (
        f"In: float32, N x {channels} x {height} x {width}, {order}, pixels from 0 to 1 (bytes divided by 255).\n"
        f"Out: float32, N x {source.arch.classes} logits; {answer}\n\n"
        f"{_differing(files)}"
        "Normalisation is inside. A picture is scaled by its short side, bilinear, and its centre is cut out: one that"
        " is squashed instead is recognised less often.\n"
        "`archsearch.load` takes every file here in the same way: `network.preprocess(picture)` gives such pixels,"
        " `network.classes` the names."
    )


def _differing(files: Mapping[str, Mapping[str, Any]]) -> str:
    """A sentence for every file that takes one image at a time, or integers."""
    found = []
    for name, entry in sorted(files.items()):
        if entry.get("batch"):
            found.append(f"`{name}`: N is {entry['batch']}.")
        for side in ("input", "output"):
            if side in entry:
                about = entry[side]
                place = f"zero point {about['zero_point']}"
                found.append(f"`{name}`: {side} of {about['dtype']}, scale {about['scale']:.9g}, {place}.")
    return "\n".join([*found, "", ""]) if found else ""
