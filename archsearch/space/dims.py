"""Dims of a search space: an integer or float range, or a choice. A bare value is a constant.

{ int = [16, 256], step = 16 }    { int = [8, 512], log = true }
{ float = [1e-4, 1.0], log = true }    { choice = ["basic", "nin"] }
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from archsearch.network.blocks.registry import Value, unknown


@dataclass(frozen=True, slots=True)
class Int:
    """Whole numbers from `low` to `high`, both included, in steps of `step`, or spread over the logarithm."""

    low: int
    high: int
    step: int = 1
    log: bool = False

    @property
    def values(self) -> range:
        """Every value."""
        return range(self.low, self.high + 1, self.step)


@dataclass(frozen=True, slots=True)
class Float:
    """Numbers from `low` to `high`, both included, or spread over the logarithm."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several values."""

    options: tuple[Value, ...]

    @property
    def values(self) -> tuple[Value, ...]:
        """Every value."""
        return self.options


Dim = Int | Float | Choice
_KEYS = {"int": ("int", "step", "log"), "float": ("float", "log"), "choice": ("choice",)}
DIM_KINDS = frozenset(_KEYS)


def parse_dim(spec: object) -> Dim | Value:
    """A dim or a constant from its TOML value.

    Raises:
        ValueError: a one-line description of what is wrong.
    """
    if isinstance(spec, bool | int | float | str):
        if isinstance(spec, float) and not math.isfinite(spec):
            raise ValueError(f"{spec!r} is no finite number")
        return spec
    if not isinstance(spec, Mapping):
        raise ValueError(f"{spec!r} is neither a constant nor a dim such as {{ int = [1, 4] }}")
    kinds = [kind for kind in _KEYS if kind in spec]
    if len(kinds) != 1:
        near = unknown(next(iter(spec), ""), _KEYS)
        raise ValueError(f"a dim has exactly one of int, float, choice, not {kinds or near}")
    for key in spec:
        if key not in _KEYS[kinds[0]]:
            raise ValueError(f"a dim of {kinds[0]} has no key {unknown(key, _KEYS[kinds[0]])}")
    return _choice(spec["choice"]) if kinds[0] == "choice" else _range(kinds[0], spec)


def _choice(options: object) -> Choice:
    if not isinstance(options, list) or not options:
        raise ValueError(f"choice = {options!r}: must be a list of values")
    if not all(isinstance(option, bool | int | float | str) for option in options):
        raise ValueError(f"choice = {options!r}: must be numbers, strings or booleans")
    if len({(type(option), option) for option in options}) < len(options):
        raise ValueError(f"choice = {options!r}: has a value twice")
    return Choice(tuple(options))


def _range(kind: str, spec: Mapping[str, object]) -> Int | Float:
    low, high = _limits(kind, spec[kind])
    log, step = spec.get("log", False), spec.get("step", 1)
    if not isinstance(log, bool):
        raise ValueError(f"log = {log!r}: must be true or false")
    if log and low <= 0:
        raise ValueError(f"{kind} = {spec[kind]!r} with log: low must be above zero")
    if kind == "float":
        return Float(float(low), float(high), log)
    if not isinstance(step, int) or isinstance(step, bool) or step < 1 or (log and step != 1):
        raise ValueError(f"step = {step!r}: must be a whole number of at least 1, and not together with log")
    if (high - low) % step:
        raise ValueError(f"int = {spec[kind]!r}: high is not a whole number of steps of {step} above low")
    return Int(int(low), int(high), step, log)


def _limits(kind: str, ends: object) -> tuple[float, float]:
    wanted = int if kind == "int" else int | float
    if not isinstance(ends, list) or len(ends) != 2:
        raise ValueError(f"{kind} = {ends!r}: must be [low, high]")
    if not all(isinstance(end, wanted) and not isinstance(end, bool) for end in ends):
        raise ValueError(
            f"{kind} = {ends!r}: must be [low, high], both {'whole numbers' if kind == 'int' else 'numbers'}"
        )
    low, high = ends
    # Optuna keeps ranges as floats and 64-bit integers.
    if not (low <= high and abs(low) < 2**53 and abs(high) < 2**53):
        raise ValueError(f"{kind} = {ends!r}: low must not be above high, and both finite")
    return low, high
