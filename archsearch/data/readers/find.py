"""Where the pictures are that a table names: as written, or in the one folder that has all of them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from archsearch.data.picture import suffixes
from archsearch.errors import DataError

_REMOTE = re.compile(r"[a-z][a-z0-9+.-]+://?", re.IGNORECASE)
_DEPTH = 3
_SHOWN = 4

Paths = list[Path | None]


@dataclass(frozen=True)
class Named:
    """Pictures as a table names them, each in a line of the file `table`. name: the dataset's."""

    name: str
    table: Path
    texts: Sequence[str]
    lines: Sequence[int]


def find_pictures(root: Path, named: Named) -> tuple[list[Path], list[str]]:
    """The files of all pictures, and what the user should know.

    Below `root` as they are written; else, with or without a suffix, in one folder at most three below it.
    Raises DataError for pictures that are not there, and where several folders have them all.
    """
    if not root.is_dir():
        raise DataError(f"{named.name}: there is no folder {root}: check ?root=")
    for text, line in zip(named.texts, named.lines, strict=True):
        if _REMOTE.match(text):
            raise DataError(
                f"{named.name}: {named.table}: line {line} holds an address, {text[:80]}: download the pictures first"
            )
    folders = _Folders()
    texts = named.texts
    written: Paths = [folders.exact(root / text) for text in texts]
    if not any(written) and os.sep == "/" and any("\\" in text for text in texts):
        texts = [text.replace("\\", "/") for text in texts]  # by a program on Windows
        written = [folders.exact(root / text) for text in texts]
    if any(written):
        return _whole(written, root, named), []
    homes = {home: [folders.named(home / text) for text in texts] for home in _below(root)
             if folders.named(home / texts[0]) or folders.named(home / texts[-1])}  # fmt: skip
    if not homes:
        raise DataError(
            f"{named.name}: {named.table}: line {named.lines[0]} names {texts[0]}, but there is no such picture in "
            f"{root} or the folders in it: check the column, or give their folder by ?root=FOLDER"
        )
    full = [home for home, paths in homes.items() if all(paths)]
    if len(full) > 1:
        shown = ", ".join(map(str, full[:_SHOWN]))
        raise DataError(f"{named.name}: {shown} hold the pictures of {named.table}: choose one by ?root=FOLDER")
    home = full[0] if full else max(homes, key=lambda one: sum(path is not None for path in homes[one]))
    return _whole(homes[home], home, named), [f"pictures are those in {home}"]


def _whole(paths: Paths, home: Path, named: Named) -> list[Path]:
    """All of them, or a DataError that names the first that is not there."""
    found = [path for path in paths if path]
    if missing := len(paths) - len(found):
        first = paths.index(None)
        raise DataError(
            f"{named.name}: {missing:,} of {len(paths):,} pictures are not in {home}, the first is "
            f"{named.texts[first]} of line {named.lines[first]} of {named.table}: add them, or remove the lines"
        )
    return found


class _Folders:
    """What lies in folders, each read once."""

    def __init__(self) -> None:
        self._inside: dict[str, dict[str, list[str]]] = {}

    def exact(self, path: Path) -> Path | None:
        """The path, if a file is there."""
        folder, last = os.path.split(path)
        return path if last in self._names(folder).get(last, ()) else None

    def named(self, path: Path) -> Path | None:
        """The file at a path, or else the one picture there that has a suffix more."""
        folder, last = os.path.split(path)
        found = self._names(folder).get(last, ())
        return path if last in found else path.with_name(found[0]) if len(found) == 1 else None

    def _names(self, folder: str) -> dict[str, list[str]]:
        """Names of files by name, and those of pictures also by what stands before the suffix."""
        if folder not in self._inside:
            names = self._inside[folder] = {}
            for one in sorted(entry.name for entry in _entries(folder) if entry.is_file()):
                names.setdefault(one, []).append(one)
                if (path := Path(one)).suffix.lower() in suffixes():
                    names.setdefault(path.stem, []).append(one)
        return self._inside[folder]


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """None where there is no such folder, or none that can be read."""
    try:
        with os.scandir(folder or ".") as entries:
            return list(entries)
    except (OSError, ValueError):
        return []


def _below(root: Path) -> list[Path]:
    """A folder and those in it, three below at most, by name."""
    found, level = [root], [root]
    for _ in range(_DEPTH):
        level = [folder / one for folder in level for one in sorted(_visible(folder))]
        found += level
    return found


def _visible(folder: Path) -> list[str]:
    entries = (entry for entry in _entries(str(folder)) if not entry.name.startswith((".", "__MACOSX")))
    return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
