"""Several labels per picture in a table: a column of 0 and 1 per class, or one column of names with a separator.

`?labels=edema,mass` takes those columns, `?labels=*` all that hold 0 and 1 alone. `?labels=findings&separator=|` takes
the names in one column apart, and `&none=No Finding` says which name stands for no label.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

import numpy as np

from archsearch._utils.specs import parse_spec
from archsearch.data.readers.labels import Labelled
from archsearch.data.readers.several import Flags, check_names, check_train, is_one_hot, notes_of, shown
from archsearch.errors import DataError

EVERY = "*"
_YES, _NO = {"1", "1.0", "true"}, {"0", "0.0", "false"}


class Table(Protocol):
    """Rows of texts below a header."""

    @property
    def path(self) -> Path: ...

    @property
    def header(self) -> Sequence[str]: ...

    @property
    def lines(self) -> Sequence[int]: ...

    def column(self, number: int) -> list[str]: ...


@dataclass(frozen=True)
class Marks:
    """What was asked for: columns by name, or one and what stands between its names; `none`: says no label."""

    name: str
    wanted: Sequence[str]
    separator: str = ""
    none: str = ""

    def columns(self, table: Table, others: Sequence[int | None]) -> list[int]:
        """Numbers of the columns with labels; `others` have pictures and splits. Raises DataError."""
        if self.wanted == [EVERY]:
            return self._every(table, others)
        found = [self._column(table, column) for column in self.wanted]
        if taken := [table.header[n] for n in found if n in others]:
            raise DataError(f"{self.name}: column {taken[0]!r} holds no labels, but pictures or splits")
        if self.separator and len(found) > 1:
            raise DataError(f"{self.name}: separator= goes with one column, labels= names {len(found)}")
        if not self.separator and len(found) < 2:
            raise DataError(
                f"{self.name}: labels={self.wanted[0]} is one column: name two at least, give separator= where it holds"
                " several names, or label= where it holds one"
            )
        return found

    def read(self, table: Table, columns: Sequence[int], parts: Mapping[str, Sequence[int]]) -> Labelled:
        """Classes and bool (N, classes) by part. Raises DataError for a cell that says neither yes nor no."""
        if self.separator:
            classes, flags = self._apart(table.column(columns[0]), table)
        else:
            classes = [table.header[n] for n in columns]
            flags = np.stack([self._flags(table, n) for n in columns], 1)
        check_names(classes, self.name)
        found = {part: np.ascontiguousarray(flags[list(rows)]) for part, rows in parts.items()}
        if len(classes) < 2:
            raise DataError(f"{self.name}: there is one label, {shown(classes)}: at least 2 are needed")
        check_train(found["train"], self.name)
        return Labelled(tuple(classes), found, (*_notes(found), *notes_of(found, classes)))

    def _every(self, table: Table, others: Sequence[int | None]) -> list[int]:
        """All columns of 0 and 1."""
        rest = [number for number in range(len(table.header)) if number not in others]
        found = [number for number in rest if {*map(str.casefold, table.column(number))} <= _YES | _NO]
        if len(found) < 2:
            raise DataError(
                f"{self.name}: {table.path} has {len(found)} columns of 0 and 1 alone, labels=* takes two at least:"
                f" name them, of {shown([table.header[n] for n in rest])}"
            )
        return found

    def _column(self, table: Table, column: str) -> int:
        count = list(table.header).count(column)
        if count != 1:
            said = "no column" if not count else f"{count} columns"
            raise DataError(f"{self.name}: {table.path} has {said} {column!r}: the columns are {shown(table.header)}")
        return list(table.header).index(column)

    def _flags(self, table: Table, number: int) -> Flags:
        """bool (N,) of a column."""
        words = [text.casefold() for text in table.column(number)]
        wrong = next((row for row, word in enumerate(words) if word not in _YES | _NO), None)
        if wrong is not None:
            raise self._unclear(table, number, wrong, words[wrong])
        return np.array([word in _YES for word in words], np.bool_)

    def _unclear(self, table: Table, number: int, row: int, text: str) -> DataError:
        said = f"says {text!r}" if text else "is empty"
        return DataError(
            f"{self.name}: {table.path}: line {table.lines[row]}: {table.header[number]!r} {said}: it must be 0 or 1;"
            " leave such rows out, or decide what they are"
        )

    def _apart(self, texts: Sequence[str], table: Table) -> tuple[list[str], Flags]:
        """Names, in order, and which of them each row has."""
        rows = [[*self._words(text)] for text in texts]
        for row, words in enumerate(rows):
            if len(set(words)) < len(words):
                raise DataError(
                    f"{self.name}: {table.path}: line {table.lines[row]} has a label twice: {texts[row][:80]!r}"
                )
        classes = sorted({word for words in rows for word in words})
        if all(word.isdecimal() for word in classes):
            classes.sort(key=int)
        numbers = {word: number for number, word in enumerate(classes)}
        flags = np.zeros((len(rows), len(classes)), np.bool_)
        for row, words in enumerate(rows):
            flags[row, [numbers[word] for word in words]] = True
        return classes, flags

    def _words(self, text: str) -> Iterator[str]:
        for word in text.split(self.separator):
            if word.strip() and word.strip() != self.none:
                yield word.strip()


def _notes(parts: Mapping[str, Flags]) -> Iterator[str]:
    if all(map(is_one_hot, parts.values())):
        yield "every picture has exactly one label: a single column of names, ?label=COLUMN, makes them exclusive"


def asked_for(name: str, options: Mapping[str, str]) -> Marks | None:
    """What the options of a dataset say of several labels; None where they ask for one. Raises DataError."""
    if "labels" not in options:
        if lost := [key for key in ("separator", "none") if key in options]:
            raise DataError(f"{name}: {lost[0]}= goes with labels=COLUMN")
        return None
    if "label" in options:
        raise DataError(f"{name}: label= is for one label per picture, labels= for several: give one of them")
    if "none" in options and "separator" not in options:
        raise DataError(f"{name}: none= goes with separator=")
    wanted = [unquote(word) for word in parse_spec(name).options["labels"].split(",")]
    if twice := next((word for n, word in enumerate(wanted) if word in wanted[:n]), None):
        raise DataError(f"{name}: labels= names {twice!r} twice: name it once")
    return Marks(name, wanted, options.get("separator", ""), options.get("none", ""))
