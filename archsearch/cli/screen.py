"""What fits on the terminal: in tables words give way, figures and names never; sentences break between words."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence

import click

_INDENT = "  "
_LEAST = 12
"""Words with less room than this are left out of a table."""


def terminal_width() -> int | None:
    """Columns of the terminal on stdout; None where it is none, or one of unknown width."""
    return (shutil.get_terminal_size((0, 0)).columns or None) if sys.stdout.isatty() else None


def columns(
    rows: Sequence[tuple[str, ...]], left: Sequence[int], width: int | None = None, cut: bool = False
) -> list[str]:
    """Rows as aligned columns: those in `left` to the left, figures to the right.

    Columns that do not fit into `width` go onto lines of their own below; None: that of the terminal, if there is one.
    With `cut` the last column is shortened first, and left out where little of it would remain.
    """
    width = width or terminal_width()
    if not rows or not width or fits(rows, width):
        return _aligned(rows, left)
    if cut:
        rows = _cut(rows, width)
    groups = _groups([max(len(row[i]) for row in rows) for i in range(len(rows[0]))], width)
    parts = [_aligned([tuple(row[i] for i in group) for row in rows], _within(left, group)) for group in groups]
    return [line for lines in zip(*parts, strict=True) for line in _stacked(lines, width)]


def _aligned(rows: Sequence[tuple[str, ...]], left: Sequence[int]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))] if rows else []

    def cell(i: int, text: str) -> str:
        return text.ljust(widths[i]) if i in left else text.rjust(widths[i])

    return ["  ".join(cell(i, text) for i, text in enumerate(row)).rstrip() for row in rows]


def fits(rows: Sequence[tuple[str, ...]], width: int | None = None) -> bool:
    """Whether every row stands on one line; `width` as in `columns`."""
    width = width or terminal_width()
    return not width or _wide(rows) <= width


def _wide(rows: Sequence[tuple[str, ...]]) -> int:
    """Characters of a line."""
    return sum(2 + max(len(row[i]) for row in rows) for i in range(len(rows[0]))) - 2


def _cut(rows: Sequence[tuple[str, ...]], width: int) -> list[tuple[str, ...]]:
    """Rows whose last column takes no more than what the others leave; without it where that is too little."""
    others = [row[:-1] for row in rows]
    room = width - _wide(others) - 2
    if room < _LEAST:
        return others
    return [(*row[:-1], shortened(row[-1], room)) for row in rows]


def shortened(text: str, width: int) -> str:
    """A text of at most so many characters; what is left out is marked."""
    if len(text) <= width:
        return text
    whole, space, _ = text[: width - 1].rpartition(" ")
    return f"{(whole if space else text[: width - 2]).rstrip(' |')} …"


def _groups(widths: Sequence[int], width: int) -> list[list[int]]:
    """Which columns stand on the first line of a row, on the second, ..."""
    groups: list[list[int]] = [[]]
    used = 0
    for i, wide in enumerate(widths):
        if groups[-1] and used + 2 + wide > width:
            groups.append([])
            used = 0
        used += 2 + wide if groups[-1] or len(groups) > 1 else wide
        groups[-1].append(i)
    return groups


def _within(left: Sequence[int], group: Sequence[int]) -> list[int]:
    return [at for at, i in enumerate(group) if i in left]


def _stacked(lines: Sequence[str], width: int) -> list[str]:
    """The lines of one row: what does not fit beside stands below, indented; nothing where that is empty."""
    below = [line for text in lines[1:] if text.strip() for line in _broken(text, width, _INDENT, _INDENT)]
    return [*_broken(lines[0], width, "", _INDENT), *below]


def _broken(text: str, width: int, first: str, then: str) -> list[str]:
    if len(first) + len(text) <= width:  # an empty line too
        return [first + text]
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=then, break_long_words=False, break_on_hyphens=False
    )


def wrapped(lines: Sequence[str], width: int | None = None) -> list[str]:
    """Lines broken between words, ids and paths whole; `width` as in `columns`."""
    width = width or terminal_width()
    return [part for line in lines for part in _broken(line, width, "", _INDENT)] if width else list(lines)


def say(*lines: str) -> None:
    """Print lines as `wrapped` breaks them."""
    for line in wrapped(lines):
        click.echo(line)
