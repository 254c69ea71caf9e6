"""Benchmarks are scripts; their tests import them from their files."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

from paths import ROOT


def benchmark_module(name: str) -> ModuleType:
    """`benchmarks/<name>.py` as a module."""
    file = ROOT / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
