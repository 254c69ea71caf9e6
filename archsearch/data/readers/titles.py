"""Names of numbered classes from a file beside the data."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from archsearch.errors import DataError

_LISTS = ("classes.txt", "class_names.txt")
_INFO = ("_info.json", "info.json")
_KEYS = ("classes", "class_names", "label_names", "names")


def read_titles(folder: Path, name: str) -> tuple[str, ...] | None:
    """The names of the classes 0, 1, ... by `classes.txt`, a line each, or `_info.json`; None where there are none.

    Raises DataError for such a file that can't be read.
    """
    for file in (folder / one for one in (*_LISTS, *_INFO)):
        try:
            text = file.read_text(encoding="utf-8-sig")
            found = _lines(text) if file.suffix == ".txt" else _listed(json.loads(text))
        except FileNotFoundError:
            continue
        except (OSError, ValueError, RecursionError):
            raise DataError(f"{name}: {file}, which may name the classes, cannot be read: mend or remove it") from None
        if found:
            return _checked(found, file, name)
    return None


def numbered(titles: Mapping[str, str]) -> tuple[str, ...] | None:
    """Names of 0, 1, ... from those by label; None where a label is no such number, or one has no name."""
    if not all(re.fullmatch(r"\d{1,9}", label) for label in titles):
        return None
    by_number = {int(label): title for label, title in titles.items()}
    highest = max(by_number, default=-1)
    if highest > 10 * len(by_number) + 1000:
        return None
    return tuple(by_number.get(number, str(number)) for number in range(highest + 1)) or None


def _lines(text: str) -> list[str]:
    """A name a line; numbers in front that count the lines are not part of it."""
    lines = [line.strip() for line in text.strip().splitlines()]
    parts = [re.fullmatch(r"(\d+)[\s:,]+(\S.*)", line) for line in lines]
    if all(part and int(part[1]) == number for number, part in enumerate(parts)):
        return [part[2] for part in parts if part]
    return lines


def _listed(said: object) -> list[str]:
    values = [said.get(key) for key in _KEYS] if isinstance(said, dict) else [said]
    for value in values:
        if isinstance(value, dict) and value:
            swapped = {str(number): str(title) for title, number in value.items() if isinstance(number, int)}
            named = numbered(swapped if len(swapped) == len(value) else {str(k): str(v) for k, v in value.items()})
            value = list(named or ())
        if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
            return value
    return []


def _checked(names: Sequence[str], file: Path, name: str) -> tuple[str, ...]:
    if not all(names):
        raise DataError(f"{name}: {file}: line {names.index('') + 1} is empty: give each class a name")
    return tuple(names)
