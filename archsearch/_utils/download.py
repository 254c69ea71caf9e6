"""One file from a URL, whole and the one that was meant, or an error in one line."""

from __future__ import annotations

import hashlib
import urllib.request
from http.client import HTTPException
from time import monotonic
from urllib.error import HTTPError

from archsearch.errors import InputError, printable

SILENCE, LONGEST = 20.0, 600.0
"""Seconds without a byte, and in all, after which a download counts as failed."""
_PIECE = 2**16


def download(url: str, size: int, sha256: str) -> bytes:
    """The file of so many bytes and this SHA-256.

    Raises:
        InputError: it cannot be reached, is cut off, or is another file.
    """
    try:
        content = _read(url, size)
    except HTTPError as error:
        error.close()
        raise InputError(f"{url} answers {error.code} {printable(error.reason)}") from None
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", "") or error
        raise InputError(f"{url}: {printable(str(reason)) or type(error).__name__}") from None
    if len(content) < size:
        raise InputError(f"{url} gives {len(content):,} of {size:,} bytes")
    if digest(content) != sha256:
        raise InputError(f"{url} is another file than the one that is known here (its SHA-256 differs)")
    return content


def digest(content: bytes) -> str:
    """The SHA-256, as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def _read(url: str, size: int) -> bytes:
    """At most a byte more than `size`. Raises OSError, HTTPException, or ValueError for what is no URL."""
    end, found = monotonic() + LONGEST, bytearray()
    with urllib.request.urlopen(url, timeout=SILENCE) as answer:
        while len(found) <= size and (piece := answer.read1(min(_PIECE, size + 1 - len(found)))):
            found += piece
            if monotonic() > end:
                raise TimeoutError(f"not here after {LONGEST:.0f} s")
    return bytes(found)
