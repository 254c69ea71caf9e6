"""Images copied out of their shards, by any thread: from files where there are some, else from memory.

A file is read, not its mapping: one that was cut is an error then, where a missing page would end the process.
One that was removed lives on in its mapping.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from io import FileIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from archsearch.data.pixels import Pixels, stored
from archsearch.errors import DataError

Bytes = NDArray[np.uint8]
Places = NDArray[np.int64]
_GAP = 2**16  # bytes between two images that are read with them rather than jumped over
_PIECE = 2**22  # bytes copied at a time


def copy_rows(images: Pixels, rows: Places, into: Bytes, stopped: Callable[[], bool]) -> None:
    """Copy images to the beginning of `into` (M, H, W, C).

    rows: int64 (B,), sorted: which of all the shards' images. stopped: asked between pieces; true leaves the rest.
    DataError, one line: a file is shorter than it was, or cannot be read.
    """
    ends = np.asarray(images.ends)
    cuts = np.searchsorted(rows, ends)
    for number in np.flatnonzero(np.diff(cuts, prepend=0)).tolist():
        begin, end = int(cuts[number - 1]) if number else 0, int(cuts[number])
        shard = images.shards[number]
        mine = rows[begin:end] - (ends[number] - len(shard))
        if images.files and images.files[number].exists():
            _from_file(images.files[number], mine, into[begin:end], stopped)
        else:
            _from_memory(stored(shard).numpy(), mine, into[begin:end], stopped)


def _from_memory(shard: Bytes, rows: Places, into: Bytes, stopped: Callable[[], bool]) -> None:
    step = max(1, _PIECE // into[0].nbytes)
    for first in range(0, len(rows), step):
        if stopped():
            return
        np.take(shard, rows[first : first + step], 0, into[first : first + step], "clip")  # numpy: one thread


def _from_file(path: Path, rows: Places, into: Bytes, stopped: Callable[[], bool]) -> None:
    size = into[0].nbytes
    try:
        with ExitStack() as stack:
            file = stack.enter_context(FileIO(path))
            for part in _spans(rows, size):
                if stopped():
                    return
                mine, target = rows[part], into[part]
                first, count = int(mine[0]), int(mine[-1] - mine[0]) + 1
                if count == len(mine) and (np.diff(mine) == 1).all():  # an image may be asked for twice
                    _fill(file, path, target, first * size)
                    continue
                span = np.empty((count, *into.shape[1:]), np.uint8)
                _fill(file, path, span, first * size)
                np.take(span, mine - first, 0, target, "clip")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}, while images were read from it: start again") from error


def _spans(rows: Places, size: int) -> Iterator[slice]:
    """Slices of rows that lie so near to each other that they are read in one piece."""
    far = np.flatnonzero(np.diff(rows) > 1 + _GAP // size) + 1
    most = max(1, _PIECE // size)
    for begin, end in zip([0, *far.tolist()], [*far.tolist(), len(rows)], strict=True):
        for first in range(begin, end, most):
            yield slice(first, min(first + most, end))


def _fill(file: FileIO, path: Path, target: Bytes, offset: int) -> None:
    """All of `target` from a place in the file. DataError where the file ends before."""
    file.seek(offset)
    view, done = target.reshape(-1).data, 0
    while done < len(view):
        got = file.readinto(view[done:])
        if not got:
            raise DataError(
                f"{path} ends at byte {offset + done:,}, images are missing: it was cut while in use; start again"
            )
        done += got
