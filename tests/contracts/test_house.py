"""The house rules, counted."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

from paths import ROOT

PACKAGE = ROOT / "archsearch"
FILES = sorted(PACKAGE.rglob("*.py"))
Function = ast.FunctionDef | ast.AsyncFunctionDef
REGISTERED = {"block", "stem", "head"}
"""Decorators of functions whose keywords are the dims of a space file: as many as a space has to say."""


def functions() -> Iterator[tuple[str, Function]]:
    """Every function of the package with where it stands."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, Function):
                yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", node


def beyond(limit: int, measure: Callable[[Function], int]) -> list[str]:
    return [f"{where}: {measure(node)}" for where, node in functions() if measure(node) > limit]


def parameters(node: Function) -> int:
    """Without self and cls; `*args` and `**options` are one each."""
    if any(isinstance(by, ast.Call) and getattr(by.func, "id", "") in REGISTERED for by in node.decorator_list):
        return 0
    found = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
    return sum(arg is not None and arg.arg not in ("self", "cls") for arg in found)


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_files_at_the_top() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= 6


def test_packages() -> None:
    assert len(list(PACKAGE.glob("*/**/__init__.py"))) <= 22


def test_lines_of_a_file() -> None:
    assert {str(path.relative_to(ROOT)): lines(path) for path in FILES if lines(path) > 350} == {}


def test_lines_of_a_function() -> None:
    assert beyond(60, lambda node: (node.end_lineno or 0) - node.lineno + 1) == []


def test_parameters_of_a_function() -> None:
    assert beyond(7, parameters) == []


def test_floors() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    floors = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    assert len(floors) <= 9


def test_a_file_of_tests_for_a_package() -> None:
    """Every folder of the package has one here, so that a test is found where its module is."""
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders - {path.name for path in (ROOT / "tests").iterdir()} == set()
