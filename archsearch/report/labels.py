"""Where names stand in a picture: beside their marks, on no mark and on no other name, as far as there is room."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

_ROWS = 16


class Box(NamedTuple):
    """A rectangle: left, bottom, right, top."""

    left: float
    bottom: float
    right: float
    top: float

    def covers(self, other: Box) -> float:
        """The area that both share."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(0.0, wide) * max(0.0, high)


class Name(NamedTuple):
    """A name of a size, for the mark at `x`, `y`."""

    x: float
    y: float
    wide: float
    high: float


def place(names: Sequence[Name], marks: Sequence[Box], inside: Box, gap: float) -> list[Box]:
    """A box for each name: the nearest that is free, else the one that covers least.

    Args:
        names: in the picture's units, upwards.
        marks: what no name may lie on.
        inside: where names may stand.
        gap: from the middle of a mark to its name.
    """
    placed: list[Box] = []
    for name in names:
        taken = [*marks, *placed]
        choices = [box for box in _around(name, gap) if _contains(inside, box)] or [next(_around(name, gap))]
        placed.append(min(choices, key=lambda box: sum(box.covers(other) for other in taken)))
    return placed


def _around(name: Name, gap: float) -> Iterator[Box]:
    """To the right and to the left, then higher and lower."""
    for step in range(_ROWS):
        for up in (step, -step) if step else (0,):
            middle = name.y + up * name.high / 2
            for left in (name.x + gap, name.x - gap - name.wide):
                yield Box(left, middle - name.high / 2, left + name.wide, middle + name.high / 2)


def _contains(outer: Box, box: Box) -> bool:
    return outer.left <= box.left and box.right <= outer.right and outer.bottom <= box.bottom and box.top <= outer.top
