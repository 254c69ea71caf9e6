"""`wds:PATTERN`: WebDataset's tar files, where members of one key, such as 0001.jpg and 0001.cls, are a sample."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from archsearch._utils.specs import options_of, parse_spec
from archsearch.data.listing import Listing, stamp
from archsearch.data.readers.labels import classes_of, split_off, written
from archsearch.data.readers.samples import Index, index
from archsearch.data.readers.shards import PARTS, find_shards
from archsearch.data.readers.titles import numbered, read_titles
from archsearch.data.splits import Labels
from archsearch.errors import DataError

_OPTIONS = ("image", "label", *PARTS)
_SHOWN = 6


@dataclass(frozen=True, eq=False)
class TarPictures:
    """Pictures in tar files, read by their places.

    files: the shards; shard, offset, size: int64 (N,), where each picture lies; members: their names.
    """

    name: str
    files: Sequence[Path]
    shard: NDArray[np.int64]
    offset: NDArray[np.int64]
    size: NDArray[np.int64]
    members: Sequence[str]
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)

    def where(self, number: int) -> str:
        """The shard and the member of a picture."""
        return f"{self.files[self.shard[number]]}: {self.members[number]}"

    def identity(self) -> Iterator[str]:
        """Every shard, with its size and times; where the pictures lie, and their labels."""
        yield from map(stamp, self.files)
        places = np.stack([self.shard, self.offset, self.size, self.labels])
        yield hashlib.sha256(places.astype("<i8").tobytes()).hexdigest()

    def read(self, first: int, last: int) -> Sequence[bytes]:
        """The pictures from `first` up to `last`. Raises DataError where a shard is gone or cut off."""
        found: list[bytes] = []
        while first < last:
            end = first + int(np.argmin(np.append(self.shard[first:last] == self.shard[first], False)))
            found += self._of_one(first, end)
            first = end
        return found

    def _of_one(self, first: int, last: int) -> Iterator[bytes]:
        """Pictures of one shard."""
        path = self.files[self.shard[first]]
        try:
            with path.open("rb") as file:
                for number in range(first, last):
                    file.seek(int(self.offset[number]))
                    picture = file.read(int(self.size[number]))
                    if len(picture) < self.size[number]:
                        raise DataError(f"{self.name}: {self.where(number)} is cut off: copy the file again")
                    yield picture
        except OSError as error:
            raise DataError(f"{self.name}: {path} cannot be read ({error.strerror}): is it still there?") from error

    def chosen(self, rows: NDArray[np.int64]) -> TarPictures:
        """A part of them."""
        members = [self.members[row] for row in rows.tolist()]
        places = (self.shard[rows], self.offset[rows], self.size[rows])
        return TarPictures(self.name, self.files, *places, members, self.labels[rows])


def list_wds(name: str) -> Listing:
    """The pictures of a dataset `wds:PATTERN?image=SUFFIX&label=SUFFIX&test=SPLIT`; options may be left out.

    PATTERN: a file, a folder, or names with `*` and `{000..099}`; shards are of a split by their names. Without a
    test split a fifth of each class becomes it. Raises DataError, one line, where samples lack a picture or a label,
    have two, or were merged by dots in their names, and for shards that are missing, damaged or compressed.
    """
    options = options_of(name, _OPTIONS)
    chosen = {key: options[key] for key in options if key in PARTS}
    shards = find_shards(parse_spec(name).place, ".tar", name, chosen)
    indexes = {part: [index(path, name, options) for path in files] for part, files in shards.parts.items()}
    every = [one for some in indexes.values() for one in some]
    bare = {part: _joined(name, files, indexes[part]) for part, files in shards.parts.items()}
    found = classes_of(
        {part: written(label for one in some for label in one.labels) for part, some in indexes.items()},
        name,
        lambda part, number: bare[part].where(number),
        read_titles(shards.root, name) or _own_titles(every, name),
    )
    parts = {part: replace(pictures, labels=found.parts[part]) for part, pictures in bare.items()}
    if "test" not in parts:
        parts = {part: parts["train"].chosen(rows) for part, rows in split_off(found.parts["train"]).items()}
    return Listing(name, parse_spec(name).root, found.classes, parts, (*shards.notes, *_left_out(every), *found.notes))


def _joined(name: str, files: Sequence[Path], indexes: Sequence[Index]) -> TarPictures:
    """The pictures of several shards, not labelled yet."""
    counts = [len(one.members) for one in indexes]
    offsets, sizes = (np.concatenate([np.zeros(0, np.int64), *map(np.asarray, lists)])
                      for lists in ([one.offsets for one in indexes], [one.sizes for one in indexes]))  # fmt: skip
    members = [member for one in indexes for member in one.members]
    shard = np.repeat(np.arange(len(files)), counts)
    return TarPictures(name, files, shard, offsets, sizes, members, np.zeros(len(members), np.int64))


def _own_titles(indexes: Sequence[Index], name: str) -> tuple[str, ...] | None:
    """The names that JSON members give to all labels."""
    titles: dict[str, str] = {}
    for label, title in (pair for one in indexes for pair in one.titles.items()):
        if titles.setdefault(label, title) != title:
            raise DataError(f"{name}: label {label} is named both {titles[label]!r} and {title!r}: use one name")
    return numbered(titles) if titles.keys() == {label for one in indexes for label in one.labels} else None


def _left_out(indexes: Sequence[Index]) -> list[str]:
    others = sum((one.others for one in indexes), Counter[str]())
    shown = ", ".join(f"{count:,} .{end}" for end, count in others.most_common(_SHOWN))
    return [f"left out, neither picture nor label: members {shown}"] if shown else []
