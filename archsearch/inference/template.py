"""Submissions to contests: a sample submission says which ids, in which order, and how labels are written."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from archsearch.data.unlabelled import Unlabelled
from archsearch.errors import InputError
from archsearch.inference.predict import Answers, Labels
from archsearch.inference.table import short

_SHOWN = 4
_NUMBER = re.compile(r"\d{1,9}")


@dataclass(frozen=True)
class Template:
    """A sample submission.

    header: its columns; place: of the ids among them; ids: in their order; examples: what stands in the others, by row.
    """

    path: Path
    header: tuple[str, ...]
    place: int
    ids: tuple[str, ...]
    examples: tuple[tuple[str, ...], ...]

    @property
    def others(self) -> list[str]:
        """The columns that are to be filled."""
        return [*self.header[: self.place], *self.header[self.place + 1 :]]

    def row(self, number: int, cells: Sequence[str]) -> list[str]:
        """A row with its id where the template has it."""
        return [*cells[: self.place], self.ids[number], *cells[self.place :]]


def read_template(path: Path, id_column: str = "") -> Template:
    """A table with a line of column names, an id per row in the first column or in `id_column`, and labels.

    Raises:
        InputError: missing, no such table, without rows, or with an id twice; one line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header, *rows = [row for row in csv.reader(file, strict=True) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else "no CSV in UTF-8"
        raise InputError(f"--template {path}: cannot be read: {reason}") from None
    except ValueError:
        raise InputError(f"--template {path}: is empty: it needs a line of column names, and a row per id") from None
    if id_column and header.count(id_column) != 1:
        raise InputError(f"--template {path}: has no column {id_column!r}: it has {_listed(header)}")
    place = header.index(id_column) if id_column else 0
    if not rows or len(header) < 2:
        raise InputError(f"--template {path}: needs a column of ids, one of labels, and a row per id")
    if odd := next((row for row in rows if len(row) != len(header)), None):
        raise InputError(f"--template {path}: the row of {odd[0]!r} has {len(odd)} cells, the first {len(header)}")
    ids = tuple(row[place] for row in rows)
    if twice := _twice(ids):
        raise InputError(f"--template {path}: asks twice for {_listed(twice)}: each id must be there once")
    return Template(path, tuple(header), place, ids, tuple((*row[:place], *row[place + 1 :]) for row in rows))


def match(template: Template, images: Unlabelled) -> NDArray[np.int64]:
    """int64 (N,): which row of the template each image answers, -1 for none.

    Ids are those of the images, names of their files, or these without the suffix; of numbered images their numbers,
    from 0 or from 1, if there are as many ids as images.

    Raises:
        InputError: an id has no image, or several; one line.
    """
    wanted = {name: row for row, name in enumerate(template.ids)}
    best: tuple[list[str], list[str]] | None = None
    for key in _keys(images, len(wanted)):
        names = [key(number) for number in range(len(images))]
        found = set(names) & wanted.keys()
        double = _twice([name for name in names if name in wanted])
        if len(found) == len(wanted) and not double:
            return np.array([wanted.get(name, -1) for name in names], np.int64)
        missing = [name for name in template.ids if name not in found]
        if best is None or len(missing) < len(best[0]):
            best = missing, double
    missing, double = best or ([*template.ids], [])
    if missing:
        raise InputError(
            f"--template {template.path}: {len(missing):,} of {len(wanted):,} ids have no image: {_listed(missing)}; "
            f"there are {len(images):,} images, the first is {images.id_of(0)}"
        )
    raise InputError(f"--template {template.path}: several images are called {_listed(double)}: each id must be one's")


def _keys(images: Unlabelled, count: int) -> Iterator[Callable[[int], str]]:
    """Ways to name an image by its number."""
    if not images.numbered:
        yield images.id_of
        yield lambda number: Path(images.id_of(number)).name
        yield lambda number: Path(images.id_of(number)).stem
    elif len(images) == count:
        yield str
        yield lambda number: str(number + 1)


@dataclass(frozen=True)
class Filling:
    """How the cells of a template are written.

    numbers: labels by number. classes: which class each column has a probability of; empty where there is a label.
    yes_no: of several labels 0 and 1 instead of probabilities.
    """

    labels: Labels
    numbers: bool = False
    classes: tuple[int, ...] = ()
    yes_no: bool = False

    def cells(self, answers: Answers) -> list[list[str]]:
        """Of each image, without its id."""
        if not self.classes:
            said = answers.logits.argmax(1).tolist()
            return [[str(label) if self.numbers else self.labels.names[label]] for label in said]
        chosen = list(self.classes)
        if self.yes_no:
            return [[*map(str, row)] for row in self.labels.chosen(answers.logits)[:, chosen].int().tolist()]
        return [[*map(short, row)] for row in self.labels.probabilities(answers.logits)[:, chosen].tolist()]


def filling_of(template: Template, labels: Labels, numbers: bool = False) -> Filling:
    """How a template is filled, by its columns and examples: a label, by name or number, or a column per class.

    Args:
        numbers: labels are numbers, whatever the examples are.

    Raises:
        InputError: columns that are neither a label nor all classes, and examples that are no labels.
    """
    names, others = labels.names, template.others
    if sorted(others) == sorted(names):
        yes_no = labels.several and all(cell in ("", "0", "1") for row in template.examples for cell in row)
        return Filling(labels, classes=tuple(names.index(name) for name in others), yes_no=yes_no)
    if len(others) > 1 or labels.several:
        wanted = "a column per class" if labels.several else "one of labels, or a column per class"
        raise InputError(
            f"--template {template.path}: has the columns {_listed(others)} beside the ids: it needs {wanted}: "
            f"{_listed(names)}"
        )
    said = {row[0] for row in template.examples} - {""}
    if numbers or said <= {*names}:
        return Filling(labels, numbers)
    if all(_NUMBER.fullmatch(text) and int(text) < len(names) for text in said):
        return Filling(labels, numbers=True)
    odd = min(said - {*names})
    way = "--index writes numbers"
    if all(_NUMBER.fullmatch(name) for name in names):
        way = "train it on data that name them, or empty that column of the template"
    raise InputError(
        f"--template {template.path}: the label {odd!r} is neither a class nor the number of one; "
        f"classes are {_listed(names)}: {way}"
    )


def filled(
    template: Template, rows: NDArray[np.int64], filling: Filling, answers: Iterable[Answers]
) -> Iterator[list[str]]:
    """The rows of a submission, in the template's order; only their cells are kept.

    Args:
        rows: int64 (N,), the row that each image answers, as `match` has them.

    Raises:
        InputError: a picture that an id asks for cannot be read; one line.
    """
    cells: dict[int, list[str]] = {}
    broken: dict[str, str] = {}
    for some in answers:
        found = filling.cells(some) if len(some) > len(some.broken) else []
        for place, number in enumerate(some.numbers):
            row = int(rows[number])
            if number in some.broken and row >= 0:
                broken[template.ids[row]] = some.broken[number].reason
            elif row >= 0:
                cells[row] = found[place]
    if broken:
        _refuse(template, broken)
    for row in range(len(template.ids)):
        yield template.row(row, cells[row])


def _refuse(template: Template, broken: Mapping[str, str]) -> None:
    first = next(iter(broken.values()))
    raise InputError(
        f"--template {template.path}: pictures of {len(broken):,} ids cannot be read: {_listed([*broken])} "
        f"(the first: {first}): replace them"
    )


def _twice(names: Iterable[str]) -> list[str]:
    seen, found = set[str](), dict[str, None]()
    for name in names:
        if name in seen:
            found[name] = None
        seen.add(name)
    return [*found]


def _listed(words: Sequence[str]) -> str:
    more = len(words) - _SHOWN
    return ", ".join([*words[:_SHOWN], f"{more:,} more"] if more > 1 else words)
