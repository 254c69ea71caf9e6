"""Description files: read and parsed within bounds, so that no file costs more than a moment or says it unclearly."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Any

from archsearch.errors import SpecError

MAX_BYTES = 200_000
MAX_DOTS, MAX_DEPTH, MAX_ENTRIES, MAX_VALUES = 50, 10, 1000, 10_000
_TOO_LARGE = f"the file: larger than {MAX_BYTES // 1000} kB, no architecture or space file"
WHOLE = 2**63
"""TOML knows 64 bits; the parser takes whatever it gets."""


def read_text(path: Path) -> str:
    """A description file's text. Raises SpecError with the path: missing, no plain file, not UTF-8, over 200 kB."""
    try:
        if path.exists() and not path.is_file():
            raise SpecError("cannot be read: no plain file", str(path))
        if path.stat().st_size > MAX_BYTES:
            raise SpecError(_TOO_LARGE, str(path))
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise SpecError("cannot be read: not UTF-8 text", str(path)) from None
    except OSError as error:
        raise SpecError(f"cannot be read: {error.strerror}", str(path)) from None


def parse_toml(text: str, where: str) -> dict[str, Any]:
    """TOML to plain values. Raises SpecError naming the line, or the key of a value out of bounds."""
    if len(text) > MAX_BYTES:
        raise SpecError(_TOO_LARGE, where)
    for number, line in enumerate(text.splitlines(), 1):
        # A dotted key takes the parser the square of its length.
        if line.count(".") > MAX_DOTS:
            raise SpecError(f"no valid TOML: nested too deep: line {number} has more than {MAX_DOTS} dots", where)
    try:
        data = tomllib.loads(text)
    except RecursionError:
        raise SpecError("no valid TOML: nested too deep", where) from None
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"no valid TOML: {error}", where) from None
    except ValueError:  # Python's own limit on the digits of a number
        raise SpecError("no valid TOML: a whole number beyond 64 bits", where) from None
    problems = _Bounds().problems_of(data)
    if problems:
        raise SpecError(problems, where)
    return data


class _Bounds:
    """Walks plain values and notes what no description needs."""

    def __init__(self) -> None:
        self.seen = 0
        self.problems: list[str] = []

    def problems_of(self, data: dict[str, Any]) -> list[str]:
        self.walk("", data, 0)
        return self.problems

    def walk(self, key: str, value: object, depth: int) -> None:
        self.seen += 1
        if self.seen > MAX_VALUES:
            self.problems = self.problems or [f"the file: more than {MAX_VALUES:,} values"]
        elif isinstance(value, dict | list):
            self.inside(key, value, depth)
        elif isinstance(value, int) and not -WHOLE <= value < WHOLE:
            self.problems.append(f"{key}: a whole number beyond 64 bits")
        elif isinstance(value, float) and not math.isfinite(value):
            self.problems.append(f"{key} = {value}: no finite number")

    def inside(self, key: str, value: dict[str, Any] | list[Any], depth: int) -> None:
        if len(value) > MAX_ENTRIES:
            self.problems.append(f"{key or 'the file'}: {len(value):,} entries, at most {MAX_ENTRIES:,}")
        elif depth == MAX_DEPTH:
            self.problems.append(f"{key}: nested too deep")
        elif isinstance(value, dict):
            for name, part in value.items():
                self.walk(f"{key}.{name}" if key else name, part, depth + 1)
        else:
            for i, part in enumerate(value, 1):
                self.walk(f"{key}{i}", part, depth + 1)
