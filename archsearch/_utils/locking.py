"""One process at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Wait until no other process is in here with this file, which is made; one that died is not.

    Where a system or a folder has no locks nobody waits.

    Raises:
        OSError: the file cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        hold(handle)
        yield
    finally:
        os.close(handle)


def hold(handle: int, wait: Callable[[], None] = lambda: None) -> bool:
    """Hold an open file or folder until it is closed; `wait` is called before others are waited for.

    False where a system or a folder has no locks.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        wait()
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError:
        return False
    return True


def is_free(handle: int) -> bool:
    """Whether nobody else holds an open file or folder, which is held then; true where a system has no locks."""
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
