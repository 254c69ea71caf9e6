"""A user's own package: installed by pip, found by its entry point, searched with."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

PACKAGE = ROOT / "tests" / "own_blocks_package"
DOC = (ROOT / "docs" / "how-to" / "own-blocks.md").read_text()
USE = """
import json, random, sys
import archsearch
from archsearch.network.blocks import names
from archsearch.space.reader import load_space
from own_blocks import SPACE

assert "convnext" in names("block"), names("block")
arch = load_space(str(SPACE)).random(random.Random(0), (3, 32, 32), 10)
cost = archsearch.count(arch)
assert "torch" not in sys.modules, "counting loads torch"
again = archsearch.Arch.from_toml(arch.to_toml())

import torch
module = archsearch.build(arch).train()
optimiser = torch.optim.SGD(module.parameters(), lr=0.1)
images, labels = torch.randn(8, 3, 32, 32), torch.arange(8)
losses = []
for _ in range(3):
    loss = torch.nn.functional.cross_entropy(module(images), labels)
    losses.append(float(loss))
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
print(json.dumps({
    "params": cost.params, "built": sum(p.numel() for p in module.parameters()),
    "same": again.id == arch.id, "losses": losses, "summary": arch.summary,
}))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which the package is installed beside archsearch."""
    target = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    options = ["--no-index", "--disable-pip-version-check", "--target", str(target), str(PACKAGE)]
    run([*pip, *options], dict(os.environ))
    paths = [str(target), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def run(command: list[str], environment: dict[str, str], cwd: Path | None = None) -> str:
    found = subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def test_draw_count_build_and_train(environment: dict[str, str]) -> None:
    found = json.loads(run([sys.executable, "-c", USE], environment))
    assert found["params"] == found["built"]
    assert found["same"]
    assert found["losses"][-1] < found["losses"][0]
    assert "convnext" in found["summary"]


def test_the_documented_tests_pass(environment: dict[str, str], tmp_path: Path) -> None:
    code = re.findall(r"```python\n(.*?)```", DOC, flags=re.DOTALL)[-1]
    (tmp_path / "test_own.py").write_text(code)
    out = run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_own.py"], environment, tmp_path)
    assert "2 passed" in out


def test_the_command_line_searches_with_it(environment: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from archsearch.cli import main; main()", "run"]
    space = PACKAGE / "own_blocks" / "space.toml"
    options = ["--space", str(space), "--max-params", "20e3", "--trials", "2", "--epochs", "1", "--seed", "0"]
    run([*command, *options, "--device", "cpu", "--study", "own"], environment, tmp_path)
    front = (tmp_path / "results" / "own" / "trials.csv").read_text()
    assert "convnext" in front


@pytest.mark.parametrize(
    "name", ["pyproject.toml", "own_blocks/blocks.py", "own_blocks/modules.py", "own_blocks/space.toml"]
)
def test_the_document_shows_the_files(name: str) -> None:
    assert (PACKAGE / name).read_text() in DOC
