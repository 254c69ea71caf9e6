"""Files are there whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from archsearch._utils.files import write_text, write_with


def test_a_file_is_written_into_folders_that_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.txt"
    assert write_text(path, "grün\n") == path
    assert path.read_bytes() == "grün\n".encode()


def test_a_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "c.txt"
    write_text(path, "old")
    write_text(path, "new")
    assert path.read_text() == "new"
    assert [found.name for found in tmp_path.iterdir()] == ["c.txt"]


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, failure: BaseException) -> None:
    path = write_text(tmp_path / "c.txt", "old")

    def broken(temporary: Path) -> None:
        temporary.write_text("half of the n")
        assert path.read_text() == "old"
        raise failure

    with pytest.raises(type(failure)):
        write_with(path, broken)
    assert path.read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["c.txt"]


def test_the_temporary_file_has_the_targets_suffix(tmp_path: Path) -> None:
    seen: list[str] = []
    write_with(tmp_path / "plot.png", lambda temporary: seen.append(temporary.suffix))
    assert seen == [".png"]


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_permissions_are_those_of_any_new_file(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        mode = stat.S_IMODE(write_text(tmp_path / "c.txt", "x").stat().st_mode)
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert mode == 0o666 & ~mask


def test_a_folder_where_the_file_should_be_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "c.txt").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_text(tmp_path / "c.txt", "x")
    assert [found.name for found in tmp_path.iterdir()] == ["c.txt"]
