"""How much memory images may take: what fits is held or mapped whole, what does not is streamed."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path

import torch

_SYSTEM, _CUDA, _CUDA_FREE = 0.5, 0.4, 0.8
"""Shares of all memory, and of what is free on a GPU."""
_UNKNOWN = 2.0**32
"""Bytes of memory where the system does not tell."""
_CGROUP = Path("/sys/fs/cgroup/memory.max")
_WINDOW, _BLOCK, _BLOCKS = 2**27, 2**20, 32
"""Bytes that are shuffled together and that are read in one piece, at most; pieces in a window, at least."""


def room_for(device: torch.device, mapped: bool, asked: float | None = None) -> float:
    """Bytes of images that are held on a device, or mapped from files on the CPU, without being streamed.

    By default half of the system's memory, of a GPU's two fifths, or four fifths of what is free there. All memory
    counts, not what is free of it: a rerun on the same machine has the same order of images. Images that lie in the
    CPU's memory anyway always fit there, unless `asked` says how much.
    """
    if asked is not None:
        return asked
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return min(_CUDA * total, _CUDA_FREE * free)
    return _SYSTEM * system_memory() if mapped or device.type != "cpu" else math.inf


def system_memory() -> float:
    """Bytes of memory that this machine, or this container, has."""
    found = [_UNKNOWN]
    with suppress(AttributeError, ValueError, OSError):  # no sysconf, or not of this
        found = [float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))]
    with suppress(OSError, ValueError):  # no control groups, or "max"
        found.append(float(int(_CGROUP.read_text())))
    return min(found)


def available_memory() -> float:
    """Bytes that can be taken without swapping; infinity where the system does not say."""
    with suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        (found,) = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
        return int(found) * 1024
    return math.inf


def rooms(train: int, validation: int, room: float) -> tuple[float, float]:
    """What of the room is each part's, of so many bytes: validation images stay if half of it holds them."""
    if train + validation <= room:
        return math.inf, math.inf
    if validation <= room / 2:
        return room - validation, math.inf
    return room / 2, room / 2


def held_bytes(size: int, room: float) -> float:
    """What of so many bytes of images lies on a device: all, or the two windows of a stream."""
    return size if size <= room else 2 * window_bytes(room)


def window_bytes(room: float) -> int:
    """Of images that are shuffled together; two such windows are held."""
    return int(min(_WINDOW, room / 2))


def block_bytes(room: float) -> int:
    """Of neighbouring images that are read in one piece."""
    return min(_BLOCK, window_bytes(room) // _BLOCKS)
