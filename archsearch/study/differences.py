"""What differs between the settings of a study and those of a run, in words."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import ndiff
from typing import Any

from archsearch.network.recipe import LATER

_SHOWN = 4
_LEFT_OUT = {"metric": "accuracy", "size_format": "safetensors"}
"""What settings mean that do not say it."""


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between a study's settings and those of a run, a few words each."""
    found = []
    for key in [key for key in {**old, **new} if old.get(key) != new.get(key)]:
        if key == "space":
            found.append(f"space: {_lines(old[key]['toml'], new[key]['toml'])}")
        elif isinstance(new.get(key), Mapping) and isinstance(old.get(key), Mapping):
            off = LATER if key == "recipe" else {}
            found += [f"{key}: {words}" for words in differences({**off, **old[key]}, {**off, **new[key]})]
        else:
            was, now = (one.get(key, _LEFT_OUT.get(key)) for one in (old, new))
            found.append(f"{key} was {was!r}, is {now!r}")
    return found


def _lines(old: str, new: str) -> str:
    """The first lines of a file that differ, and how many more."""
    words = [line for line in ndiff(old.splitlines(), new.splitlines()) if line[0] in "+-"]
    shown = ", ".join(f"{line[0]} {line[2:].strip()!r}" for line in words[:_SHOWN])
    return shown + (f" and {len(words) - _SHOWN} more lines" if len(words) > _SHOWN else "")
