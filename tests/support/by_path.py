"""Benchmarks and scripts are no package; their tests import them from their files."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from paths import ROOT


def benchmark_module(name: str) -> ModuleType:
    """`benchmarks/<name>.py` as a module."""
    return _module("benchmark", ROOT / "benchmarks" / f"{name}.py")


def script_module(name: str) -> ModuleType:
    """`scripts/<name>.py` as a module."""
    return _module("script", ROOT / "scripts" / f"{name}.py")


def _module(kind: str, file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{kind}_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
