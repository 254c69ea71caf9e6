"""What lies in a folder: the pictures that Pillow reads, the folders inside, and how much else."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from archsearch.data.picture import suffixes
from archsearch.errors import DataError

_IGNORED = {"__macosx", "@eadir", "$recycle.bin", "thumbs.db", "desktop.ini"}
_SHOWN = 6
_HEIF = {".heic", ".heif", ".hif"}


@dataclass(frozen=True, eq=False)
class Folder:
    """A folder and all below it, without what systems leave behind (`.DS_Store`, `__MACOSX`, `Thumbs.db`).

    own: paths of the pictures directly in it; folders: those in it, by name; others: number of other files a suffix.
    """

    path: Path
    own: tuple[str, ...]
    folders: tuple[Folder, ...]
    others: Counter[str]

    @cached_property
    def pictures(self) -> tuple[str, ...]:
        """Paths of all pictures in it and below, by their names inside it."""
        return tuple(sorted(self._pictures(), key=_posix))

    def _pictures(self) -> Iterator[str]:
        yield from self.own
        for folder in self.folders:
            yield from folder._pictures()

    @cached_property
    def count(self) -> int:
        """Number of its `pictures`."""
        return len(self.own) + sum(folder.count for folder in self.folders)

    @cached_property
    def full(self) -> tuple[Folder, ...]:
        """The folders in it that hold pictures, at any depth."""
        return tuple(folder for folder in self.folders if folder.count)

    def left_out(self) -> Counter[str]:
        """Files that are no pictures, in it and below, a suffix."""
        return sum((folder.left_out() for folder in self.folders), self.others)


def _posix(path: str) -> str:
    return path if os.sep == "/" else path.replace(os.sep, "/")


def scan(path: Path, name: str, above: tuple[Path, ...] = ()) -> Folder:
    """The folder as it lies on disk; links are followed, but not to a folder that holds them.

    Raises DataError where it cannot be read.
    """
    here = (*above, path.resolve())
    own, folders, others = [], [], Counter[str]()
    for entry in _entries(path, name):
        if entry.name.startswith(".") or entry.name.casefold() in _IGNORED:
            continue
        suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122  a Path takes several times as long
        if entry.is_dir():
            inside = path / entry.name
            if not (entry.is_symlink() and any(up.is_relative_to(inside.resolve()) for up in here)):
                folders.append(scan(inside, name, here))
        elif suffix in suffixes():  # no object a picture: there may be millions
            own.append(entry.path)
        else:
            others["" if suffix == "." else suffix] += 1
    return Folder(path, tuple(own), tuple(sorted(folders, key=lambda folder: folder.path)), others)


def _entries(path: Path, name: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return list(entries)
    except OSError as error:
        raise DataError(f"{name}: folder {path} cannot be read ({error.strerror}): see its permissions") from error


def suffix_words(others: Counter[str]) -> str:
    """`12 .heic (read with pip install pillow-heif), 3 .csv`, most frequent first; "" for none."""
    common = sorted(others.items(), key=lambda pair: (-pair[1], pair[0]))
    words = [f"{count:,} {suffix or 'without a suffix'}{_way(suffix)}" for suffix, count in common[:_SHOWN]]
    rest = sum(count for _, count in common[_SHOWN:])
    return ", ".join([*words, f"{rest:,} more"] if rest else words)


def _way(suffix: str) -> str:
    return " (read with pip install pillow-heif)" if suffix in _HEIF else ""
