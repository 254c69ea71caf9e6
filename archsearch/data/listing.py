"""What a dataset of encoded pictures holds, before any of them is decoded."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from archsearch.data.splits import Labels

Encoded = Path | bytes
"""A picture file, or what would be in one."""


class Pictures(Protocol):
    """The pictures of one part of a dataset, in a fixed order. Picklable; holds no pixels."""

    @property
    def labels(self) -> Labels:
        """int64 (N,), indices into the listing's classes; or bool (N, classes), several per picture."""
        ...

    def __len__(self) -> int:
        """Number of pictures."""
        ...

    def where(self, number: int) -> str:
        """A picture's place as messages name it: a path, or `train-0001.tar: cat/3.jpg`."""
        ...

    def identity(self) -> Iterable[str]:
        """What changes whenever a picture does: names with sizes and times, of each file that is read."""
        ...

    def read(self, first: int, last: int) -> Sequence[Encoded]:
        """The pictures from `first` up to `last`; cheapest in order. Raises DataError where a file is gone."""
        ...


def stamp(path: str | Path) -> str:
    """A file's name, size and times: another line whenever its content is another, or it is gone.

    The time of the last change of its inode tells of a file that was replaced by one with the same size and date.
    """
    try:
        about = os.stat(path)  # noqa: PTH116  a Path for each of a million files takes seconds
    except OSError as error:  # as of a link that leads nowhere, which is told when it is read
        return f"{path}\0{error.strerror}"
    return f"{path}\0{about.st_size}\0{about.st_mtime_ns}\0{about.st_ctime_ns}"


@dataclass(frozen=True)
class Listing:
    """A dataset of pictures as it lies on disk.

    name: as `--dataset` was told; root: the folder, file or pattern that it names, with options.
    parts: train, test and perhaps val.
    notes: what a user should know of how the data are read, a line each.
    """

    name: str
    root: Path
    classes: tuple[str, ...]
    parts: Mapping[str, Pictures]
    notes: tuple[str, ...] = ()
