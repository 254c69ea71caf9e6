"""Devices as limits: those that come with archsearch, and those of a file of one's own.

A file is TOML, a table a device:

    [my-board]
    title = "what it is"
    source = "where its figures stand"
    max_ram = "192KiB"
    max_size = "768KiB"
    size_format = "litert"
    size_dtype = "int8"
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archsearch._utils.files import shipped_folder
from archsearch._utils.tomlfile import parse_toml, read_text
from archsearch._utils.units import BYTES, COUNT, parse_bytes, parse_count
from archsearch.errors import InputError, SpecError
from archsearch.network.blocks import unknown
from archsearch.network.budget import Budget
from archsearch.network.limits import LIMITS

_ABOUT = ("title", "source")
_WRITTEN = ("size_format", "size_dtype")
_PARSERS = {COUNT: parse_count, BYTES: parse_bytes}
_SUFFIX = ".toml"


@dataclass(frozen=True)
class Target:
    """A device.

    Args:
        title: what it is; `source`: where its figures stand.
        limits: the arguments of `Budget`, counts and bytes as numbers.
        given: the same as the file has them.
    """

    name: str
    title: str
    source: str
    limits: Mapping[str, Any]
    given: Mapping[str, Any]


def shipped() -> dict[str, Target]:
    """The devices that come with archsearch, by name."""
    return read(shipped_folder() / "targets" / "boards.toml")


def load(spec: str) -> Target:
    """A device by its name, by `FILE.toml:NAME`, or by a file that has one alone.

    Raises:
        SpecError: no such device or file, or a file with faults, all of them named at once.
    """
    place, colon, name = spec.rpartition(":")
    if spec.endswith(_SUFFIX):
        place, name = spec, ""
    elif not (colon and place.endswith(_SUFFIX)):
        place, name = "", spec
    found = read(Path(place)) if place else shipped()
    if not name and len(found) == 1:
        return next(iter(found.values()))
    if name not in found:
        said = f"{name!r}: there are" if name else "alone: add :NAME, one of"
        raise SpecError(f"there is no target {said} {', '.join(found)}; or give FILE.toml:NAME", place)
    return found[name]


def read(path: Path) -> dict[str, Target]:
    """The devices of a file, by name. Raises SpecError."""
    tables = parse_toml(read_text(path), str(path))
    problems = list[str]()
    found = {name: target for name, table in tables.items() if (target := _target(name, table, problems))}
    if problems or not found:
        raise SpecError(problems or "has no target: write a table, [my-board]", str(path))
    return found


def _target(name: str, table: Any, problems: list[str]) -> Target | None:
    if not isinstance(table, dict):
        problems.append(f"{name}: must be a table, [{name}]")
        return None
    options = {limit.option: _PARSERS[limit.unit] for limit in LIMITS if limit.unit in _PARSERS}
    known = [*_ABOUT, *options, *_WRITTEN]
    bad = [f"{name}: no key {unknown(key, known)}" for key in table if key not in known]
    bad += [f"{name}.{key} = {table[key]!r}: must be text" for key in (*_ABOUT, *_WRITTEN) if not _is_text(table, key)]
    given = {key: value for key, value in table.items() if key in options or key in _WRITTEN}
    limits = dict(given)
    for key in given.keys() & options.keys():
        try:
            limits[key] = options[key](str(given[key]))
        except InputError as error:
            bad.append(f"{name}.{key}: {error}")
    if not bad:
        try:
            Budget(**limits)
        except InputError as error:
            bad.append(f"{name}: {error}")
    problems += bad
    return None if bad else Target(name, table.get("title", ""), table.get("source", ""), limits, given)


def _is_text(table: Mapping[str, Any], key: str) -> bool:
    return isinstance(table.get(key, ""), str)
