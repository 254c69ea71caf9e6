"""From a listing of pictures to a dataset: headers first, then pixels at the network's size, those of the test later.

Every format of encoded pictures is read here, so all of them treat grey, 16 bits and broken pictures alike.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from archsearch.data.dataset import Dataset, Split, images_from
from archsearch.data.listing import Encoded, Listing, Pictures
from archsearch.data.picture import Broken, Levels, decode, extremes, header
from archsearch.errors import DataError

_SHOWN = 10
_FULL = (0, 65535)
_NEARLY_BLACK = 16
_BLOCK = 16  # pictures that a thread takes at a time
_AHEAD = 4  # blocks a thread that wait to be read, or to be taken

_T = TypeVar("_T")
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class _Heads:
    """What the headers of a part's pictures say: bool (N,) each; and what could not be read, by number."""

    grey: Mask
    deep: Mask
    deep_colour: Mask
    broken: Mapping[int, Broken]

    @property
    def read(self) -> Mask:
        """bool (N,): whether a header could be read."""
        found = np.ones(len(self.grey), np.bool_)
        found[list(self.broken)] = False
        return found


@dataclass(frozen=True)
class _Pixels:
    """Decoded pictures: uint8 (M, H, W, C) of those that could be read; bool (N,) which; the others by number."""

    levels: NDArray[np.uint8]
    read: Mask
    broken: Mapping[int, Broken]


@dataclass(frozen=True)
class _Reader:
    """How all pictures of a listing are read. Picklable."""

    name: str
    root: Path
    size: int
    grey: bool
    levels: Levels | None
    skip_broken: bool

    def pixels(self, pictures: Pictures, chosen: Mask) -> _Pixels:
        """The chosen pictures, decoded."""
        pixels = np.empty((int(chosen.sum()), self.size, self.size, 1 if self.grey else 3), np.uint8)
        read, broken, count = np.zeros(len(pictures), np.bool_), {}, 0
        for number, found in each(pictures, self._decode, chosen):
            if isinstance(found, Broken):
                broken[number] = found
                continue
            pixels[count] = found.reshape(pixels.shape[1:])
            read[number] = True
            count += 1
        return _Pixels(pixels[:count], read, broken)

    def _decode(self, picture: Encoded) -> NDArray[np.uint8] | Broken:
        return decode(self.size, self.grey, self.levels, picture)

    def test(self, pictures: Pictures, chosen: Mask) -> Split:
        """The test split, read now."""
        found = self.pixels(pictures, chosen)
        self.judge(found.broken.values())
        return _split(found, pictures, self.name)

    def verify(self, pictures: Pictures, chosen: Mask) -> int:
        """How many of its pictures can be read; none is kept."""
        broken = [found for _, found in each(pictures, self._decode, chosen) if isinstance(found, Broken)]
        self.judge(broken)
        return int(chosen.sum()) - len(broken)

    def judge(self, broken: Iterable[Broken]) -> None:
        """Refuse unreadable pictures unless they are to be left out."""
        if (found := list(broken)) and not self.skip_broken:
            raise _refusal(self.name, self.root, found)


def load_pictures(listing: Listing, size: int, *, skip_broken: bool = False, cache: Path | None = None) -> Dataset:
    """The pictures of a listing, in RGB, or grey if every train picture is, at size x size pixels.

    The short side is scaled to `size`, then the centre is cut out. 16-bit grey pictures are scaled by the range of
    the train pictures. Of test pictures only the headers are read here.
    skip_broken: leave unreadable pictures out. cache: the folder of decoded stores; None: nothing is written.
    DataError for unreadable pictures, naming all, and for pixels that do not fit together.
    """
    name, parts = listing.name, listing.parts
    heads = {part: look(pictures) for part, pictures in parts.items()}
    _check_depth(parts, heads, name)
    train = heads["train"]
    grey = bool(train.grey[train.read].all())
    levels = _levels(parts["train"], train)
    reader = _Reader(name, listing.root, size, grey, levels, skip_broken)
    found = {part: reader.pixels(parts[part], np.ones(len(parts[part]), np.bool_))
             for part in ("train", "val") if part in parts}  # fmt: skip
    broken = [*(one for part in found.values() for one in part.broken.values()), *heads["test"].broken.values()]
    reader.judge(broken)
    images, labels = _split(found["train"], parts["train"], name)
    _check_classes(listing, labels)
    _check_colours(parts["train"], train, found["train"].levels, name)
    count = sum(map(len, parts.values()))
    tested = heads["test"].read
    return Dataset(
        name,
        listing.classes,
        images,
        labels,
        _split(found["val"], parts["val"], name) if "val" in parts else None,
        not grey,
        partial(reader.test, parts["test"], tested),
        range=levels,
        listed=(torch.from_numpy(parts["train"].labels), torch.from_numpy(found["train"].read)) if broken else None,
        notes=(*listing.notes, *_read_notes(listing.root, heads, levels, broken, count)),
        test_count=int(tested.sum()),
        verify_test=partial(reader.verify, parts["test"], tested),
    )


def look(pictures: Pictures) -> _Heads:
    """The headers of pictures, pixels unread."""
    flags, broken = np.zeros((len(pictures), 3), np.bool_), {}
    for number, found in each(pictures, header):
        if isinstance(found, Broken):
            broken[number] = found
        else:
            flags[number] = found.grey, found.deep, found.deep_colour
    return _Heads(flags[:, 0], flags[:, 1], flags[:, 2], broken)


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


def _levels(train: Pictures, heads: _Heads) -> Levels | None:
    """The values that the 16-bit train pictures use; None where there are none."""
    ranges = [found for _, found in each(train, extremes, heads.deep) if not isinstance(found, Broken)]
    if not ranges:
        return None
    low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
    return (low, high) if low < high else _FULL


def _check_depth(parts: Mapping[str, Pictures], heads: Mapping[str, _Heads], name: str) -> None:
    """Refuse 16-bit pictures whose range no train picture tells."""
    if heads["train"].deep.any():
        return
    for part, found in heads.items():
        if found.deep.any():
            where = parts[part].where(int(found.deep.argmax()))
            raise DataError(
                f"{name}: {where} has 16-bit pixels, the train pictures have 8-bit ones: save all of them alike"
            )


def _check_classes(listing: Listing, labels: torch.Tensor) -> None:
    for label in sorted(set(range(len(listing.classes))) - set(labels.tolist())):
        raise DataError(f"{listing.name}: no train picture of class {listing.classes[label]} can be read: replace some")


def _check_colours(train: Pictures, heads: _Heads, pixels: NDArray[np.uint8], name: str) -> None:
    """Refuse 16-bit colour pictures whose upper bytes, all that Pillow reads of them, are nearly black."""
    if not heads.deep_colour.any() or (heads.read & ~heads.deep_colour).any():
        return
    brightest = int(pixels.max())
    if brightest < _NEARLY_BLACK:
        raise DataError(
            f"{name}: the colour pictures have 16 bits and use the lowest {256 * (brightest + 1):,} values, "
            "which would be black: save them with 8 bits a channel, "
            f"such as {train.where(int(heads.deep_colour.argmax()))}"
        )


def _read_notes(
    root: Path, heads: Mapping[str, _Heads], levels: Levels | None, broken: Sequence[Broken], count: int
) -> Iterator[str]:
    if levels:
        deep = sum(int(head.deep.sum()) for head in heads.values())
        yield f"16-bit grey: of {deep:,} pictures the values {levels[0]:,} to {levels[1]:,} become 0 to 255"
    if colours := sum(int(head.deep_colour.sum()) for head in heads.values()):
        yield f"16-bit colour: of {colours:,} pictures the upper 8 bits a channel are read"
    if broken:
        yield f"left out by --skip-broken: {len(broken):,} of {count:,} pictures: {_listed(root, broken)}"


def _refusal(name: str, root: Path, broken: Sequence[Broken]) -> DataError:
    way = "replace or remove {}, or leave {} out: --skip-broken"
    first = broken[0]
    if len(broken) == 1:
        return DataError(f"{name}: {first.where} is no readable picture ({first.reason}): {way.format('it', 'it')}")
    return DataError(
        f"{name}: {len(broken):,} files in {root} are no readable pictures: {_listed(root, broken)} "
        f"(the first: {first.reason}): {way.format('them', 'them')}"
    )


def _listed(root: Path, broken: Sequence[Broken]) -> str:
    shown = [one.where.removeprefix(f"{root}{os.sep}") for one in broken[:_SHOWN]]
    more = len(broken) - len(shown)
    return ", ".join([*shown, f"and {more:,} more"] if more else shown)


def _split(found: _Pixels, pictures: Pictures, name: str) -> Split:
    """Images and labels that could be read."""
    if not found.read.any():
        raise DataError(f"{name}: none of the {len(pictures):,} pictures of a split can be read: replace them")
    return images_from(found.levels), torch.from_numpy(pictures.labels[found.read])
