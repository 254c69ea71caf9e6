"""`archsearch evaluate`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archsearch._utils.units import counted, format_count
from archsearch.cli import corruptions
from archsearch.cli.options import data_options, split_option
from archsearch.cli.screen import columns, terminal_width, wrapped
from archsearch.cli.sources import dataset_of, split_seed
from archsearch.errors import InputError

if TYPE_CHECKING:
    from archsearch.inference.evaluate import Scores

MATRIX_UP_TO, MISTAKES = 20, 10


@click.command()
@click.argument("weights", type=click.Path(path_type=Path))
@data_options
@split_option
@click.option(
    "--split", "part", type=click.Choice(["test", "validation", "train"]), default="test", show_default=True,
    help="Which images; train and validation as the run divided them.",
)  # fmt: skip
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps; auto for ONNX: cpu.")
@click.option("--confusion", type=click.Path(path_type=Path, dir_okay=False), help="Draw the confusion matrix: a .png.")
@corruptions.corrupt_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout: accuracy, n, per_class.")
def evaluate(
    weights: Path, part: str, device: str, confusion: Path | None, corrupt: bool, as_json: bool, **options: Any
) -> None:
    """Accuracy, accuracy a class and confusion matrix of WEIGHTS, a file that archsearch wrote.

    A .safetensors, .onnx, .onnx.xz or .pt2 file: architecture, normalisation and classes are in its metadata.
    """
    from archsearch.data import unread_test
    from archsearch.inference import evaluate as library
    from archsearch.inference import format_of, open_runner
    from archsearch.nn.devices import resolve_device

    if confusion is not None and confusion.suffix != ".png":
        raise InputError(f"--confusion {confusion}: must end in .png")
    place = resolve_device("cpu" if device == "auto" and format_of(weights) != "safetensors" else device)
    runner = open_runner(weights, place)
    dataset = dataset_of(weights, runner.arch, runner.info, options)
    library.check_fit(runner, dataset, str(weights))
    images = library.part_of(dataset, part, split_seed(options["seed"], runner.info))
    try:
        found = library.evaluate(runner, images, dataset.classes)
        damaged = corruptions.measured(runner, images, library.accuracy) if corrupt else None
    except InputError as error:
        raise InputError(f"{weights}: {error}") from None
    notes = [*dataset.notes, *(unread_test(dataset, len(images[1])) if part == "test" else [])]
    title = f"{weights.name} on {dataset.name}, {part}"
    if confusion is not None:
        library.draw_confusion(confusion, found, title)
    plain = {"accuracy": found.accuracy, "n": found.n, "per_class": found.per_class}
    more = ["", *corruptions.text(damaged, found.accuracy)] if damaged else []
    if damaged:
        plain["corrupted"] = damaged.to_json()
    click.echo(json.dumps(plain) if as_json else "\n".join([*wrapped(notes), *_text(title, found), *more]))


def _text(title: str, found: Scores) -> list[str]:
    lines = [*wrapped([f"{title}: {100 * found.accuracy:.2f}% of {counted(found.n, 'image')}"]), ""]
    sizes = found.confusion.sum(1).tolist()
    rows: list[tuple[str, ...]] = [("class", "accuracy", "images")]
    rows += [
        (name, "" if share is None else f"{100 * share:.2f}%", format_count(n))
        for (name, share), n in zip(found.per_class.items(), sizes, strict=True)
    ]
    lines += columns(rows, left=(0,))
    if len(found.classes) <= MATRIX_UP_TO:
        lines += ["", *_matrix(found)]
    mistakes = found.mistakes(MISTAKES)
    if mistakes:
        pairs = "; ".join(f"{a} as {b}, {format_count(n)}" for a, b, n in mistakes)
        lines += ["", *wrapped([f"most often confused: {pairs}"])]
    return lines


def _matrix(found: Scores) -> list[str]:
    """The confusion matrix, or where it stands if the terminal is too narrow for it: its rows can't be broken."""
    rows: list[tuple[str, ...]] = [("", *(name[:6] for name in found.classes))]
    for name, counts in zip(found.classes, found.confusion.tolist(), strict=True):
        rows.append((name, *(format_count(n) if n else "." for n in counts)))
    lines = columns(rows, left=(0,), width=sys.maxsize)
    wide, width = max(map(len, lines)), terminal_width()
    if width and wide > width:
        told = f"confusion: takes {wide} columns and this terminal has {width}; --confusion FILE.png draws it"
        return wrapped([told])
    return [*wrapped(["confusion: one row a class, one column for what it was taken for"]), *lines]
