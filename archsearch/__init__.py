"""archsearch: the most accurate small image classifiers inside a parameter or byte budget, found by search.

`count` and everything up to a verdict needs no torch; `build`, `load` and `search` import it when they are used.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from archsearch.errors import ArchsearchError, Infeasible, InputError, SpaceExhausted, StopTraining
from archsearch.evaluation import Evaluation

if TYPE_CHECKING:
    from archsearch.arch import Arch, count
    from archsearch.budget import Budget
    from archsearch.modules import build
    from archsearch.search import search
    from archsearch.space import SearchSpace
    from archsearch.weights import load

__version__ = "0.1.0"
__all__ = [
    "Arch", "ArchsearchError", "Budget", "Evaluation", "Infeasible", "InputError", "SearchSpace", "SpaceExhausted",
    "StopTraining", "build", "count", "load", "search",
]  # fmt: skip
_HOMES = {
    "Arch": "arch", "Budget": "budget", "SearchSpace": "space", "build": "modules", "count": "arch",
    "load": "weights", "search": "search",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'archsearch' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"archsearch.{_HOMES[name]}"), name)


class _Package(ModuleType):
    """`archsearch.search` is the function, also once the import system wants to put its submodule there."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "search" or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
