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


def test_its_workers_do_not_start_it_again(tmp_path: Path) -> None:
    done = module(tmp_path, "run", "--max-params", "2k", "--trials", "1", "--epochs", "1", "--study", "s")
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).count("Pareto front:") == 1
    assert (tmp_path / "results" / "s" / "pareto.csv").exists()
