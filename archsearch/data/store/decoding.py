"""Many pictures at once: their headers, and their pixels into memory or into files. In order, by all cores."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from archsearch.data.dataset import images_from
from archsearch.data.listing import Encoded, Pictures
from archsearch.data.picture import Broken, header
from archsearch.data.pixels import Pixels

_BLOCK = 16  # pictures that a thread takes at a time
_AHEAD = 4  # blocks a thread that wait to be read, or to be taken

_T = TypeVar("_T")
Mask = NDArray[np.bool_]
Shape = tuple[int, int, int]
"""(height, width, channels)."""


@dataclass(frozen=True)
class Heads:
    """What the headers of a part's pictures say: bool (N,) each; and what could not be read, by number."""

    grey: Mask
    deep: Mask
    deep_colour: Mask
    broken: Mapping[int, Broken]

    @property
    def read(self) -> Mask:
        """bool (N,): whether a header could be read."""
        return without(len(self.grey), self.broken)


def without(count: int, broken: Iterable[int]) -> Mask:
    """bool (count,): all but the numbers that are broken."""
    found = np.ones(count, np.bool_)
    found[list(broken)] = False
    return found


class Sink(Protocol):
    """Where decoded pictures go, one part of a dataset behind the other."""

    def reserve(self, size: int) -> None:
        """So many bytes will come, at most. OSError where they find no room."""
        ...

    def begin(self, part: str, count: int, shape: Shape) -> None:
        """At most `count` pictures of a part come from now on."""
        ...

    def add(self, picture: NDArray[np.uint8]) -> None:
        """The next picture, uint8 (H, W) or (H, W, C)."""
        ...


class Memory:
    """A `Sink` that holds each part in one array."""

    def __init__(self) -> None:
        self._arrays: dict[str, tuple[NDArray[np.uint8], int]] = {}
        self._part = ""

    def reserve(self, size: int) -> None:
        """Nothing: pages are taken as they are filled."""

    def begin(self, part: str, count: int, shape: Shape) -> None:
        """Room for a part."""
        self._part = part
        self._arrays[part] = np.empty((count, *shape), np.uint8), 0

    def add(self, picture: NDArray[np.uint8]) -> None:
        """Copy a picture."""
        array, count = self._arrays[self._part]
        array[count] = picture.reshape(array.shape[1:])
        self._arrays[self._part] = array, count + 1

    def images(self) -> dict[str, Pixels]:
        """The pictures of each part."""
        return {part: images_from(array[:count]) for part, (array, count) in self._arrays.items()}


def look(pictures: Pictures, tell: Callable[[int], None]) -> Heads:
    """The headers of pictures, pixels unread."""
    flags, broken = np.zeros((len(pictures), 3), np.bool_), {}
    for number, found in each(pictures, header):
        if isinstance(found, Broken):
            broken[number] = found
        else:
            flags[number] = found.grey, found.deep, found.deep_colour
        tell(number + 1)
    return Heads(flags[:, 0], flags[:, 1], flags[:, 2], broken)


def each(
    pictures: Pictures, function: Callable[[Encoded], _T | Broken], chosen: Mask | None = None
) -> Iterator[tuple[int, _T | Broken]]:
    """The numbers of pictures, or of those chosen, each with what the function makes of it; in order.

    By threads, as Pillow decodes outside the interpreter's lock; a few blocks ahead, so memory is bounded.
    """
    wanted = np.arange(len(pictures)) if chosen is None else np.flatnonzero(chosen)
    pool = ThreadPoolExecutor()
    waiting: deque[Future[list[tuple[int, _T | Broken]]]] = deque()
    try:
        for numbers in _blocks(wanted):
            read = pictures.read(numbers[0], numbers[-1] + 1)
            waiting.append(pool.submit(_apply, function, [(n, read[n - numbers[0]]) for n in numbers]))
            while len(waiting) > _AHEAD * (os.cpu_count() or 1):
                yield from _named(pictures, waiting.popleft().result())
        while waiting:
            yield from _named(pictures, waiting.popleft().result())
    finally:
        pool.shutdown(cancel_futures=True)


def _blocks(wanted: NDArray[np.int64]) -> Iterator[list[int]]:
    """Numbers that are close together, at most `_BLOCK` apart."""
    first = 0
    while first < len(wanted):
        last = int(np.searchsorted(wanted, wanted[first] + _BLOCK))
        yield wanted[first:last].tolist()
        first = last


def _apply(
    function: Callable[[Encoded], _T | Broken], pictures: Sequence[tuple[int, Encoded]]
) -> list[tuple[int, _T | Broken]]:
    return [(number, function(picture)) for number, picture in pictures]


def _named(pictures: Pictures, found: Iterable[tuple[int, _T | Broken]]) -> Iterator[tuple[int, _T | Broken]]:
    for number, one in found:
        yield number, replace(one, where=pictures.where(number)) if isinstance(one, Broken) else one
