"""`--import` and spaces that import: own blocks without a package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from commands import Answer, Process

from archsearch.network.blocks.registry import _REGISTRY

BLOCK = """
from beside import KERNEL
from archsearch.network import Expr, block, conv, seq

@block("imported_plain")
def plain(c_in: int, width: int, stride: int, *, kernel: int = KERNEL) -> Expr:
    return seq(conv(width, kernel, stride))
"""
SPACE = """
[stem]
type = "conv"
width = 8

[[stage]]
block = "imported_plain"
width = { choice = [8, 16] }

[head]
type = "linear"
"""


Archsearch = Callable[..., Answer]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "blocks").mkdir()
    (tmp_path / "blocks" / "mine.py").write_text(BLOCK)
    (tmp_path / "blocks" / "beside.py").write_text("KERNEL = 3\n")
    (tmp_path / "space.toml").write_text(SPACE)
    (tmp_path / "own.toml").write_text('import = ["blocks/mine.py"]\n' + SPACE)
    return tmp_path


@pytest.fixture
def archsearch(start: Callable[..., Process]) -> Archsearch:
    """`archsearch(folder, *args)` in a process of its own."""
    return lambda folder, *args: start(*args, cwd=folder).wait()


def test_a_study_with_an_imported_block(archsearch: Archsearch, here: Path) -> None:
    search = ("run", "--max-params", "20k", "--epochs", "1", "--workers", "1", "--study", "s")
    done = archsearch(here, *search, "--space", "own.toml", "--trials", "1")
    assert done.status == 0, done.err
    assert done.err.count("runs the code of") == 1
    arch = next((here / "results" / "s" / "archs").glob("*.toml"))
    missing = archsearch(here, "check", str(arch))
    assert missing.status == 2
    assert "--import FILE" in missing.err
    known = archsearch(here, "check", str(arch), "--import", "blocks/mine.py", "--max-params", "20k")
    assert known.status == 0, known.err
    more = archsearch(here, *search, "--space", "own.toml", "--trials", "2", "--resume")
    assert more.status == 0, more.err


def test_import_by_option(archsearch: Archsearch, here: Path) -> None:
    assert archsearch(here, "spaces", "space.toml").status == 2
    done = archsearch(here, "spaces", "space.toml", "--import", "blocks/mine.py", "--import", "blocks/mine.py")
    assert done.status == 0, done.err
    done = archsearch(here / "blocks", "spaces", "../own.toml", "--import", "mine")
    assert done.status == 0, done.err


@pytest.mark.parametrize(
    ("what", "content", "says"),
    [
        ("nowhere.py", None, "there is no file"),
        ("nowhere", None, "neither such a file nor such a module"),
        ("bad.py", "1 / 0", "its code raised ZeroDivisionError"),
        ("bad.py", "import not_installed_at_all", "needs 'not_installed_at_all'"),
        ("bad.py", "raise SystemExit(3)", "its code raised SystemExit"),
    ],
)
def test_bad_imports_are_one_line(
    archsearch: Archsearch, here: Path, what: str, content: str | None, says: str
) -> None:
    if content is not None:
        (here / what).write_text(content)
    done = archsearch(here, "spaces", "--import", what)
    assert done.status == 2
    assert says in done.err
    assert "Traceback" not in done.err
    (here / "own.toml").write_text("import = 3\n" + SPACE)
    done = archsearch(here, "spaces", "own.toml")
    assert done.status == 2
    assert "must be a list of Python files" in done.err
    assert ("block", "imported_plain") not in _REGISTRY
