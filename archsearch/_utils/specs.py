"""The words after --dataset: a kind, a place on disk and options, as in `parquet:food?label=fine`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from glob import glob, has_magic
from pathlib import Path
from urllib.parse import unquote

from archsearch.errors import DataError

PICTURES = ("folder", "parquet", "csv", "wds")
"""Kinds whose pictures have no size of their own."""
ON_DISK = (*PICTURES, "npz", "cifar")
_WITH_OPTIONS = ("parquet", "csv", "wds", "cifar", "npz")
_OPTIONS = re.compile(r"\?(\w+=[^&]*(?:&\w+=[^&]*)*)$")
_REMOTE = re.compile(r"[a-z][a-z0-9+.-]+://|pipe:")
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_CHOICE = re.compile(r"\{([^{}]*,[^{}]*)\}")
_MOST = 1_000_000


@dataclass(frozen=True)
class Spec:
    """A dataset as it was named: `kind:place?name=value&name=value`; none of folders."""

    kind: str
    place: str = ""
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """The place and the options as one path, which differs wherever other pictures or labels are meant."""
        return Path(f"{Path(self.place).expanduser()}{self.tail}")

    @property
    def tail(self) -> str:
        """The options as they are written behind the place; "" for none."""
        return "?" + "&".join(f"{key}={value}" for key, value in self.options.items()) if self.options else ""


def parse_spec(text: str) -> Spec:
    """The parts of a dataset's name; a `?` of a pattern, behind which no NAME=VALUE stands, belongs to the place."""
    kind, _, place = text.partition(":")
    found = _OPTIONS.search(place) if kind in _WITH_OPTIONS else None
    if found is None:
        return Spec(kind, place)
    pairs = (pair.partition("=") for pair in found[1].split("&"))
    return Spec(kind, place[: found.start()], {key: value for key, _, value in pairs})


def options_of(text: str, allowed: Sequence[str]) -> dict[str, str]:
    """The options of a dataset's name, percent signs decoded. Raises DataError for one not allowed, or empty."""
    options = parse_spec(text).options
    for key, value in options.items():
        if key not in allowed:
            raise DataError(f"{text}: there is no option {key!r}: it must be one of {', '.join(allowed)}")
        if not value:
            raise DataError(f"{text}: option {key!r} is empty: write {key}=NAME, or leave it out")
    return {key: unquote(value) for key, value in options.items()}


def is_pattern(place: str) -> bool:
    """Whether a place holds `*`, `?`, `[...]`, `{000..099}` or `{a,b}`."""
    return has_magic(place) or bool(_RANGE.search(place) or _CHOICE.search(place))


def expand(place: str, name: str) -> list[Path]:
    """The files and folders that a place means, sorted where a `*` chose them.

    Raises DataError for a remote place, a file that braces name and that is not here, and where nothing is.
    """
    if _REMOTE.match(place):
        raise DataError(f"{name}: only files on this machine are read: download it, and give the path of the copy")
    whole = Path(place).expanduser()
    if whole.exists():
        return [whole]
    if not is_pattern(place):
        raise DataError(f"{name}: there is no {whole}: check the path")
    found: list[Path] = []
    for one in _braced(str(whole), name):
        # Path.glob takes hidden files too.
        here = sorted(map(Path, glob(one, recursive=True))) if has_magic(one) else [Path(one)]  # noqa: PTH207
        if not here or not here[0].exists():
            raise DataError(f"{name}: there is no {one}: check the path, or leave it out of the pattern")
        found += here
    return list(dict.fromkeys(found))


def is_here(spec: str) -> bool:
    """Whether the place of a dataset on disk is on this machine."""
    try:
        return bool(expand(parse_spec(spec).place, spec))
    except DataError:
        return False


def _braced(place: str, name: str) -> list[str]:
    """All names that braces stand for, in their order."""
    done, todo = [], [place]
    while todo:
        one = todo.pop(0)
        found = min((match for kind in (_RANGE, _CHOICE) if (match := kind.search(one))), key=_start, default=None)
        if found is None:
            done.append(one)
        else:
            todo = [one[: found.start()] + word + one[found.end() :] for word in _words(found, name)] + todo
        if len(done) + len(todo) > _MOST:
            raise DataError(f"{name}: the braces stand for more than {_MOST:,} files: give a folder or a `*`")
    return done


def _start(match: re.Match[str]) -> int:
    return match.start()


def _words(match: re.Match[str], name: str) -> list[str]:
    if match.re is _CHOICE:
        return match[1].split(",")
    first, last = int(match[1]), int(match[2])
    if not first <= last < first + _MOST:
        raise DataError(f"{name}: {match[0]} must count up, over {_MOST:,} files at most")
    return [str(number).zfill(len(match[1])) for number in range(first, last + 1)]
