"""Numbers as people write them: "5e6", "6MB", "6MiB", "90s", "5ms". MB is 10^6 bytes, MiB is 2^20."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from archsearch.errors import InputError

COUNT, BYTES, MILLISECONDS = "count", "bytes", "milliseconds"
"""What a quantity is in."""
_COUNT = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9}
_BYTES = {
    "": 1, "b": 1,
    "kb": 10**3, "mb": 10**6, "gb": 10**9,
    "kib": 2**10, "mib": 2**20, "gib": 2**30,
}  # fmt: skip
_SECONDS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600}
_MILLISECONDS = {"": 1, "us": 1e-3, "ms": 1, "s": 1000}
_QUANTITY = re.compile(r"\s*([0-9][0-9_]*\.?[0-9_]*(?:e[+-]?[0-9]+)?|\.[0-9]+(?:e[+-]?[0-9]+)?)\s*([a-z]*)\s*", re.I)


def _quantity(text: str, units: Mapping[str, float], what: str, examples: str) -> float:
    match = _QUANTITY.fullmatch(text)
    unit = match.group(2).lower() if match else ""
    if not match or unit not in units:
        raise InputError(f"{text!r} is no {what}: write a positive number such as {examples}")
    value = float(match.group(1).replace("_", "")) * units[unit]
    if not 0 < value < math.inf:
        raise InputError(f"{text!r} is no {what}: it must be above zero and finite, such as {examples}")
    return value


def parse_count(text: str) -> float:
    """A number of things: "5e6", "5M", "78043", "100k".

    Raises:
        InputError: no number, an unknown suffix, not above zero, or not finite.
    """
    return _quantity(text, _COUNT, "count", "5e6, 5M or 78043")


def parse_bytes(text: str) -> float:
    """A number of bytes: "6MB" (10^6), "6MiB" (2^20), "500kB", or plain bytes.

    Raises:
        InputError: no number, an unknown unit, not above zero, or not finite.
    """
    return _quantity(text, _BYTES, "size", "6MB (10^6 bytes), 6MiB (2^20) or 500kB")


def parse_seconds(text: str) -> float:
    """A duration in seconds: "90s", "20m", "1.5h", or plain seconds.

    Raises:
        InputError: no number, an unknown unit, not above zero, or not finite.
    """
    return _quantity(text, _SECONDS, "duration", "90s, 20m or 1.5h")


def parse_milliseconds(text: str) -> float:
    """A duration in milliseconds: "5ms", "800us", "0.1s", or plain milliseconds.

    Raises:
        InputError: no number, an unknown unit, not above zero, or not finite.
    """
    return _quantity(text, _MILLISECONDS, "duration", "5ms, 800us or 0.1s")


def format_count(value: float) -> str:
    """A whole number with thousands separated: 4,903,242."""
    return f"{value:,.0f}"


def counted(number: float, noun: str, several: str = "") -> str:
    """A number of things in words: 1 epoch, 2 epochs, 1,200 classes; `several` where it is not noun and -s or -es."""
    plural = several or noun + ("es" if noun.endswith("s") else "s")
    return f"{format_count(number)} {noun if number == 1 else plural}"


def format_short(value: float) -> str:
    """Three significant digits and a suffix: 4.9M, 78k, 512."""
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit * 0.9995:
            return f"{value / limit:.3g}{suffix}"
    return f"{value:.0f}"


def format_bytes(value: float) -> str:
    """Bytes in the largest decimal unit that fits: 6 MB, 312 kB."""
    for limit, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if abs(value) >= limit:
            return f"{value / limit:.4g} {unit}"
    return f"{value:.0f} B"


def format_ms(value: float) -> str:
    """Milliseconds with three significant digits: 5 ms, 0.314 ms, 1,240 ms."""
    return f"{value:,.0f} ms" if value >= 100 else f"{value:.3g} ms"


def format_seconds(value: float) -> str:
    """A duration for people: 42 s, 3 min 05 s, 2 h 10 min."""
    seconds = round(value)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
