"""From labels as they are written, by name or by number, to classes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from archsearch.data.readers.layout import held_out
from archsearch.data.splits import Labels
from archsearch.errors import DataError

_WHOLE = re.compile(r"[+-]?\d{1,18}")
_FLOAT = re.compile(r"[+-]?(\d+\.\d*|\.\d+|\d+(?=e))(e[+-]?\d+)?", re.IGNORECASE)
_SHOWN = 4


@dataclass(frozen=True)
class Written:
    """Labels of one part: the distinct texts, and int64 (N,) which of them each picture has."""

    texts: Sequence[str]
    codes: NDArray[np.int64]


@dataclass(frozen=True)
class Labelled:
    """The classes of a dataset, the labels by part, and what the user should know.

    parts: int64 (N,), numbers of classes, or bool (N, classes) where a picture may have several.
    """

    classes: tuple[str, ...]
    parts: Mapping[str, Labels]
    notes: tuple[str, ...] = ()


def written(labels: Iterable[str]) -> Written:
    """Labels, one a picture, without the spaces around them."""
    numbers: dict[str, int] = {}
    codes = [numbers.setdefault(text.strip(), len(numbers)) for text in labels]
    return Written(tuple(numbers), np.array(codes, np.int64))


def classes_of(
    parts: Mapping[str, Written],
    name: str,
    where: Callable[[str, int], str],
    names: Sequence[str] | None = None,
) -> Labelled:
    """Number the classes: by `names` where there are some, else whole numbers by size, else by name.

    where: names the picture of a part and number, for messages. names: of the labels 0, 1, ...; those without a
    train picture are left out. Raises DataError for a label that is empty, a fraction, negative, beyond `names`,
    without train pictures, or of too few, and where all pictures are of one class.
    """
    counts = {part: _counts(part, one, name, where) for part, one in parts.items()}
    used = {text for count in counts.values() for text in count}
    if not counts["train"]:
        raise DataError(f"{name}: holds no picture of the train split: check the path")
    numeric = _check_numbers(used, name)
    order = sorted(used, key=int) if numeric else sorted(used)
    titles = {text: _title(text, names, name) if names and numeric else text for text in order}
    _check_train(counts, titles, name)
    ranks = {text: number for number, text in enumerate(order)}
    return Labelled(
        tuple(titles.values()),
        {part: np.array([ranks.get(text.strip(), -1) for text in one.texts], np.int64)[one.codes]
         for part, one in parts.items()},
        tuple(_notes(counts, titles, names if numeric else None, numeric)),
    )  # fmt: skip


def split_off(labels: Labels, order: NDArray[np.int64] | None = None) -> Mapping[str, NDArray[np.int64]]:
    """Sorted indices of train and test: a fifth of each class for the test, fixed by the order alone.

    order: int64 (N,), the indices in an order that does not depend on the file's; None: as they are.
    """
    order = np.arange(len(labels)) if order is None else order
    test = held_out(labels[order])
    return {"train": np.sort(order[~test]), "test": np.sort(order[test])}


def _counts(part: str, one: Written, name: str, where: Callable[[str, int], str]) -> dict[str, int]:
    """Number of pictures by label; a label that says nothing is refused where it stands."""
    sizes = np.bincount(one.codes, minlength=len(one.texts))
    for number, text in enumerate(one.texts):
        bad = "" if text.strip() else "is empty"
        bad = f"is {text}, which marks a picture without a label" if re.fullmatch(r"-\d+", text) else bad
        if bad and sizes[number]:
            first = int(np.argmax(one.codes == number))
            alone = f" in all of {part}" if sizes[number] == len(one.codes) else ""
            raise DataError(
                f"{name}: the label of {where(part, first)} {bad}{alone}: give it a class, or leave such pictures out"
            )
    return {text.strip(): int(size) for text, size in zip(one.texts, sizes, strict=True) if size}


def _check_numbers(used: set[str], name: str) -> bool:
    """Whether all labels are whole numbers. Raises DataError for fractions, and numbers written in two ways."""
    fractions = sorted(text for text in used if _FLOAT.fullmatch(text))
    if fractions and all(_WHOLE.fullmatch(text) or _FLOAT.fullmatch(text) for text in used):
        raise DataError(
            f"{name}: label {fractions[0]} is a fraction: labels must be whole numbers or names; "
            "if it is a measured value, name another label column"
        )
    if not all(_WHOLE.fullmatch(text) for text in used):
        return False
    ways: dict[int, str] = {}
    for text in sorted(used):
        if (other := ways.setdefault(int(text), text)) != text:
            raise DataError(f"{name}: labels {other} and {text} are one number: write it in one way")
    return True


def _title(text: str, names: Sequence[str], name: str) -> str:
    if int(text) >= len(names):
        raise DataError(
            f"{name}: label {text} has no name: there are names for 0 to {len(names) - 1} "
            f"({_shown(names)}): add names, or correct the label"
        )
    return names[int(text)]


def _check_train(counts: Mapping[str, Mapping[str, int]], titles: Mapping[str, str], name: str) -> None:
    """Refuse classes with too few pictures to train and to judge on."""
    train = counts["train"]
    if len(set(titles.values())) < len(titles):
        double = next(title for title in titles.values() if [*titles.values()].count(title) > 1)
        raise DataError(f"{name}: two classes are named {double!r}: names must differ")
    for part, count in counts.items():
        if absent := [titles[text] for text in titles if text in count and text not in train]:
            raise DataError(
                f"{name}: no train picture is of class {_shown(absent)}, which {part} has: "
                "add some to train, or remove those pictures"
            )
    if len(train) < 2:
        raise DataError(f"{name}: all train pictures are of class {titles[next(iter(train))]}: at least 2 are needed")
    least = 2 if "test" in counts else 3
    if few := [text for text in titles if train.get(text, 0) < least]:
        total, rest = sum(train.values()), len(few) - 1
        raise DataError(
            f"{name}: class {titles[few[0]]} has {train[few[0]]} train picture(s): at least {least} are needed"
            + (f"; likewise {rest:,} of {len(titles):,} classes" if rest else "")
            + (f" of {total:,} pictures: is that the label?" if 2 * len(titles) > total else "")
        )


def _notes(
    counts: Mapping[str, Mapping[str, int]], titles: Mapping[str, str], names: Sequence[str] | None, numeric: bool
) -> Iterable[str]:
    numbers = sorted(map(int, titles)) if numeric else []
    if names:
        given = set(numbers)
        unused = [one for number, one in enumerate(names) if number not in given]
        if unused:
            yield f"left out, no picture has the label: {len(unused):,} of {len(names):,} names: {_shown(unused)}"
    elif gaps := [f"{low + 1} to {high - 1}" for low, high in pairwise(numbers) if high > low + 1]:
        yield f"labels are not counted without a gap: no picture has {_shown(gaps)}"
    for part, count in counts.items():
        if part != "train" and (absent := [titles[text] for text in titles if text not in count]):
            yield f"{part} has no picture of class {_shown(absent)}"
    plain: dict[str, str] = {}
    for title in titles.values():
        if (other := plain.setdefault(title.casefold(), title)) != title:
            yield f"two classes differ by capitals alone: {other}, {title}"


def _shown(words: Sequence[str]) -> str:
    more = len(words) - _SHOWN
    return ", ".join([*words[:_SHOWN], f"{more:,} more"] if more > 1 else words)
