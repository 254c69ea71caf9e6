"""archsearch: the most accurate small image classifiers inside a parameter or byte budget, found by search.

`count` and everything up to a verdict needs no torch; `build`, `load` and `search` import it when they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from archsearch.errors import ArchsearchError, Infeasible, InputError, SpaceExhausted, StopTraining
from archsearch.evaluation import Evaluation

if TYPE_CHECKING:
    from archsearch.inference.classifier import load
    from archsearch.network.arch import Arch, count
    from archsearch.network.budget import Budget
    from archsearch.nn.build import build
    from archsearch.space.space import SearchSpace
    from archsearch.workers.local import search

__version__ = "0.1.0"
__all__ = [
    "Arch", "ArchsearchError", "Budget", "Evaluation", "Infeasible", "InputError", "SearchSpace", "SpaceExhausted",
    "StopTraining", "build", "count", "load", "search",
]  # fmt: skip
_HOMES = {
    "Arch": "network.arch", "Budget": "network.budget", "SearchSpace": "space.space", "build": "nn.build",
    "count": "network.arch", "load": "inference.classifier", "search": "workers.local",
}  # fmt: skip


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'archsearch' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"archsearch.{_HOMES[name]}"), name)
