"""Metadata behind a file of another format: a zip archive at its end, as TensorFlow Lite's own metadata are.

Runtimes read by offsets from the start and never see it; `unzip -p model.tflite archsearch.json` does.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from archsearch.errors import InputError, one_line

_NAME = "archsearch.json"
_HEADER = b"PK\x03\x04"
_BESIDE = "sha256"
"""The key for what the first of two files holds."""
_MOST_BYTES = 2**24
_DAMAGED = (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, RuntimeError, OSError, zlib.error)
"""What zipfile and json raise over bytes that are none of theirs."""


def append(content: bytes, metadata: Mapping[str, str]) -> bytes:
    """A file's content with metadata behind it, in place of those that it had."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        about = zipfile.ZipInfo(_NAME, (1980, 1, 1, 0, 0, 0))  # equal networks are equal files
        about.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(about, json.dumps(dict(metadata), ensure_ascii=False, separators=(",", ":")))
    return without(content) + buffer.getvalue()


def without(content: bytes) -> bytes:
    """A file's content as its converter wrote it."""
    start = _start(io.BytesIO(content))
    return content if start is None else content[:start]


def is_there(path: Path) -> bool:
    """Whether a file ends in metadata. Raises OSError."""
    with path.open("rb") as file:
        return _start(file) is not None


def read(path: Path) -> dict[str, str]:
    """The metadata of a file.

    Raises:
        InputError: it has none, or damaged ones.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        if _start(file) is None:
            raise InputError(
                f"{path}: no metadata of archsearch at its end: another program wrote it, or it is cut off. Only files"
                " of `archsearch export` can be run here"
            )
        try:
            with zipfile.ZipFile(file) as archive:
                about = archive.getinfo(_NAME)
                if about.file_size > _MOST_BYTES or about.compress_type not in (
                    zipfile.ZIP_STORED,
                    zipfile.ZIP_DEFLATED,
                ):
                    raise ValueError("they are larger than 16 MiB, or packed in another way")
                found = json.loads(archive.read(about))
        except _DAMAGED as error:
            raise InputError(f"{path}: its metadata are damaged: {one_line(error)}") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}: its metadata are no JSON object")
    return {str(key): str(value) for key, value in found.items()}


def pair(path: Path, metadata: Mapping[str, str]) -> dict[str, str]:
    """Metadata for the second file of a pair, which say what the first one holds. Raises OSError."""
    return {**metadata, _BESIDE: hashlib.sha256(path.read_bytes()).hexdigest()}


def require_pair(metadata: Mapping[str, str], path: Path) -> None:
    """Raises InputError where the metadata of a pair are of another first file, OSError where it cannot be read."""
    if metadata.get(_BESIDE) not in (None, hashlib.sha256(path.read_bytes()).hexdigest()):
        raise InputError(f"{path}: the .bin beside it belongs to another file: copy both again")


def _start(file: io.BufferedIOBase | io.BytesIO) -> int | None:
    """Where our archive begins, None where a file ends in none."""
    try:
        with zipfile.ZipFile(file) as archive:
            names, starts = archive.namelist(), [member.header_offset for member in archive.infolist()]
    except _DAMAGED:
        return None
    if names != [_NAME] or starts[0] < 0:
        return None
    file.seek(starts[0])
    return starts[0] if file.read(len(_HEADER)) == _HEADER else None
