"""Formats as parameters of tests: those whose packages are not installed are skipped; on CI they fail."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

import pytest

from archsearch._utils.formats import FORMATS
from archsearch._utils.toolchain import TOOLCHAINS

SLOW = ("openvino", "ncnn")
"""Hosted formats whose tests run with `-m slow` alone."""
HOSTED = tuple(kind for kind, form in FORMATS.items() if form.hosted)
HERE = tuple(kind for kind, form in FORMATS.items() if not form.hosted)
"""Formats that this process writes and runs."""


def installed(kind: str) -> bool:
    """Whether a hosted format can be written and run beside archsearch."""
    return all(importlib.util.find_spec(module) for module in TOOLCHAINS[kind].convert)


def marks(kind: str, slow: bool = False) -> list[pytest.MarkDecorator]:
    """Those of a test of one format; `slow`: whatever the hosted format is."""
    found = []
    if kind in HOSTED and (slow or kind in SLOW):
        found.append(pytest.mark.slow)
    if kind in HOSTED and not installed(kind) and not os.environ.get("CI"):
        found.append(pytest.mark.skip(reason=f"needs the extra {kind}"))
    return found


def kinds(*among: str, slow: bool = False) -> list[Any]:
    """Parameters: formats."""
    return [pytest.param(kind, marks=marks(kind, slow)) for kind in among or FORMATS]


def precisions(*among: str, slow: bool = False) -> list[Any]:
    """Parameters: formats with each of their precisions."""
    return [
        pytest.param(kind, dtype, marks=marks(kind, slow))
        for kind in among or FORMATS
        for dtype in FORMATS[kind].dtypes
    ]


def name_of(kind: str, stem: str = "model") -> str:
    """A file's name."""
    return f"{stem}{FORMATS[kind].suffix}"
