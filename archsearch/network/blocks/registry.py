"""Blocks, stems and heads by name: functions from dims to an expression.

    @block("nin")
    def nin(c_in: int, width: int, stride: int, *, kernel: int = 3) -> Expr: ...

A block takes the input channels, its width (output channels) and the stride of its first layer; a stem takes
the input channels; a head takes the input shape and the number of classes. Keyword-only parameters are its
dims: their names, types and defaults are what an architecture or space file may set. Installed packages add
their own through the entry-point group `archsearch.blocks`: each entry point is a module that registers
blocks when it is imported.
"""

from __future__ import annotations

import difflib
import inspect
import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.metadata import entry_points
from typing import Any, TypeVar, cast, get_type_hints

from archsearch.errors import SpecError
from archsearch.network.layers import Expr

Value = int | float | str | bool
Dims = tuple[tuple[str, Value], ...]
Builder = TypeVar("Builder", bound=Callable[..., Expr])


@dataclass(frozen=True, slots=True)
class Entry:
    """A registered builder and the dims it takes: name to (type, default).

    `layers`: what its convolutions and linear layers are called, in order, those of shortcuts and gates left out.
    Networks inherit weights from layers of equal names in other blocks too (`network.kin`); () for those of its own
    name alone, by number.
    """

    kind: str
    name: str
    build: Callable[..., Expr]
    dims: dict[str, tuple[type, Value]]
    layers: tuple[str, ...] = ()

    def problems(self, dims: Iterable[tuple[str, Value]]) -> list[str]:
        """What is wrong with dims, one line each: unknown names, values of the wrong type."""
        return [problem for name, value in dims for problem in self._problems(name, value)]

    def _problems(self, name: str, value: Value) -> list[str]:
        if name not in self.dims:
            return [f"{self.kind} {self.name!r} has no {unknown(name, self.dims)}"]
        wanted, _ = self.dims[name]
        if is_a(value, wanted):
            return []
        return [f"{name} = {value!r}: {self.kind} {self.name!r} takes {a_type(wanted)} here"]


_REGISTRY: dict[tuple[str, str], Entry] = {}
_installed: dict[str, None] = {}
"""Modules that entry points have named."""
_forget: list[Callable[[], None]] = []
Function = TypeVar("Function", bound=Callable[..., Any])


def cached(size: int) -> Callable[[Function], Function]:
    """A cache of `size` results that is emptied whenever a builder is registered, since they may change then."""

    def decorate(function: Function) -> Function:
        remembering = lru_cache(maxsize=size)(function)
        _forget.append(remembering.cache_clear)
        return cast(Function, remembering)

    return decorate


def forget() -> None:
    """Empty every cache of results that depend on registered builders."""
    for clear in _forget:
        clear()


def stem(name: str) -> Callable[[Builder], Builder]:
    """Register `(c_in, *, dims) -> Expr`, the layers between the image and the first stage."""
    return _register("stem", name)


def block(name: str, layers: tuple[str, ...] = ()) -> Callable[[Builder], Builder]:
    """Register `(c_in, width, stride, *, dims) -> Expr`, the unit that a stage repeats.

    `layers`: see `Entry`. Where there are fewer of them they have the last names, where there are more they repeat it.
    """
    return _register("block", name, layers)


def head(name: str, layers: tuple[str, ...] = ()) -> Callable[[Builder], Builder]:
    """Register `(shape, classes, *, dims) -> Expr`, from the last map to the logits. `layers`: as for a block."""
    return _register("head", name, layers)


def _register(kind: str, name: str, layers: tuple[str, ...] = ()) -> Callable[[Builder], Builder]:
    def decorate(build: Builder) -> Builder:
        known = _REGISTRY.get((kind, name))
        if known is not None and known.build.__module__ != build.__module__:
            raise ValueError(f"{kind} {name!r} is registered by {known.build.__module__} already: choose another name")
        _REGISTRY[kind, name] = Entry(kind, name, build, _dims_of(build), layers)
        forget()
        return build

    return decorate


def _dims_of(build: Callable[..., Expr]) -> dict[str, tuple[type, Value]]:
    hints = get_type_hints(build)
    parameters = inspect.signature(build).parameters.values()
    return {p.name: (hints[p.name], p.default) for p in parameters if p.kind is p.KEYWORD_ONLY}


def names(kind: str) -> list[str]:
    """Every registered name of a kind (stem, block, head), sorted, installed packages' included."""
    _load_entry_points()
    return sorted(name for found, name in _REGISTRY if found == kind)


def lookup(kind: str, name: str) -> Entry:
    """The entry of a stem, block or head.

    Raises:
        SpecError: no such name; the message has the nearest one.
    """
    if (kind, name) not in _REGISTRY:
        _load_entry_points()
    try:
        return _REGISTRY[kind, name]
    except KeyError:
        own = "a block of your own is known after --import FILE"
        raise SpecError(f"there is no {kind} {unknown(name, names(kind))}; {own}") from None


@cached(1 << 14)
def expand(kind: str, name: str, args: tuple[Any, ...], dims: Dims) -> Expr:
    """The expression of a registered builder; equal calls give the identical expression, so costs are cached."""
    return lookup(kind, name).build(*args, **dict(dims))


@cache
def _load_entry_points() -> None:
    for point in entry_points(group="archsearch.blocks"):
        point.load()
        _installed[point.module] = None


def installed() -> dict[str, str | None]:
    """Modules that brought blocks by entry points, each with its package's file: what another environment lacks."""
    return {name: sys.modules[name.partition(".")[0]].__file__ for name in _installed}


def unknown(name: object, known: Iterable[str]) -> str:
    """'nmae' (did you mean 'name'?), or the list of what there is."""
    options = sorted(known)
    near = difflib.get_close_matches(str(name), options, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(options) or 'none'}"
    return f"{name!r} ({hint})"


def is_a(value: object, wanted: type) -> bool:
    """Whether a TOML value is of a dim's type: a whole number is a float; a boolean, NaN or inf is no number."""
    if wanted is bool or isinstance(value, bool):
        return wanted is bool and isinstance(value, bool)
    if isinstance(value, float) and not math.isfinite(value):
        return False
    return isinstance(value, (int, float) if wanted is float else wanted)


def a_type(wanted: type) -> str:
    """A type in words, for messages."""
    return {int: "a whole number", float: "a finite number", str: "a string", bool: "true or false"}.get(
        wanted, str(wanted)
    )
