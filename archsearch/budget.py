"""Limits on a network, and the verdict of a cost against them. Every limit is strict: a value at it breaks it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from archsearch.cost import Cost
from archsearch.errors import InputError
from archsearch.file_size import element_bytes
from archsearch.units import format_bytes, format_count


@dataclass(frozen=True, slots=True)
class LimitCheck:
    """One limit held against one value, in the unit of the limit (values, MACs or bytes)."""

    name: str
    limit: float
    value: int
    lower: bool = False
    """Whether the value must lie above the limit, not under it."""

    @property
    def ok(self) -> bool:
        """Whether the value is on the right side of the limit."""
        return self.value > self.limit if self.lower else self.value < self.limit

    @property
    def excess(self) -> float:
        """By how much of the limit the value is beyond it: at or above zero where it is broken."""
        over = self.value / self.limit - 1
        return -over if self.lower else over

    @property
    def broke(self) -> str:
        """What is wrong where it is broken: `params>=5000000`."""
        return f"{self.name}{'<=' if self.lower else '>='}{plain(self.limit)}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What every limit says of one network."""

    limits: tuple[LimitCheck, ...]

    @property
    def ok(self) -> bool:
        """Whether every limit holds."""
        return all(check.ok for check in self.limits)

    @property
    def broke(self) -> str:
        """The broken limits for tables: `params>=5000000; size_bytes>=6000000`."""
        return "; ".join(check.broke for check in self.limits if not check.ok)

    @property
    def excess(self) -> float:
        """The largest of all limits: above or at zero where one is broken, below where all hold."""
        return max((check.excess for check in self.limits), default=-1.0)


@dataclass(frozen=True, slots=True)
class Budget:
    """Upper limits, each strict, None for none: parameters, bytes on disk, MACs, live activation bytes.

    `size_dtype` is the precision at which bytes are counted: fp32, fp16, bf16 or int8. `min_params` is a lower limit,
    for a search that shall spend nothing on small networks.

    Raises:
        InputError: a limit that is no positive number, limits that exclude each other, or an unknown dtype.
    """

    max_params: float | None = None
    max_size: float | None = None
    max_macs: float | None = None
    max_activation: float | None = None
    size_dtype: str = "fp32"
    min_params: float | None = None

    def __post_init__(self) -> None:
        element_bytes(self.size_dtype)
        for name in ("max_params", "max_size", "max_macs", "max_activation", "min_params"):
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if value is not None and not (number and 0 < value < float("inf")):
                raise InputError(f"{name} = {value!r}: must be a number above zero")
        least, most = self.min_params, self.max_params
        if least is not None and most is not None and least >= most:
            raise InputError(f"min_params = {plain(least)}: must be under max_params, {plain(most)}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as a study carries them; a lower limit only where there is one, as in older studies."""
        values = asdict(self)
        if self.min_params is None:
            del values["min_params"]
        return values

    def check(self, cost: Cost) -> Verdict:
        """Hold a cost against every limit."""
        return Verdict(tuple(LimitCheck(name, limit, of(cost), lower) for name, limit, of, lower in self._given()))

    def hold(self, values: Mapping[str, int | None]) -> Verdict:
        """Hold measured values against every limit, by the limits' names.

        Raises:
            InputError: a limit on something that was not measured.
        """
        given = self._given()
        unknown = [name for name, *_ in given if values.get(name) is None]
        if unknown:
            raise InputError(f"{' and '.join(unknown)} cannot be measured here, so no limit on it can be checked")
        return Verdict(tuple(LimitCheck(name, limit, values[name] or 0, lower) for name, limit, _, lower in given))

    def _given(self) -> list[tuple[str, float, Callable[[Cost], int], bool]]:
        """Name, limit, what it is held against, and whether it is a lower one, of every limit that there is."""
        dtype = self.size_dtype
        every: tuple[tuple[str, float | None, Callable[[Cost], int], bool], ...] = (
            ("params", self.max_params, lambda cost: cost.params, False),
            ("size_bytes", self.max_size, lambda cost: cost.size_bytes(dtype), False),
            ("macs", self.max_macs, lambda cost: cost.macs, False),
            ("peak_activation_bytes", self.max_activation, lambda cost: cost.peak_activation_bytes(dtype), False),
            ("params", self.min_params, lambda cost: cost.params, True),
        )
        return [(name, limit, of, lower) for name, limit, of, lower in every if limit is not None]

    @property
    def slug(self) -> str:
        """The limits for a folder name: `params5M-size6MB`, or `unlimited`."""
        parts = [
            ("params", self.max_params, ""),
            ("size", self.max_size, "B"),
            ("macs", self.max_macs, ""),
            ("act", self.max_activation, "B"),
            ("above", self.min_params, ""),
        ]
        found = [f"{name}{_short(limit)}{unit}" for name, limit, unit in parts if limit is not None]
        if self.size_dtype != "fp32":
            found.append(self.size_dtype)
        return "-".join(found) or "unlimited"

    @property
    def words(self) -> str:
        """The limits for people: `under 5,000,000 parameters and 6 MB (fp32), above 1,000,000 parameters`."""
        found = [
            f"{format_count(limit)} {unit}"
            for limit, unit in ((self.max_params, "parameters"), (self.max_macs, "MACs"))
            if limit is not None
        ]
        found += [
            f"{format_bytes(limit)}{unit} ({self.size_dtype})"
            for limit, unit in ((self.max_size, ""), (self.max_activation, " of activations"))
            if limit is not None
        ]
        parts = ["under " + " and ".join(found)] if found else []
        if self.min_params is not None:
            parts.append(f"above {format_count(self.min_params)} parameters")
        return ", ".join(parts) or "without a limit"


def plain(limit: float) -> str:
    """A limit as a plain number: whole where it is whole."""
    return str(int(limit)) if float(limit).is_integer() else repr(float(limit))


def _short(value: float) -> str:
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size and (value / size * 1000).is_integer():
            return f"{value / size:.15g}{suffix}"
    return plain(value)
