"""`run` refuses bad places in one line before anything is loaded, and writes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from commands import Answer

REFUSED = {
    "--study ../x": "study '../x': it names a folder inside of --out",
    "--study .": "study '.': it names a folder inside of --out",
    "--study /x": "study '/x': it names a folder inside of --out",
    "--study=": "study '': it names a folder inside of --out",
    "--out file": "Invalid value for '--out': Directory 'file' is a file.",
    "--out file/x": "study folder file/x/any: file is a file",
    "--storage sqlite:///file": "study storage sqlite:///file: file is not a database, which has at least 512 bytes",
    "--storage journal:file": "study storage journal:file: file is not a journal of Optuna's, it begins with b'x'",
    "--storage sqlite://": "study storage sqlite://: a database in memory, where no worker process finds it",
}


@pytest.mark.parametrize("words", REFUSED)
def test_bad_places_of_a_run(command: Callable[..., Answer], work: Path, words: str) -> None:
    (work / "file").write_text("x")
    answer = command("run", "--max-params", "20k", "--dataset", "npz:none.npz", *words.split())
    assert answer.status == 2
    assert answer.error.startswith(f"archsearch: {REFUSED[words]}")
    assert sorted(path.name for path in work.iterdir()) == ["file", "tiny.toml"]
    assert (work / "file").read_text() == "x"
