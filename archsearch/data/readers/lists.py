"""Several labels per picture, as a list in each row: by name or by number."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from archsearch._utils.units import counted
from archsearch.data.readers.labels import Labelled
from archsearch.data.readers.several import Flags, check_names, check_train, is_one_hot, notes_of, shown
from archsearch.errors import DataError


@dataclass(frozen=True)
class Listed:
    """The lists of one part: so many rows, the distinct texts, and for every label of a row int64 (M,) row and text."""

    count: int
    texts: Sequence[str]
    rows: NDArray[np.int64]
    codes: NDArray[np.int64]

    def flags(self, numbers: Mapping[str, int]) -> Flags:
        """bool (count, classes), by the number of each text's class."""
        found = np.zeros((self.count, len(numbers)), np.bool_)
        found[self.rows, np.array([numbers[text] for text in self.texts], np.int64)[self.codes]] = True
        return found


def classes_of_lists(
    parts: Mapping[str, Listed], name: str, where: Callable[[str, int], str], names: Sequence[str] | None = None
) -> Labelled:
    """Classes and bool (N, classes) by part; a row may have no label.

    Args:
        where: names the picture of a part and number, for messages.
        names: of the labels 0, 1, ... where these are numbers; those that no row has are left out.

    Raises:
        DataError: a label is empty, negative, beyond `names` or twice in a row; or train leaves nothing to learn.
    """
    for part, one in parts.items():
        _check(one, part, name, where)
    used = {text for one in parts.values() for text in one.texts}
    numeric = all(text.isdecimal() for text in used)
    order = sorted(used, key=int) if numeric else sorted(used)
    if names and numeric and order and int(order[-1]) >= len(names):
        raise DataError(f"{name}: label {order[-1]} has no name: there are names for 0 to {len(names) - 1}: add names")
    titles = [names[int(text)] for text in order] if names and numeric else order
    check_names(titles, name)
    if len(titles) < 2:
        raise DataError(f"{name}: the lists have {counted(len(titles), 'label')}: at least 2 are needed")
    numbers = {text: number for number, text in enumerate(order)}
    flags = {part: one.flags(numbers) for part, one in parts.items()}
    check_train(flags["train"], name)
    left_out = [title for title in names or () if title not in titles] if numeric else []
    return Labelled(tuple(titles), flags, (*_notes(flags, left_out), *notes_of(flags, titles)))


def _check(one: Listed, part: str, name: str, where: Callable[[str, int], str]) -> None:
    for number, text in enumerate(one.texts):
        if not text.strip() or re.fullmatch(r"-\d+", text):
            row = int(one.rows[one.codes == number][0])
            raise DataError(
                f"{name}: {where(part, row)} has the label {text!r}: it must be a name or a number from 0 on; an empty"
                " list says that a picture has no label"
            )
    pairs, counts = np.unique(one.rows * max(1, len(one.texts)) + one.codes, return_counts=True)
    if (counts > 1).any():
        row, code = divmod(int(pairs[counts > 1][0]), len(one.texts))
        raise DataError(
            f"{name}: {where(part, row)} has label {one.texts[code]} twice: a list names each label of its picture"
            " once; a 0 or 1 for every class is read from npz:, or from columns of csv:FILE?labels="
        )


def _notes(parts: Mapping[str, Flags], left_out: Sequence[str]) -> Iterator[str]:
    if left_out:
        yield f"left out, no picture has the label: {shown(left_out)}"
    if all(map(is_one_hot, parts.values())):
        yield "every list has exactly one label: a column of single labels makes them exclusive"
