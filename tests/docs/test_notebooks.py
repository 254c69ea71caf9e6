"""The notebooks of docs/: small, without outputs, and they run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from paths import ROOT

RUN = """
import ast, json, sys
from matplotlib import pyplot

names, pages, pictures = {"__name__": "__main__"}, [], 0
for source in json.load(sys.stdin):
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    value = eval(compile(ast.Expression(last.value), "cell", "eval"), names) if last else None
    if hasattr(value, "_repr_html_"):
        pages.append(value._repr_html_())
    pictures += len(pyplot.get_fignums())
    pyplot.close("all")
print(json.dumps({"pages": pages, "pictures": pictures}))
"""
"""Cells as Jupyter runs them: in one namespace, the value of a last expression shown. Jupyter's own client needs
packages that the converters' pins exclude, and both are tested in one environment."""
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


def cells(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text())["cells"]
    return [cell for cell in found if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_outputs_are_stored(path: Path) -> None:
    assert path.stat().st_size < 10_000
    assert cells(path)
    assert [cell for cell in cells(path) if cell["outputs"] or cell["execution_count"]] == []


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path) -> None:
    sources = ["".join(cell["source"]) for cell in cells(path)]
    environment = {**os.environ, "MPLBACKEND": "agg", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-c", RUN], input=json.dumps(sources), env=environment, cwd=tmp_path,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    shown = json.loads(done.stdout)
    assert shown["pictures"] == 2
    assert any("<table" in page for page in shown["pages"])
