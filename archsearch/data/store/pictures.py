"""From a listing of pictures to a dataset: decoded once into a store, and mapped from there by every later command.

Every format of encoded pictures is read here, so all of them treat grey, 16 bits and broken pictures alike.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from archsearch.data.dataset import Dataset, counts_of, fingerprint, histograms
from archsearch.data.listing import Listing
from archsearch.data.pixels import Pixels
from archsearch.data.store.decoding import Memory
from archsearch.data.store.files import FORMAT, Shards
from archsearch.data.store.making import Place, Unwritable, clear, kept, make
from archsearch.data.store.progress import SILENT, Watch
from archsearch.data.store.reading import (
    Facts,
    HeldOut,
    Numbered,
    Reader,
    decoded,
    identity,
    listed,
    need_memory,
    split_of,
)
from archsearch.errors import DataError

_NEARLY_BLACK = 16


def load_pictures(
    listing: Listing,
    size: int,
    *,
    skip_broken: bool = False,
    cache: Path | None = None,
    watch: Watch = SILENT,
    colour: str | None = None,
) -> Dataset:
    """The pictures of a listing at size x size pixels: in `colour`, else in RGB, or grey if every train picture is.

    The short side is scaled to `size`, then the centre is cut out. 16-bit grey pictures are scaled by the range of
    the train pictures. Of test pictures only the headers are read here.
    skip_broken: leave unreadable pictures out. cache: the folder of stores of decoded pictures, made at first use;
    None: nothing is written. watch: is told how far it is.
    DataError for unreadable pictures, naming all, and for pixels that do not fit together.
    """
    identities = _identities(listing) if cache else {}
    place = Place(cache, _key(listing, size, colour, identities)) if cache else None
    reader = Reader(listing.name, listing.root, size, skip_broken, place, watch, colour)
    images, facts = _stored(listing, reader)
    reader = replace(reader, grey=facts.read_grey(colour), levels=facts.levels)
    parts = listing.parts
    broken = [one for part in ("train", "val", "test") for one in facts.broken.get(part, ())]
    reader.judge(broken)
    splits = {part: split_of(images, part, parts[part], facts.read(part, parts[part]), listing.name)
              for part in ("train", "val") if part in parts}  # fmt: skip
    train, labels = splits["train"]
    read = facts.read("train", parts["train"])
    _check_classes(listing, labels)
    _check_colours(listing, facts, train)
    test = HeldOut(reader, parts["test"], facts.read("test", parts["test"]), identities.get("test", ""))
    return Dataset(
        listing.name,
        listing.classes,
        train,
        labels,
        splits.get("val"),
        not facts.grey,
        test.read,
        range=facts.levels,
        listed=(torch.from_numpy(parts["train"].labels), torch.from_numpy(read)) if broken else None,
        notes=(*listing.notes, *_read_notes(listing, facts, broken)),
        test_count=int(test.chosen.sum()),
        histograms=facts.histograms,
        digest=facts.digest,
        verify_test=test.verify,
        test_labels=torch.from_numpy(parts["test"].labels[test.chosen]),
    )


def _stored(listing: Listing, reader: Reader) -> tuple[Mapping[str, Pixels], Facts]:
    """The decoded pictures of the train and the validation part: from a store, or, where none can be made, memory."""
    place = reader.place
    if place is None:
        return _in_memory(listing, reader)
    stored = kept(place, reader.watch)
    try:
        if stored is None:
            stored = make(place, partial(_write, listing, reader, place.key), reader.watch)
            channels = {images.shape[1] for images in stored.images.values()}  # none where nothing could be read
            with suppress(OSError):  # older stores of the same pictures, which others may own
                for count in channels:
                    clear(place.cache, listing.root.absolute(), reader.size, count, but=place.key)
        return stored.images, Facts.from_json(stored.facts)
    except Unwritable as error:
        need_memory(error, reader, sum(map(len, listing.parts.values())))
        return _in_memory(listing, reader)


def _in_memory(listing: Listing, reader: Reader) -> tuple[Mapping[str, Pixels], Facts]:
    sink = Memory()
    facts = decoded(listing, reader, sink)
    return sink.images(), facts


def _write(listing: Listing, reader: Reader, key: str, shards: Shards) -> None:
    """Fill a store. DataError where pictures change meanwhile."""
    facts = decoded(listing, reader, shards)
    images = shards.images()
    splits = [(pixels, torch.from_numpy(listing.parts[part].labels[facts.read(part, listing.parts[part])]))
              for part, pixels in images.items()]  # fmt: skip
    if "train" in images:
        facts = replace(facts, histograms=histograms(images["train"]), digest=fingerprint(listing.classes, splits))
    if _key(listing, reader.size, reader.colour, _identities(listing)) != key:
        raise DataError(f"{listing.name}: pictures changed while they were read: run again when they stay")
    shards.finish(listing.root.absolute(), facts.to_json())


def _identities(listing: Listing) -> dict[str, str]:
    return {part: identity(pictures) for part, pictures in listing.parts.items()}


def _key(listing: Listing, size: int, colour: str | None, identities: Mapping[str, str]) -> str:
    """16 hex digits: of the files, of the labels, and of what else decides on the pixels."""
    said = [
        str(FORMAT),
        f"{size} {colour}" if colour else str(size),
        _decoders(),
        str(listing.root.absolute()),
        *listing.classes,
    ]
    said += [f"{part} {found}" for part, found in identities.items()]
    return hashlib.sha256(os.fsencode("\0".join(said))).hexdigest()[:16]


def _decoders() -> str:
    """The versions of what decodes pictures."""
    return " ".join(f"{name} {found}" for name in ("pillow", "pillow-heif") if (found := _version(name)))


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _check_classes(listing: Listing, labels: torch.Tensor) -> None:
    there = counts_of(torch.from_numpy(listing.parts["train"].labels), len(listing.classes)) > 0
    gone = there & (counts_of(labels, len(listing.classes)) == 0)
    if gone.any():
        label = int(gone.nonzero()[0])
        raise DataError(f"{listing.name}: no train picture of class {listing.classes[label]} can be read: replace some")


def _check_colours(listing: Listing, facts: Facts, images: Pixels) -> None:
    """Refuse 16-bit colour pictures whose upper bytes, all that Pillow reads of them, are nearly black."""
    if facts.colours is None:
        return
    counts = histograms(images) if facts.histograms is None else facts.histograms
    brightest = int(counts.sum(0).nonzero().max())
    if brightest < _NEARLY_BLACK:
        raise DataError(
            f"{listing.name}: the colour pictures have 16 bits and use the lowest {256 * (brightest + 1):,} values, "
            "which would be black: save them with 8 bits a channel, "
            f"such as {listing.parts['train'].where(facts.colours)}"
        )


def _read_notes(listing: Listing, facts: Facts, broken: Sequence[Numbered]) -> Iterator[str]:
    if facts.levels:
        low, high = facts.levels
        yield f"16-bit grey: of {facts.deep:,} pictures the values {low:,} to {high:,} become 0 to 255"
    if facts.deep_colour:
        yield f"16-bit colour: of {facts.deep_colour:,} pictures the upper 8 bits a channel are read"
    if broken:
        count = sum(map(len, listing.parts.values()))
        yield f"left out by --skip-broken: {len(broken):,} of {count:,} pictures: {listed(listing.root, broken)}"
