"""Where a study's files may lie: in a plain folder of their own, which can be made and written to."""

from __future__ import annotations

from pathlib import Path

from archsearch.errors import StudyError

_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}
_LONGEST = 200


def check_name(name: str) -> None:
    """Refuse a name of a study that is no plain name of a folder, on any system. Raises StudyError."""
    if name in ("", ".", "..") or "/" in name or "\\" in name:
        rule = "it names a folder inside of --out, so it is neither empty nor . or .. and has no / or \\"
    elif not name.isprintable() or name != name.strip() or name.endswith("."):
        rule = "it names a folder: leave out control characters, spaces around it and a dot at its end"
    elif name.split(".")[0].lower() in _DEVICES:
        rule = "Windows has a device of that name"
    elif len(name.encode()) > _LONGEST:
        rule = f"it names a folder: use at most {_LONGEST} bytes"
    else:
        return
    shown = name if len(name) <= _LONGEST else f"{name[:40]}..."
    raise StudyError(f"study {shown!r}: {rule}; choose another --study")


def check_folder(folder: Path) -> None:
    """Refuse a folder that can't be made, as a file is in its way. Raises StudyError."""
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise StudyError(f"study folder {folder}: {there} is a file: choose another --out or --study")
