"""How the pictures of a listing are read: colours and levels by the headers, then pixels; those of the test later."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from archsearch._utils.units import format_bytes
from archsearch.data.dataset import Split
from archsearch.data.listing import Encoded, Listing, Pictures
from archsearch.data.loader.room import available_memory
from archsearch.data.picture import Broken, Levels, decode, extremes
from archsearch.data.pixels import Pixels
from archsearch.data.store.decoding import Heads, Mask, Memory, Sink, each, look, without
from archsearch.data.store.files import Shards
from archsearch.data.store.making import Place, Unwritable, kept, make
from archsearch.data.store.progress import Watch
from archsearch.errors import DataError

_SHOWN = 10
_FULL = (0, 65535)
_HEADERS, _PIXELS = "headers", "pictures"
_KEPT_FREE = 0.9  # of free memory may be taken by pictures

Numbered = tuple[int, str, str]
"""A picture that cannot be read: its number in the part, why, and where it lies."""


@dataclass(frozen=True)
class Reader:
    """How all pictures of a listing are read. Picklable.

    place: of the store of the train pictures; None: decoded pictures are kept in memory alone.
    colour: grey or rgb, where that is asked for.
    """

    name: str
    root: Path
    size: int
    skip_broken: bool
    place: Place | None
    watch: Watch
    colour: str | None = None
    grey: bool = False
    levels: Levels | None = None

    def decode(self, picture: Encoded) -> NDArray[np.uint8] | Broken:
        """A picture's pixels."""
        return decode(self.size, self.grey, self.levels, picture)

    def fill(self, sink: Sink, parts: Mapping[str, Pictures], chosen: Mapping[str, Mask]) -> dict[str, list[Numbered]]:
        """Decode the chosen pictures of each part; those that cannot be read."""
        channels, total = 1 if self.grey else 3, sum(int(mask.sum()) for mask in chosen.values())
        sink.reserve(total * self.size**2 * channels)
        broken: dict[str, list[Numbered]] = {part: [] for part in parts}
        done = 0
        for part, pictures in parts.items():
            sink.begin(part, int(chosen[part].sum()), (self.size, self.size, channels))
            for number, found in each(pictures, self.decode, chosen[part]):
                if isinstance(found, Broken):
                    broken[part].append((number, found.reason, found.where))
                else:
                    sink.add(found)
                done += 1
                self.watch.step(_PIXELS, done, total)
        return broken

    def judge(self, broken: Sequence[Numbered]) -> None:
        """Refuse unreadable pictures unless they are to be left out."""
        if broken and not self.skip_broken:
            raise _refusal(self.name, self.root, broken)


@dataclass(frozen=True)
class Facts:
    """What is known once all train and validation pictures were decoded, and the headers of the test's were read.

    deep, deep_colour: number of 16-bit pictures, grey and of colours. colours: the first train picture where all have
    16-bit colours. broken: by part. histograms, digest: as `Dataset` has them.
    """

    grey: bool
    levels: Levels | None
    deep: int
    deep_colour: int
    colours: int | None
    broken: Mapping[str, Sequence[Numbered]]
    histograms: torch.Tensor | None = field(default=None, repr=False)
    digest: str | None = None

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Facts:
        """What `to_json` wrote."""
        levels = found["levels"]
        broken = {part: [(number, reason, where) for number, reason, where in some]
                  for part, some in found["broken"].items()}  # fmt: skip
        counts = found["histograms"] and torch.tensor(found["histograms"], dtype=torch.int64)
        return cls(**{**found, "levels": levels and (levels[0], levels[1]), "broken": broken, "histograms": counts})

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {**vars(self), "histograms": self.histograms.tolist() if self.histograms is not None else None}

    def read_grey(self, colour: str | None) -> bool:
        """Whether pictures are read in grey where `colour` is asked for."""
        return self.grey if colour is None else colour == "grey"

    def read(self, part: str, pictures: Pictures) -> Mask:
        """bool (N,): which of a part's pictures can be read, of the test's as far as their headers tell."""
        return without(len(pictures), [number for number, _, _ in self.broken[part]])


def decoded(listing: Listing, reader: Reader, sink: Sink) -> Facts:
    """Decode the train and the validation pictures. DataError for 16-bit pictures of which no range is known."""
    parts = listing.parts
    heads = _heads(parts, reader.watch)
    _check_depth(parts, heads, listing.name)
    train = heads["train"]
    grey = bool(train.grey[train.read].all())
    levels = _levels(parts["train"], train)
    reader = replace(reader, grey=reader.colour == "grey" if reader.colour else grey, levels=levels)
    now = {part: parts[part] for part in ("train", "val") if part in parts}
    broken = reader.fill(sink, now, {part: np.ones(len(some), np.bool_) for part, some in now.items()})
    broken["test"] = [(number, one.reason, one.where) for number, one in heads["test"].broken.items()]
    colours = None if (train.read & ~train.deep_colour).any() else int(train.deep_colour.argmax())
    return Facts(
        grey,
        reader.levels,
        sum(int(head.deep.sum()) for head in heads.values()),
        sum(int(head.deep_colour.sum()) for head in heads.values()),
        colours if train.deep_colour.any() else None,
        broken,
    )


def _heads(parts: Mapping[str, Pictures], watch: Watch) -> dict[str, Heads]:
    total, before = sum(map(len, parts.values())), 0
    heads = {}
    for part, pictures in parts.items():
        heads[part] = look(pictures, partial(_tell, watch, before, total))
        before += len(pictures)
    return heads


def _levels(train: Pictures, heads: Heads) -> Levels | None:
    """The values that the 16-bit train pictures use; None where there are none."""
    ranges = [found for _, found in each(train, extremes, heads.deep) if not isinstance(found, Broken)]
    if not ranges:
        return None
    low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
    return (low, high) if low < high else _FULL


def _check_depth(parts: Mapping[str, Pictures], heads: Mapping[str, Heads], name: str) -> None:
    """Refuse 16-bit pictures whose range no train picture tells."""
    if heads["train"].deep.any():
        return
    for part, found in heads.items():
        if found.deep.any():
            where = parts[part].where(int(found.deep.argmax()))
            raise DataError(
                f"{name}: {where} has 16-bit pixels, the train pictures have 8-bit ones: save all of them alike"
            )


def _tell(watch: Watch, before: int, total: int, done: int) -> None:
    watch.step(_HEADERS, before + done, total)


@dataclass(frozen=True)
class HeldOut:
    """The test pictures that are chosen, read when they are asked for. Picklable.

    identity: of the pictures when the train pictures were loaded.
    """

    reader: Reader
    pictures: Pictures
    chosen: Mask = field(repr=False)
    identity: str

    def read(self) -> Split:
        """The test split, read now."""
        images, read = self._found()
        return split_of(images, "test", self.pictures, read, self.reader.name)

    def verify(self) -> int:
        """How many of the pictures can be read."""
        return int(self._found()[1].sum())

    def _found(self) -> tuple[Mapping[str, Pixels], Mask]:
        """Decoded pictures, and which of them could be read. DataError for others unless they are left out."""
        images, broken = self._stored()
        self.reader.judge(broken)
        return images, self.chosen & without(len(self.pictures), [number for number, _, _ in broken])

    def _stored(self) -> tuple[Mapping[str, Pixels], Sequence[Numbered]]:
        reader = self.reader
        if reader.place is not None:
            place = replace(reader.place, key=f"{reader.place.key}-test")
            try:
                stored = kept(place, reader.watch) or make(place, self._write, reader.watch)
                return stored.images, [(number, reason, where) for number, reason, where in stored.facts["broken"]]
            except Unwritable as error:
                need_memory(error, reader, int(self.chosen.sum()))
        sink = Memory()
        broken = self._fill(sink)
        return sink.images(), broken

    def _fill(self, sink: Sink) -> list[Numbered]:
        return self.reader.fill(sink, {"test": self.pictures}, {"test": self.chosen})["test"]

    def _write(self, shards: Shards) -> None:
        broken = self._fill(shards)
        if identity(self.pictures) != self.identity:
            raise DataError(f"{self.reader.name}: the test pictures changed since they were listed: run again")
        shards.images()
        shards.finish(self.reader.root.absolute(), {"broken": broken})


def need_memory(error: Unwritable, reader: Reader, count: int) -> None:
    """Say that pictures are decoded into memory, as no store can be written. DataError where they do not fit."""
    place = reader.place
    assert place is not None
    size = error.size or 3 * count * reader.size**2
    if size > _KEPT_FREE * available_memory():
        raise DataError(
            f"{reader.name}: {format_bytes(size)} of decoded pictures cannot be written to {place.cache} "
            f"({error.reason}), nor do they fit into memory: make room there, or give another --data-dir"
        ) from error
    reader.watch.say(
        f"{place.cache} cannot be written ({error.reason}): pictures are decoded into memory, by every command anew; "
        "another --data-dir keeps them"
    )


def split_of(images: Mapping[str, Pixels], part: str, pictures: Pictures, read: Mask, name: str) -> Split:
    """A part's images and labels. DataError where none could be read."""
    if not read.any():
        raise DataError(f"{name}: none of the {len(pictures):,} pictures of a split can be read: replace them")
    return images[part], torch.from_numpy(pictures.labels[read])


def identity(pictures: Pictures) -> str:
    """Hex digits that change whenever a picture or its label does."""
    labels = pictures.labels
    digest = hashlib.sha256(labels.astype("<i8" if labels.ndim == 1 else "u1").tobytes())
    for line in pictures.identity():
        digest.update(os.fsencode(line) + b"\n")
    return digest.hexdigest()


def listed(root: Path, broken: Sequence[Numbered]) -> str:
    """The places of pictures, the first of many."""
    shown = [where.removeprefix(f"{root}{os.sep}") for _, _, where in broken[:_SHOWN]]
    more = len(broken) - len(shown)
    return ", ".join([*shown, f"and {more:,} more"] if more else shown)


def _refusal(name: str, root: Path, broken: Sequence[Numbered]) -> DataError:
    way = "replace or remove {}, or leave {} out: --skip-broken"
    _, reason, where = broken[0]
    if len(broken) == 1:
        return DataError(f"{name}: {where} is no readable picture ({reason}): {way.format('it', 'it')}")
    return DataError(
        f"{name}: {len(broken):,} files in {root} are no readable pictures: {listed(root, broken)} "
        f"(the first: {reason}): {way.format('them', 'them')}"
    )
