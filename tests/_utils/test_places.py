"""A study lies in a plain folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from archsearch._utils.places import check_folder, check_name
from archsearch.errors import StudyError

PLAIN = ["s", "digits-resnin-params5M", "a b", ".hidden", "..x", "größe", "s.1", "console"]
NOT_PLAIN = ["", ".", "..", "../x", "a/b", "/tmp/x", "a\\b", "..\\x", "a/", "a\nb", "a\0b", " a", "a ", "a.", "con",
             "NUL.txt", "x" * 201, "ä" * 101]  # fmt: skip


@pytest.mark.parametrize("name", PLAIN)
def test_plain_names(name: str, tmp_path: Path) -> None:
    check_name(name)
    assert (tmp_path / name).parent == tmp_path


@pytest.mark.parametrize("name", NOT_PLAIN, ids=range(len(NOT_PLAIN)))
def test_other_names_are_refused_in_one_line(name: str) -> None:
    with pytest.raises(StudyError, match=r"^study .*: .*; choose another --study$") as caught:
        check_name(name)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def test_folders(tmp_path: Path) -> None:
    check_folder(tmp_path / "new" / "s")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "s", tmp_path / "file" / "s" / "t"):
        with pytest.raises(StudyError, match=r"file is a file: choose another --out or --study"):
            check_folder(folder)
