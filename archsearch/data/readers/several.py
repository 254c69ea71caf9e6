"""Several labels per image: bool (N, classes), one column per class, and what is refused or said of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archsearch.errors import DataError

ONE, SEVERAL = "one", "several"
"""What `?labels=` of an array says of its rows."""
_SHOWN = 4

Flags = NDArray[np.bool_]


def flags_of(values: NDArray[Any], array: str, name: str) -> Flags:
    """Whether each image is of each class, from integers (N, classes). Raises DataError for one but 0 and 1."""
    wrong = (values != 0) & (values != 1)
    if wrong.any():
        row, column = (int(n) for n in np.argwhere(wrong)[0])
        raise DataError(
            f"{name}: {array} has the value {values[row, column]} in row {row}, column {column}: several labels per"
            " image are 0 and 1, a column per class"
        )
    return np.ascontiguousarray(values, dtype=np.bool_)


def is_one_hot(flags: Flags) -> bool:
    """Whether every image is of exactly one class, so that rows may as well spell single labels."""
    return bool((flags.sum(1) == 1).all())


def check_one_hot(flags: Flags, array: str, name: str) -> None:
    """Raises DataError where rows may mean either, one label per image or several."""
    if is_one_hot(flags):
        raise DataError(
            f"{name}: every row of {array} has exactly one 1: add ?labels=one where an image is of one class alone,"
            " ?labels=several where it may be of more"
        )


def single_of(flags: Flags, array: str, name: str) -> NDArray[np.int64]:
    """int64 (N,): the class of each image, from one-hot rows. Raises DataError for others."""
    wrong = np.flatnonzero(flags.sum(1) != 1)
    if len(wrong):
        count = int(flags[wrong[0]].sum())
        raise DataError(
            f"{name}: row {wrong[0]} of {array} has {count} labels: ?labels=one needs one in every row; leave it out"
            " where an image may have several"
        )
    numbers: NDArray[np.int64] = flags.argmax(1).astype(np.int64)
    return numbers


def titles_of(values: NDArray[Any], count: int, name: str) -> tuple[str, ...]:
    """Class names from an array of texts. Raises DataError for another number of them, and for one that is twice."""
    names = tuple(one.decode() if isinstance(one, bytes) else str(one) for one in values.reshape(-1).tolist())
    if len(names) != count:
        raise DataError(f"{name}: classes has {len(names)} names and train_labels {count} classes: name every class")
    check_names(names, name)
    return names


def check_names(names: Sequence[str], name: str) -> None:
    """Raises DataError for a class that is named twice, or not at all."""
    if double := next((one for n, one in enumerate(names) if one in names[:n]), None):
        raise DataError(f"{name}: two classes are named {double!r}: names must differ")
    if not all(names):
        raise DataError(f"{name}: class {list(names).index('')} has no name: give it one")


def notes_of(parts: Mapping[str, Flags], classes: Sequence[str]) -> Iterator[str]:
    """What a user should know of several labels: images without one, and classes that train shows no side of."""
    train = parts["train"]
    sizes = train.sum(0)
    for count, what in ((0, "no train image has"), (len(train), "all train images have")):
        if found := [name for name, n in zip(classes, sizes, strict=True) if n == count]:
            yield f"nothing to learn: {what} label {shown(found)}"
    for part, flags in parts.items():
        absent = [name for name, n, m in zip(classes, flags.sum(0), sizes, strict=True) if n == 0 and m]
        if part != "train" and absent:
            yield f"{part} has no image with label {shown(absent)}"


def check_train(flags: Flags, name: str) -> None:
    """Raises DataError where no train image has any label, or all have the same ones."""
    if not flags.any():
        raise DataError(f"{name}: no train image has a label: check the columns")
    if (flags == flags[0]).all():
        raise DataError(f"{name}: all train images have the same labels: check the columns")


def shown(words: Sequence[str]) -> str:
    """Words, the first of many."""
    more = len(words) - _SHOWN
    return ", ".join([*words[:_SHOWN], f"{more:,} more"] if more > 1 else words)
