"""The notebooks of docs/: small, without outputs, and they run."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from paths import ROOT

RUN = "from nbclient.cli import main; main()"
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
    if not all(map(importlib.util.find_spec, ("nbclient", "ipykernel"))):
        (pytest.fail if os.environ.get("CI") else pytest.skip)("they are run by pip install nbclient ipykernel")
    copy = tmp_path / path.name
    copy.write_text(path.read_text())
    command = [sys.executable, "-c", RUN, "--inplace", "--timeout=600", "--startup_timeout=600", str(copy)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    outputs = [output for cell in cells(copy) for output in cell["outputs"]]
    assert [output for output in outputs if output["output_type"] == "error"] == []
    kinds = [kind for output in outputs for kind in output.get("data", {})]
    assert kinds.count("image/png") == 2
    assert any("<table" in "".join(output.get("data", {}).get("text/html", "")) for output in outputs)
