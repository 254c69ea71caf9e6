"""Stores are made by one process, whole, while others wait; older ones of the same pictures are cleared away."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from archsearch._utils.locking import hold, is_free
from archsearch.data.store.files import INDEX, Shards, Stored, open_store, stores, sync
from archsearch.data.store.progress import Watch

_PART = ".part"


@dataclass(frozen=True)
class Place:
    """Where a store is: the folder `key` in `cache`. Picklable."""

    cache: Path
    key: str

    @property
    def folder(self) -> Path:
        """Of the whole store."""
        return self.cache / self.key


class Unwritable(Exception):
    """A store that could not be written: why, in the system's words, and how many bytes it would have."""

    def __init__(self, reason: str, size: int) -> None:
        super().__init__(reason)
        self.reason, self.size = reason, size


def kept(place: Place, watch: Watch) -> Stored | None:
    """The store, if it is there and as it was written. What is not is told, and made again by `make`."""
    if not place.folder.is_dir():
        return None
    try:
        return open_store(place.folder)
    except ValueError as error:
        watch.say(f"{place.folder} is not as it was written ({error}): its pictures are decoded again")
        return None


def make(place: Place, fill: Callable[[Shards], None], watch: Watch) -> Stored:
    """The store, made by `fill`, or by another process that was faster.

    Raises:
        Unwritable: the cache cannot be written, or is full; nothing is left of it. Whatever `fill` raises, likewise.
    """
    size = 0
    try:
        with _held(place, watch) as part:
            if (found := _whole(place.folder)) is not None:
                _remove(part)
                return found
            shards = Shards(part)
            try:
                _empty(part)
                fill(shards)
                _put(part, place.folder)
            except BaseException:
                size = shards.reserved
                shards.abandon()
                _remove(part)
                raise
        if (found := _whole(place.folder)) is None:
            raise Unwritable("files are not as they were written", size)
        return found
    except OSError as error:
        reason = error.strerror or str(error)
        raise Unwritable(reason, size) from error


def _whole(folder: Path) -> Stored | None:
    with suppress(ValueError):
        return open_store(folder)
    return None


def _put(part: Path, folder: Path) -> None:
    _remove(folder)
    try:
        part.rename(folder)
    except OSError:  # without locks another process may have been faster
        if _whole(folder) is None:
            raise
        _remove(part)
    sync(folder.parent)


@contextmanager
def _held(place: Place, watch: Watch) -> Iterator[Path]:
    """The folder in which the store is made, held by this process alone; a process that died holds nothing."""
    part = place.cache / f"{place.key}{_PART}"
    while True:
        part.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(part, os.O_RDONLY)
        except FileNotFoundError:
            continue  # another process is done with it
        except PermissionError:
            break
        try:
            if not hold(handle, lambda: watch.say("waiting for another process, which decodes the same pictures")):
                break
            if _same(handle, part):
                yield part
                return
        finally:
            os.close(handle)
    with suppress(OSError):
        part.rmdir()
    own = place.cache / f"{place.key}.{os.getpid()}{_PART}"  # without locks each process makes its own
    own.mkdir(parents=True, exist_ok=True)
    yield own


def _same(handle: int, folder: Path) -> bool:
    """Whether the open folder is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(handle), folder.stat())
    except FileNotFoundError:
        return False


def _empty(folder: Path) -> None:
    for left in folder.iterdir():
        left.unlink()


def _remove(folder: Path) -> None:
    """A folder and all in it, the index first: a store without one is none. Mapped files live on."""
    with suppress(FileNotFoundError):
        (folder / INDEX).unlink(missing_ok=True)
        shutil.rmtree(folder)


def clear(
    cache: Path,
    root: Path | None = None,
    size: int | None = None,
    channels: int | None = None,
    but: str | None = None,
) -> int:
    """Remove the stores of a cache, those of a root, size and channels where they are given; bytes that are gone.

    but: the beginning of the names that stay. What another process is writing stays, too.
    """
    gone = 0
    for folder, index in stores(cache):
        wanted = index and (str(root), size or index.size, channels or index.channels)
        named = index is not None and (index.root, index.size, index.channels) == wanted
        if (but and folder.name.startswith(but)) or (root is not None and not named):
            continue
        if folder.suffix != _PART or _left(folder):
            gone += sum(file.stat().st_size for file in folder.iterdir())
            _remove(folder)
    return gone


def _left(folder: Path) -> bool:
    """Whether nobody holds an unfinished store."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        return is_free(handle)
    finally:
        os.close(handle)
