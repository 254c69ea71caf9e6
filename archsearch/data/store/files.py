"""A folder of decoded pictures: bytes in shards, mapped into memory, and an index that is written last.

<cache>/<key>/train-0000.u8     uint8 (n, H, W, C), pictures one behind the other
<cache>/<key>/index.json        shards with their sizes, times and sums; what else is known of the pictures
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from archsearch._utils.files import write_text
from archsearch._utils.units import format_bytes
from archsearch.data.pixels import Pixels
from archsearch.data.store.decoding import Shape

FORMAT = 1
INDEX = "index.json"
_SUFFIX = ".u8"
_SHARD = 2**28  # bytes
_BUFFER = 2**20
_SPARE = 2**24  # bytes that are left free on the disk


@dataclass(frozen=True)
class Shard:
    """A file of a store: `rows` pictures of a part; its size, time and CRC-32, by which a change is noticed."""

    part: str
    file: str
    rows: int
    bytes: int
    mtime_ns: int
    crc32: int


@dataclass(frozen=True)
class Index:
    """What a store holds: pictures from `root` at `size` pixels a side; facts: what the reader noted, as JSON."""

    format: int
    root: str
    size: int
    channels: int
    shards: tuple[Shard, ...]
    facts: Mapping[str, Any]

    @property
    def bytes(self) -> int:
        """Of all pixels."""
        return sum(shard.bytes for shard in self.shards)

    @property
    def rows(self) -> int:
        """Number of pictures."""
        return sum(shard.rows for shard in self.shards)


@dataclass(frozen=True)
class Stored:
    """A store that was opened: mapped images of each part, and the reader's facts."""

    images: Mapping[str, Pixels]
    facts: Mapping[str, Any]


class Shards:
    """A `Sink` that writes each part into files of some 256 MB."""

    def __init__(self, folder: Path, shard_bytes: int = _SHARD) -> None:
        self.folder = folder
        self.reserved = 0
        self._shard_bytes = shard_bytes
        self._done: list[Shard] = []
        self._file: BinaryIO | None = None
        self._part, self._shape = "", (0, 0, 0)
        self._rows = self._sum = 0

    def reserve(self, size: int) -> None:
        """OSError, as of a full disk, where fewer bytes are free."""
        self.reserved = size
        free = shutil.disk_usage(self.folder).free
        if free < size + _SPARE:
            raise OSError(errno.ENOSPC, f"only {format_bytes(free)} are free there", str(self.folder))

    def begin(self, part: str, count: int, shape: Shape) -> None:
        """Pictures of this part and shape follow."""
        self._close()
        self._part, self._shape = part, shape

    def add(self, picture: NDArray[np.uint8]) -> None:
        """Write a picture."""
        file = self._file = self._file or (self.folder / self._name()).open("wb", buffering=_BUFFER)
        data = np.ascontiguousarray(picture).data
        file.write(data)
        self._sum = zlib.crc32(data, self._sum)
        self._rows += 1
        if self._rows * picture.size >= self._shard_bytes:
            self._close()

    def _name(self) -> str:
        return f"{self._part}-{sum(shard.part == self._part for shard in self._done):04}{_SUFFIX}"

    def _close(self) -> None:
        """The file's bytes are on the disk, and its time stays, from here on."""
        if self._file is None:
            return
        with self._file as file:
            file.flush()
            os.fsync(file.fileno())
            about = os.fstat(file.fileno())
        self._done.append(Shard(self._part, self._name(), self._rows, about.st_size, about.st_mtime_ns, self._sum))
        self._file, self._rows, self._sum = None, 0, 0

    def abandon(self) -> None:
        """Let go of the file in work."""
        if self._file is not None:
            with suppress(OSError):  # what is buffered finds no room either
                self._file.close()

    def images(self) -> dict[str, Pixels]:
        """The pictures of each part, mapped."""
        self._close()
        return _images(self.folder, tuple(self._done), self._shape)

    def finish(self, root: Path, facts: Mapping[str, Any]) -> None:
        """Write the index, with which the store is whole."""
        self._close()
        write_index(self.folder, Index(FORMAT, str(root), self._shape[0], self._shape[2], tuple(self._done), facts))


def write_index(folder: Path, index: Index) -> None:
    """Whole, and on the disk."""
    said = asdict(index)
    path = write_text(folder / INDEX, json.dumps({"crc32": _sealed(said), "index": said}))
    with path.open("r+b") as file:  # some systems refuse what is open for reading
        os.fsync(file.fileno())
    sync(folder)


def sync(folder: Path) -> None:
    """A folder's names are on the disk when this returns; not every system opens folders."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def read_index(folder: Path) -> Index:
    """The index of a store. ValueError, in words, where it is none that this version reads; OSError where none is."""
    try:
        said = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        found = said["index"]
        if found["format"] != FORMAT:
            raise ValueError(f"its format is {found['format']}, not {FORMAT}")
        if said["crc32"] != _sealed(found):
            raise LookupError
        shards = tuple(Shard(**shard) for shard in found["shards"])
        return Index(**{**found, "shards": shards})
    except (TypeError, LookupError, AttributeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{INDEX} is damaged") from error


def _sealed(index: Mapping[str, Any]) -> int:
    """A sum by which a change of the index is noticed."""
    return zlib.crc32(json.dumps(index, sort_keys=True).encode())


def open_store(folder: Path) -> Stored:
    """The pictures of a store, mapped. ValueError, in words, where its files are not as they were written."""
    try:
        index = read_index(folder)
        _check(folder, index)
        shape = (index.size, index.size, index.channels)
        return Stored(_images(folder, index.shards, shape), index.facts)
    except OSError as error:
        raise ValueError(f"{Path(error.filename or folder).name}: {error.strerror or error}") from error


def _check(folder: Path, index: Index) -> None:
    """ValueError for a shard that is not as it was written. One that was copied since then is summed up."""
    row = index.size**2 * index.channels
    shards = []
    for shard in index.shards:
        about = (folder / shard.file).stat()
        if not about.st_size == shard.bytes == shard.rows * row or not shard.rows > 0:
            raise ValueError(f"{shard.file} has {about.st_size:,} bytes, not {shard.bytes:,}")
        if about.st_mtime_ns != shard.mtime_ns and _sum(folder / shard.file) != shard.crc32:
            raise ValueError(f"{shard.file} was changed")
        shards.append(replace(shard, mtime_ns=about.st_mtime_ns))
    if tuple(shards) != index.shards:
        with suppress(OSError):  # a store that only others may write is summed up every time
            write_index(folder, replace(index, shards=tuple(shards)))


def _sum(path: Path) -> int:
    found = 0
    with path.open("rb") as file:
        while chunk := file.read(_BUFFER):
            found = zlib.crc32(chunk, found)
    return found


def _images(folder: Path, shards: tuple[Shard, ...], shape: Shape) -> dict[str, Pixels]:
    found = {}
    for part in dict.fromkeys(shard.part for shard in shards):
        mine = [shard for shard in shards if shard.part == part]
        mapped = tuple(_mapped(folder / shard.file, (shard.rows, *shape)) for shard in mine)
        found[part] = Pixels(mapped, mapped=True, files=tuple(folder / shard.file for shard in mine))
    return found


def _mapped(path: Path, shape: tuple[int, ...]) -> torch.Tensor:
    """uint8 (n, C, H, W), channels_last. All processes share its pages; who writes gets pages of its own."""
    return torch.from_numpy(np.memmap(path, np.uint8, "c", shape=shape)).permute(0, 3, 1, 2)


def stores(cache: Path) -> Iterator[tuple[Path, Index | None]]:
    """Every store in a cache with its index; None for what was left unfinished, or is damaged."""
    if not cache.is_dir():
        return
    for folder in sorted(path for path in cache.iterdir() if _is_store(path)):
        try:
            yield folder, read_index(folder)
        except (OSError, ValueError):
            yield folder, None


def _is_store(folder: Path) -> bool:
    """Whether a folder holds nothing but what a store has: those of others are never shown, or removed."""
    with suppress(OSError):
        names = [path.name for path in folder.iterdir()]
        return all(name.endswith(_SUFFIX) or re.fullmatch(r"index\.json|\.index-\w+\.json", name) for name in names)
    return False
