"""`--import` and spaces that import: own blocks without a package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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


def archsearch(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    code = "from archsearch.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *args], cwd=folder, capture_output=True, text=True)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "blocks").mkdir()
    (tmp_path / "blocks" / "mine.py").write_text(BLOCK)
    (tmp_path / "blocks" / "beside.py").write_text("KERNEL = 3\n")
    (tmp_path / "space.toml").write_text(SPACE)
    (tmp_path / "own.toml").write_text('import = ["blocks/mine.py"]\n' + SPACE)
    return tmp_path


def test_a_study_with_an_imported_block(here: Path) -> None:
    search = ("run", "--max-params", "20k", "--epochs", "1", "--workers", "1", "--study", "s")
    done = archsearch(here, *search, "--space", "own.toml", "--trials", "1")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("runs the code of") == 1
    arch = next((here / "results" / "s" / "archs").glob("*.toml"))
    missing = archsearch(here, "check", str(arch))
    assert missing.returncode == 2
    assert "--import FILE" in missing.stderr
    known = archsearch(here, "check", str(arch), "--import", "blocks/mine.py", "--max-params", "20k")
    assert known.returncode == 0, known.stderr
    more = archsearch(here, *search, "--space", "own.toml", "--trials", "2", "--resume")
    assert more.returncode == 0, more.stderr


def test_import_by_option(here: Path) -> None:
    assert archsearch(here, "spaces", "space.toml").returncode == 2
    done = archsearch(here, "spaces", "space.toml", "--import", "blocks/mine.py", "--import", "blocks/mine.py")
    assert done.returncode == 0, done.stderr
    done = archsearch(here / "blocks", "spaces", "../own.toml", "--import", "mine")
    assert done.returncode == 0, done.stderr


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
def test_bad_imports_are_one_line(here: Path, what: str, content: str | None, says: str) -> None:
    if content is not None:
        (here / what).write_text(content)
    done = archsearch(here, "spaces", "--import", what)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    (here / "own.toml").write_text("import = 3\n" + SPACE)
    done = archsearch(here, "spaces", "own.toml")
    assert done.returncode == 2
    assert "must be a list of Python files" in done.stderr
    assert ("block", "imported_plain") not in _REGISTRY
