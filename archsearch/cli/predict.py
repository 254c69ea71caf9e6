"""`archsearch predict`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archsearch._utils.specs import parse_spec
from archsearch._utils.units import counted
from archsearch.cli.options import data_dir_option, split_option
from archsearch.cli.screen import say
from archsearch.cli.sources import device_for, own_colour, own_size, split_seed, split_share
from archsearch.errors import DataError, InputError

if TYPE_CHECKING:
    from archsearch.data.store.progress import Watch
    from archsearch.data.unlabelled import Form, Unlabelled
    from archsearch.inference import Runner
    from archsearch.inference.predict import Answers

_FEW = 5
"""So many rows are said on the screen too."""


@click.command()
@click.argument("weights", metavar="FILE", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True)
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), default=Path("predictions.csv"), show_default=True,
    help="The table; an older one is replaced once the new one is whole.",
)  # fmt: skip
@click.option("--top", type=click.IntRange(1), default=1, show_default=True, help="So many classes, likeliest first.")
@click.option("--index", is_flag=True, help="Labels as numbers, from 0, instead of names.")
@click.option("--logits", is_flag=True, help="The network's output for each class, too.")
@click.option("--columns", metavar="NAMES", help="Names of the columns from the left, and only so many: ID,Labels.")
@click.option(
    "--id-column", default="", metavar="COLUMN",
    help="Of ids: in the template, or else in csv: and parquet:.  [default: the first; names of pictures, or rows]",
)  # fmt: skip
@click.option(
    "--template", type=click.Path(path_type=Path, dir_okay=False),
    help="A contest's sample submission: gives columns, ids, their order, and how labels are written.",
)  # fmt: skip
@click.option(
    "--split", "part", type=click.Choice(["test", "validation", "train"]),
    help="IMAGES is a dataset, as in `run`: answer this split of it.",
)  # fmt: skip
@data_dir_option
@split_option
@click.option("--nested", is_flag=True, help="With --split and folder:DIR: as in `run`.")
@click.option("--image-size", type=click.IntRange(1), help="Resize images of npz: and of batches to N x N pixels.")
@click.option(
    "--device",
    default="auto",
    show_default=True,
    help="auto, cpu, cuda, cuda:1 or mps; auto: safetensors alone go to a GPU.",
)
def predict(weights: Path, images: tuple[str, ...], **options: Any) -> None:
    """Labels of IMAGES by FILE, a network that archsearch wrote, as a table with a row per image.

    FILE is one of any format that `export` writes, or zoo:NAME, a network that is ready: see `zoo`. IMAGES are folders
    and picture files, in sorted order; or npz:FILE, parquet:PATH, csv:FILE or a pickled batch as CIFAR's. A picture
    that cannot be read is a row that says so, and the exit status stays 0.
    """
    from archsearch.cli.decoding import Decoding
    from archsearch.inference import open_runner
    from archsearch.inference.predict import predict as answers_of
    from archsearch.inference.table import write_table

    _check(weights, images, options)
    runner = open_runner(weights, device_for(weights, options["device"]), data_dir=options["data_dir"])
    form = _form(weights, runner, images[0], options["image_size"])
    found = _images(images, runner, options)
    tally = Tally(found)
    with Decoding() as watch:
        answers = tally.watched(answers_of(runner, found, form), watch)
        table = _submission if options["template"] else _table
        header, rows = table(answers, found, runner, weights, options)
        write_table(options["output"], header, tally.kept(rows))
    say(*tally.summary(options["output"]))


def _check(weights: Path, images: Sequence[str], options: Mapping[str, Any]) -> None:
    """Raises InputError for options that exclude each other, and for an output that would replace what is read."""
    beside = [name for name in ("columns", "logits") if options[name]] + (["top"] if options["top"] > 1 else [])
    if options["template"] and beside:
        raise InputError(f"--template and --{beside[0]} exclude each other: the template says which columns there are")
    if options["part"] and len(images) > 1:
        raise InputError(f"--split {options['part']}: takes one dataset, not {len(images)} words: give it by itself")
    if options["part"] and options["id_column"] and not options["template"]:
        raise InputError(f"--id-column {options['id_column']}: not with --split, whose ids are paths or numbers")
    read = [weights, options["template"], *images, *(parse_spec(word).place for word in images)]
    output = options["output"]
    if output.resolve() in [Path(one).expanduser().resolve() for one in read if one]:
        raise InputError(f"--output {output}: is one of the files that are read: give another")


def _form(weights: Path, runner: Runner, word: str, size: int | None) -> Form:
    """How the network takes images. Raises InputError for an --image-size that is not its own."""
    from archsearch.inference.predict import form_of

    _, *sides = runner.arch.input_shape
    if size and sides != [size, size]:
        raise InputError(f"--image-size {size}: {weights} takes images of {sides[0]} x {sides[1]} pixels")
    return form_of(runner, size or own_size(runner.arch, runner.info, word), own_colour(runner.info))


def _images(words: Sequence[str], runner: Runner, options: Mapping[str, Any]) -> Unlabelled:
    from archsearch.data.unlabelled import open_split, open_unlabelled

    if not options["part"]:
        return open_unlabelled(words, "" if options["template"] else options["id_column"])
    return open_split(
        words[0],
        options["part"],
        data_dir=options["data_dir"],
        nested=options["nested"],
        seed=split_seed(options["seed"], runner.info),
        share=split_share(runner.info),
    )


_Table = tuple[list[str], Iterator[list[str]]]
"""The names of columns, and rows."""


def _table(
    answers: Iterator[Answers], images: Unlabelled, runner: Runner, weights: Path, options: Mapping[str, Any]
) -> _Table:
    from archsearch.inference.predict import Labels
    from archsearch.inference.table import Columns

    names = tuple(name.strip() for name in options["columns"].split(",")) if options["columns"] else ()
    top = min(options["top"], runner.arch.classes)
    columns = Columns(Labels.of(runner, weights), top, options["index"], options["logits"], names)
    return columns.header, (row for some in answers for row in columns.rows(some, images))


def _submission(
    answers: Iterator[Answers], images: Unlabelled, runner: Runner, weights: Path, options: Mapping[str, Any]
) -> _Table:
    from archsearch.inference.predict import Labels
    from archsearch.inference.template import filled, filling_of, match, read_template

    template = read_template(options["template"], options["id_column"])
    filling = filling_of(template, Labels.of(runner, weights), options["index"])
    rows = match(template, images)
    return [*template.header], filled(template, rows, filling, answers)


class Tally:
    """How many images were answered, what could not be read, and the first rows."""

    def __init__(self, images: Unlabelled) -> None:
        self.images, self.done, self.broken = images, 0, 0
        self.first = ""
        self.rows: list[list[str]] = []

    def watched(self, answers: Iterator[Answers], watch: Watch) -> Iterator[Answers]:
        """The same answers, counted. DataError at their end where no image could be read."""
        for some in answers:
            for number, one in some.broken.items():
                self.first = self.first or f"{one.where or self.images.id_of(number)} ({one.reason})"
            self.done, self.broken = self.done + len(some), self.broken + len(some.broken)
            watch.step("images", self.done, len(self.images))
            yield some
        if self.broken == self.done:
            raise DataError(f"none of {counted(self.done, 'image')} can be read, the first is {self.first}")

    def kept(self, rows: Iterator[list[str]]) -> Iterator[list[str]]:
        """The same rows; the first ones are remembered."""
        for row in rows:
            if len(self.rows) <= _FEW:
                self.rows.append(row)
            yield row

    def summary(self, output: Path) -> list[str]:
        """What is said at the end; of a few pictures the answers too."""
        few = self.rows if len(self.rows) <= _FEW else []
        lines = ["  ".join(cell for cell in row if cell) for row in few]
        lines.append(f"{output}: {counted(self.done, 'image')}")
        if self.broken:
            lines.append(f"could not be read: {self.broken:,} of {self.done:,}, the first is {self.first}")
        if self.images.left_out:
            lines.append(f"left out, no pictures that Pillow reads: {self.images.left_out}")
        return lines
