"""What is in a dataset, and what in it a user should look at before anything is trained."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from archsearch.data.dataset import Dataset, Split, counts_of
from archsearch.data.listing import Encoded, Listing
from archsearch.data.picture import Broken, about
from archsearch.data.splits import Labels
from archsearch.data.store.decoding import Mask, each
from archsearch.data.store.neighbours import doubtful
from archsearch.data.store.progress import SILENT, Watch

_SHOWN = 5
_FILES = "files"
Where = Callable[[str, int], str]
"""Names the picture of a part by its number."""
Range = tuple[int, float, int]
"""Smallest, median and largest."""


@dataclass(frozen=True)
class Copies:
    """Images that are there more than once.

    between: of test and validation images, those that are train images too, by part. twice: train images that are
    there before. labels: images that are there under another label. examples: places of some, in pairs.
    """

    between: Mapping[str, int]
    twice: int
    labels: int
    examples: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Files:
    """What picture files say of themselves. kinds: number of each format and mode, such as JPEG RGB."""

    width: Range
    height: Range
    kinds: Mapping[str, int]
    copies: Copies


@dataclass(frozen=True)
class Doubt:
    """An image whose label its neighbours contradict: where it lies, its class, and theirs."""

    where: str
    label: str
    neighbours: str


@dataclass(frozen=True)
class Survey:
    """A dataset as it lies there.

    counts: images that can be read, by part and class; images: by part. files: None where pictures are no files.
    pixels: copies by the pixels at the network's size. blank: images of one colour. doubts: labels to look at, None
    where `doubtful` has none to tell. several: an image may have several labels.
    """

    name: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    counts: Mapping[str, Sequence[int]]
    fingerprint: str
    files: Files | None
    pixels: Copies
    blank: Sequence[str]
    doubts: Sequence[Doubt] | None
    images: Mapping[str, int]
    several: bool
    notes: Sequence[str] = field(default=())


def survey(dataset: Dataset, listing: Listing | None, watch: Watch = SILENT) -> Survey:
    """Look at every image of a dataset, those of the test split too; listing: its picture files, if it has some.

    DataError where the test split cannot be read.
    """
    parts = dict(_parts(dataset))
    places = _Places(dataset, listing)
    labels = {part: one[1].numpy() for part, one in parts.items()}
    found = {part: _pixel_sums(part, one, watch) for part, one in parts.items()}
    return Survey(
        dataset.name,
        dataset.input_shape,
        dataset.classes,
        {part: counts_of(split[1], len(dataset.classes)).tolist() for part, split in parts.items()},
        dataset.fingerprint,
        _files(listing, watch) if listing else None,
        _copies({part: sums for part, (sums, _) in found.items()}, labels, places.of),
        [places.of(part, int(n)) for part, (_, blank) in found.items() for n in np.flatnonzero(blank)],
        None if dataset.several else _doubts(dataset, places),
        {part: len(some) for part, some in labels.items()},
        dataset.several,
        dataset.notes,
    )


def _parts(dataset: Dataset) -> Iterator[tuple[str, Split]]:
    yield "train", (dataset.images, dataset.labels)
    if dataset.validation is not None:
        yield "val", dataset.validation
    yield "test", dataset.test()


class _Places:
    """How an image of a part is named, by its position among those that could be read."""

    def __init__(self, dataset: Dataset, listing: Listing | None) -> None:
        self.dataset, self.listing = dataset, listing

    def of(self, part: str, number: int) -> str:
        """A file, or `train image 7`."""
        whole = self.listing.parts[part] if self.listing else None
        if whole is None or len(whole) != self._count(part):
            return f"{part} image {number}"
        return whole.where(number)

    def _count(self, part: str) -> int:
        if part == "train":
            return len(self.dataset.labels)
        if part == "val" and self.dataset.validation is not None:
            return len(self.dataset.validation[1])
        return self.dataset.test_count


def _doubts(dataset: Dataset, places: _Places) -> list[Doubt] | None:
    found = doubtful(dataset.images, dataset.labels)
    if found is None:
        return None
    names = dataset.classes
    return [Doubt(places.of("train", n), names[int(dataset.labels[n])], names[other]) for n, other in found]


def _pixel_sums(part: str, split: Split, watch: Watch) -> tuple[NDArray[np.uint64], Mask]:
    """A sum of each image's pixels, and whether all of them are alike."""
    images = split[0]
    sums, blank, done = np.empty(len(images), np.uint64), np.empty(len(images), np.bool_), 0
    for chunk in images.chunks():
        rows = chunk.permute(0, 2, 3, 1).flatten(1, 2)
        blank[done : done + len(rows)] = (rows.amax(1) == rows.amin(1)).all(1).numpy()
        for row in rows.numpy():
            sums[done] = _sum(row.data)
            done += 1
        watch.step(f"{part} images", done, len(images))
    return sums, blank


def _sum(data: bytes | memoryview) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def _files(listing: Listing, watch: Watch) -> Files | None:
    """Read every file, decode none."""
    sides: list[tuple[int, int]] = []
    kinds: Counter[str] = Counter()
    sums: dict[str, NDArray[np.uint64]] = {}
    total, done = sum(map(len, listing.parts.values())), 0
    for part, pictures in listing.parts.items():
        sums[part] = np.zeros(len(pictures), np.uint64)
        for number, found in each(pictures, _examine):
            done += 1
            watch.step(_FILES, done, total)
            if isinstance(found, Broken):
                kinds["unreadable"] += 1
                sums[part][number] = _sum(f"{part} {number}".encode())  # a copy of nothing
                continue
            size, kind, sums[part][number] = found
            kinds[kind] += 1
            sides.append(size)
    labels = {part: pictures.labels for part, pictures in listing.parts.items()}
    copies = _copies(sums, labels, lambda part, number: listing.parts[part].where(number))
    if not sides:
        return None
    width, height = (_range(some) for some in np.array(sides).T)
    return Files(width, height, dict(kinds.most_common()), copies)


def _examine(picture: Encoded) -> tuple[tuple[int, int], str, int] | Broken:
    try:
        content = picture if isinstance(picture, bytes) else Path(picture).read_bytes()
    except OSError as error:
        return Broken(error.strerror or str(error))
    found = about(content)
    return found if isinstance(found, Broken) else (found[:2], f"{found[2]} {found[3]}", _sum(content))


def _range(values: NDArray[np.int64]) -> Range:
    return int(values.min()), float(np.median(values)), int(values.max())


def _copies(sums: Mapping[str, NDArray[np.uint64]], labels: Mapping[str, Labels], where: Where) -> Copies:
    """Equal sums within the train images, and between them and those of the other parts."""
    parts = [*sums]
    every, classes = np.concatenate([*sums.values()]), _codes(np.concatenate([labels[part] for part in parts]))
    part = np.repeat(np.arange(len(parts)), [len(sums[name]) for name in parts])
    number = np.concatenate([np.arange(len(sums[name])) for name in parts])
    order = np.argsort(every, kind="stable")  # train first among equals
    begins = np.concatenate([[True], every[order][1:] != every[order][:-1]])
    first = order[np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))]
    again = ~begins
    of_train = part[first] == 0
    other = again & (classes[order] != classes[first])
    crossing = again & of_train & (part[order] > 0)
    shown = np.flatnonzero(other | crossing)[:_SHOWN]

    def named(n: int) -> str:
        return where(parts[part[n]], int(number[n]))

    return Copies(
        {name: int((crossing & (part[order] == n)).sum()) for n, name in enumerate(parts) if n},
        int((again & (part[order] == 0)).sum()),
        int(other.sum()),
        [(named(first[i]), named(order[i])) for i in shown],
    )


def _codes(labels: Labels) -> NDArray[np.int64]:
    """(N,): a number per image, the same for the same labels."""
    if labels.ndim == 1:
        return labels.astype(np.int64)
    return np.unique(labels, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)
