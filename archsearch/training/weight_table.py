"""A file of weights, one per class, for the loss of a recipe."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path

from archsearch.errors import DataError
from archsearch.network.blocks.registry import unknown

HEADER = ["class", "weight"]
_SHOWN = 5


def read_class_weights(path: Path, classes: Sequence[str]) -> str:
    """A recipe's `class_weights` from a table in UTF-8: the line `class,weight`, then every class once, in any order.

    Weights are numbers from 0 on, to six digits. Raises DataError, one line that names file, line and rule.
    """
    rows = _rows(path)
    if not rows or [word.strip().lower() for word in rows[0][1]] != HEADER:
        raise DataError(f"{path}: its first line must be class,weight: write it above the weights")
    found: dict[str, float] = {}
    for number, words in rows[1:]:
        where = f"{path}, line {number}"
        if len(words) != len(HEADER):
            raise DataError(f"{where}: has {len(words)} columns: write class,weight, with quotes around a comma")
        name = words[0] if words[0] in classes else words[0].strip()
        if name not in classes:
            raise DataError(f"{where}: no class {unknown(name, classes)}")
        if name in found:
            raise DataError(f"{where}: class {name!r} a second time: keep one line per class")
        found[name] = _weight(words[1], where)
    missing = [name for name in classes if name not in found]
    if missing:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        shown = ", ".join(map(repr, missing[:_SHOWN])) + more
        raise DataError(f"{path}: no weight for class {shown}: add a line for each")
    if not max(found.values()):
        raise DataError(f"{path}: all weights are 0: give one class a weight above 0")
    return ",".join(f"{found[name]:.6g}" for name in classes)


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """Lines that are not empty, with their numbers."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path}: not UTF-8 text: save it as CSV in UTF-8") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        return [(reader.line_num, words) for words in reader if words]
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}: write class,weight") from None


def _weight(text: str, where: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not 0 <= weight < math.inf:
        raise DataError(f"{where}: weight {text.strip()!r}: must be a number from 0 on")
    return weight
