"""Answers as a table: its columns, and a row per image."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from archsearch._utils.files import write_with
from archsearch.data.unlabelled import Unlabelled
from archsearch.errors import InputError
from archsearch.inference.predict import Answers, Labels

_MISSING = ""


@dataclass(frozen=True)
class Columns:
    """What a table has of each image.

    top: so many classes, the likeliest first. numbers: labels by number, not by name. logits: the output of each class.
    names: of the columns, from the left, and only so many; none: all, by their own names.
    """

    labels: Labels
    top: int = 1
    numbers: bool = False
    logits: bool = False
    names: tuple[str, ...] = ()

    @property
    def header(self) -> list[str]:
        """The names of the columns. Raises InputError for more names than there are columns, and one twice."""
        own = [*self._own(), "error"]
        if len(self.names) >= len(own):
            raise InputError(
                f"--columns {','.join(self.names)}: names {len(self.names)} columns of {len(own) - 1}, "
                f"{', '.join(own[:-1])}: leave some out, or see --top"
            )
        if twice := [name for name in self.names if not name or self.names.count(name) > 1]:
            raise InputError(
                f"--columns {','.join(self.names)}: {twice[0]!r} is empty or there twice: names must differ"
            )
        return [*self.names] or own

    def _own(self) -> Iterator[str]:
        """All but the column of errors."""
        yield "id"
        classes = self.labels.names
        if self.labels.several:
            yield from classes
            yield from (f"probability_{name}" for name in classes)
        else:
            for place in range(1, self.top + 1):
                end = f"_{place}" if place > 1 else ""
                yield from (f"label{end}", f"probability{end}")
        yield from (f"logit_{name}" for name in classes if self.logits)

    def rows(self, answers: Answers, images: Unlabelled) -> Iterator[list[str]]:
        """A row per image, in order; one that cannot be read has empty cells and says why."""
        width = len(self.header)
        cells = [] if len(answers) == len(answers.broken) else self._cells(answers)
        for place, number in enumerate(answers.numbers):
            name = images.id_of(number)
            if number in answers.broken:
                reason = [] if self.names else [answers.broken[number].reason]
                yield [name, *[_MISSING] * (width - 1 - len(reason)), *reason]
            else:
                yield [name, *cells[place], _MISSING][:width]

    def _cells(self, answers: Answers) -> list[list[str]]:
        """What stands behind the id, without the error."""
        found = self._several(answers) if self.labels.several else self._likeliest(answers)
        if self.logits:
            values = answers.logits.tolist()
            found = [left + [f"{value:.9g}" for value in row] for left, row in zip(found, values, strict=True)]
        return found

    def _likeliest(self, answers: Answers) -> list[list[str]]:
        # A stable order: of equal logits the first class is said, as argmax does.
        order = answers.logits.sort(dim=1, descending=True, stable=True).indices[:, : self.top]
        shares = self.labels.probabilities(answers.logits).gather(1, order)
        return [
            [cell for label, share in zip(*pair, strict=True) for cell in (self.label(label), short(share))]
            for pair in zip(order.tolist(), shares.tolist(), strict=True)
        ]

    def _several(self, answers: Answers) -> list[list[str]]:
        said = self.labels.chosen(answers.logits).int().tolist()
        shares = self.labels.probabilities(answers.logits).tolist()
        return [[*map(str, row), *map(short, share)] for row, share in zip(said, shares, strict=True)]

    def label(self, number: int) -> str:
        """A class as the table has it."""
        return str(number) if self.numbers else self.labels.names[number]


def short(share: float) -> str:
    """A probability in six digits."""
    return f"{share:.6g}"


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> Path:
    """Write a table of UTF-8 text, whole or not at all; rows are taken as they come, none is kept.

    Names of files that are no UTF-8 keep their bytes. Raises OSError as `write_with` does, and what `rows` raises.
    """

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(header)
            table.writerows(rows)

    return write_with(path, write)
