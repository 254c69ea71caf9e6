"""How much memory images may take."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from archsearch.data.loader import room
from archsearch.data.loader.room import block_bytes, held_bytes, room_for, rooms, window_bytes

CPU = torch.device("cpu")
BYTES = st.integers(0, 10**12)


def test_what_is_asked_for_holds_everywhere() -> None:
    assert room_for(CPU, mapped=True, asked=5.0) == room_for(CPU, mapped=False, asked=5.0) == 5.0


def test_images_in_memory_stay_there_and_mapped_ones_have_half_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "system_memory", lambda: 8e9)
    assert room_for(CPU, mapped=False) == math.inf
    assert room_for(CPU, mapped=True) == room_for(torch.device("mps"), mapped=False) == 4e9


def test_a_gpu_gives_a_share_of_all_and_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    for free, expected in ((10e9, 4e9), (2e9, 1.6e9)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 10e9))
        assert room_for(torch.device("cuda"), mapped=True) == pytest.approx(expected)


def test_memory_of_the_machine_of_its_container_or_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    group = tmp_path / "memory.max"
    monkeypatch.setattr(room, "_CGROUP", group)
    whole = room.system_memory()
    assert whole > 2**28
    group.write_text("max\n")
    assert room.system_memory() == whole
    group.write_text("1000000\n")
    assert room.system_memory() == 1e6
    group.unlink()
    monkeypatch.delattr(room.os, "sysconf")
    assert room.system_memory() == 2**32


@given(BYTES, BYTES, st.floats(1, 1e12))
def test_both_parts_stay_inside_the_room(train: int, validation: int, size: float) -> None:
    mine, theirs = rooms(train, validation, size)
    assert held_bytes(train, mine) + held_bytes(validation, theirs) <= max(size, 1) * (1 + 1e-9)


@given(st.floats(1, 1e12))
def test_windows_and_blocks(size: float) -> None:
    assert 2 * window_bytes(size) <= size
    assert 32 * block_bytes(size) <= window_bytes(size)
    assert window_bytes(size) <= 2**27
