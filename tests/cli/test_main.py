"""`python -m archsearch` is the command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from archsearch import __version__


def module(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "archsearch", *words], cwd=folder, capture_output=True, text=True, check=False
    )


def test_the_module_is_the_command(tmp_path: Path) -> None:
    assert module(tmp_path, "--version").stdout == f"archsearch, version {__version__}\n"
    assert module(tmp_path, "run", "--max-params", "0").returncode == 2


def test_workers_that_import_it_do_not_start_it_again() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import archsearch.__main__", "run", "--max-params", "0"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
