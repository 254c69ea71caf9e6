"""Limits on a network, and the verdict of a cost against them. Every limit is strict: a value at it breaks it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from archsearch._utils.units import BYTES, MILLISECONDS
from archsearch.errors import InputError
from archsearch.network.cost import Cost
from archsearch.network.file_size import SAFETENSORS, Written, element_bytes
from archsearch.network.format_size import check_written
from archsearch.network.limits import LIMITS, Limit
from archsearch.network.timing import Timing

_NOTHING: Mapping[str, float] = {}
_UNITS = {BYTES: "B", MILLISECONDS: "ms"}
"""Behind a value in a study's name."""


@dataclass(frozen=True, slots=True)
class LimitCheck:
    """One limit held against one value, in the unit of the limit (values, MACs, bytes or milliseconds)."""

    name: str
    limit: float
    value: float
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


@dataclass(frozen=True, init=False)
class Budget:
    """Limits of a network, each strict: `Budget(max_params=5e6, max_size=6e6, size_dtype="int8")`.

    Args:
        size_dtype: the precision at which bytes are counted: fp32, fp16, bf16 or int8.
        size_format: the format of the file whose bytes `max_size` bounds: safetensors, onnx, litert
            or ncnn.
        timing: how the milliseconds are measured that `max_latency` bounds; plain values will do, None for
            ONNX Runtime by one thread.
        limits: by the options of `limits.LIMITS`, such as `max_params`, `max_size`, `max_ram` (bytes), `max_macs`,
            `max_activation` (bytes), `min_params` and `max_latency` (milliseconds); None for none.

    Raises:
        InputError: a limit that is no positive number, limits that exclude each other, an unknown dtype or format,
            or a format that has no such dtype.
        TypeError: no limit of this name.
    """

    size_dtype: str
    size_format: str
    limits: tuple[tuple[str, float], ...]
    """The option and value of each limit that is set, in the order of `LIMITS`."""
    timing: Timing | None
    """None where no milliseconds are limited."""

    def __init__(
        self,
        *,
        size_dtype: str = "fp32",
        size_format: str = SAFETENSORS,
        timing: Timing | Mapping[str, Any] | None = None,
        **limits: float | None,
    ) -> None:
        known = [limit.option for limit in LIMITS]
        if unknown := sorted(limits.keys() - set(known)):
            raise TypeError(f"{unknown[0]} is no limit: use one of {', '.join(known)}")
        element_bytes(size_dtype)
        check_written(Written(size_dtype, size_format))
        found = [(name, _positive(name, limits[name])) for name in known if limits.get(name) is not None]
        object.__setattr__(self, "size_dtype", size_dtype)
        object.__setattr__(self, "size_format", size_format)
        object.__setattr__(self, "limits", tuple(found))
        timed = any(limit.measured for limit, _ in self)
        object.__setattr__(self, "timing", Timing.of(timing) if timed else None)
        self._check_order()

    def _check_order(self) -> None:
        """Refuse a lower limit that no network under the upper one of the same measure can meet."""
        most = {limit.measure: (limit, value) for limit, value in self if not limit.lower}
        for limit, least in self:
            above = most.get(limit.measure)
            if limit.lower and above and least >= above[1]:
                raise InputError(f"{limit.option} = {plain(least)}: must be under {above[0].option}, {plain(above[1])}")

    @property
    def written(self) -> Written:
        """How the file is written whose bytes count."""
        return Written(self.size_dtype, self.size_format)

    def __iter__(self) -> Iterator[tuple[Limit, float]]:
        """Every limit that is set, and its value."""
        return iter(_paired(self.limits))

    @property
    def exact(self) -> list[tuple[Limit, float]]:
        """The limits that are set on what a cost tells, and their values."""
        return [(limit, value) for limit, value in self if not limit.measured]

    def get(self, option: str) -> float | None:
        """The value of a limit such as `max_size`, None where it is not set."""
        return dict(self.limits).get(option)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as a study carries them: the limits that are set, the dtype, and what is not usual."""
        form = {} if self.size_format == SAFETENSORS else {"size_format": self.size_format}
        timing = {"timing": self.timing.to_dict()} if self.timing else {}
        return {**dict(self.limits), "size_dtype": self.size_dtype, **form, **timing}

    def check(self, cost: Cost, measured: Mapping[str, float] = _NOTHING) -> Verdict:
        """Hold a cost against every limit.

        measured: values that no cost tells, by the measures' names; limits on others of these are left out.

        Raises:
            SpecError: a limit on what is not known of such a network.
        """
        written = self.written
        found = (
            LimitCheck(one.measure, limit, measured[one.measure] if one.measured else one.of(cost, written), one.lower)
            for one, limit in self
            if not one.measured or one.measure in measured
        )
        return Verdict(tuple(found))

    def hold(self, values: Mapping[str, float | None]) -> Verdict:
        """Hold measured values against every limit, by the measures' names.

        Raises:
            InputError: a limit on something that was not measured.
        """
        unknown = [limit.measure for limit, _ in self if values.get(limit.measure) is None]
        if unknown:
            raise InputError(f"{' and '.join(unknown)} cannot be measured here, so no limit on it can be checked")
        return Verdict(tuple(LimitCheck(o.measure, limit, values[o.measure] or 0, o.lower) for o, limit in self))

    @property
    def slug(self) -> str:
        """The limits for a folder name: `params5M-size6MB`, or `unlimited`."""
        found = [f"{limit.slug}{_short(value)}{_UNITS.get(limit.unit, '')}" for limit, value in self]
        if self.timing and self.timing.slug:
            found.append(self.timing.slug)
        if self.size_format != SAFETENSORS:
            found.append(self.size_format)
        if self.size_dtype != "fp32":
            found.append(self.size_dtype)
        return "-".join(found) or "unlimited"

    @property
    def words(self) -> str:
        """The limits for people: `under 5,000,000 parameters and 6 MB (fp32), above 1,000,000 parameters`."""
        counts_first = sorted(self, key=lambda pair: pair[0].unit == BYTES)
        most = [self._words(limit, value) for limit, value in counts_first if not limit.lower]
        least = [f"above {limit.words(value)}" for limit, value in self if limit.lower]
        return ", ".join([*(["under " + " and ".join(most)] if most else []), *least]) or "without a limit"

    def _words(self, limit: Limit, value: float) -> str:
        if limit.measured and self.timing:
            return f"{limit.words(value)} ({self.timing.words})"
        return limit.words(value) + (f" ({limit.counted(self.written)})" if limit.unit == BYTES else "")

    @property
    def edges(self) -> dict[float, str]:
        """Where limits lie on an axis of parameters, and what to write there."""
        found: dict[float, str] = {}
        for limit, value in self:
            if limit.params_at:
                at, words = limit.params_at(value, self.written), limit.label(value, self.written)
                found[at] = f"{found[at]}, {words}" if at in found else words
        return found


@lru_cache(maxsize=64)
def _paired(limits: tuple[tuple[str, float], ...]) -> tuple[tuple[Limit, float], ...]:
    by_option = {limit.option: limit for limit in LIMITS}
    return tuple((by_option[option], value) for option, value in limits)


def _positive(name: str, value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf"):
        return value
    raise InputError(f"{name} = {value!r}: must be a number above zero")


def plain(limit: float) -> str:
    """A limit as a plain number: whole where it is whole."""
    return str(int(limit)) if float(limit).is_integer() else repr(float(limit))


def _short(value: float) -> str:
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size and (value / size * 1000).is_integer():
            return f"{value / size:.15g}{suffix}"
    return plain(value)
