"""Names of places on this machine, for files that others see: without the folders above them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from archsearch._utils.specs import Spec, parse_spec

_ABSOLUTE = re.compile(r"(?:^|(?<=[=:,]))(?:/|~|[A-Za-z]:\\)(?:[^,?]|\?(?!\w+=))*[/\\]")


def shipped(spec: str) -> str:
    """A dataset by its kind and the last name of its place: `folder:/home/me/photos` is `folder:photos`."""
    if ":" not in spec:
        return spec
    found = parse_spec(spec)
    options = {key: last_name(value) if key == "root" else value for key, value in found.options.items()}
    return f"{found.kind}:{last_name(found.place)}{Spec(found.kind, '', options).tail}"


def last_name(place: str) -> str:
    """The last name of a path of any system; for `.` and the like that of the folder which it stands for."""
    name = re.split(r"[/\\]", place.rstrip("/\\"))[-1]
    return Path(place).expanduser().resolve().name if name in ("", ".", "..", "~") else name


def shared_command(command: str) -> str:
    """A command line whose absolute paths are down to their last names; relative ones stay."""
    try:
        words = shlex.split(command)
    except ValueError:
        return ""
    return shlex.join(_ABSOLUTE.sub("", word.rstrip("/\\")) for word in words)


def shared(about: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of a search, for others: `dataset`, `space` and `command` name no folder of this machine."""
    found = dict(about)
    for key, name in (("dataset", shipped), ("space", last_name)):
        if isinstance(named := found.get(key), Mapping) and isinstance(named.get("name"), str):
            found[key] = {**named, "name": name(named["name"])}
    if isinstance(found.get("command"), str):
        found["command"] = shared_command(found["command"])
    return found


def names_beside(path: Path) -> Path:
    """Where a weights file's class names are that have no room inside."""
    return path.with_name(f"{path.stem}.classes.json")
