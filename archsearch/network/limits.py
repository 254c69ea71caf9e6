"""Every kind of limit that a budget may set, once: options, verdicts, words, plots and tables go by this list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from archsearch._utils.units import BYTES, COUNT, MILLISECONDS, format_bytes, format_count, format_ms, format_short
from archsearch.errors import InputError, SpecError
from archsearch.network.cost import Cost
from archsearch.network.file_size import Written, element_bytes
from archsearch.network.format_size import file_bytes
from archsearch.network.ram import ram_bytes

SIZE = "size_bytes"
"""The measure that goes by the format of the file, too."""
LATENCY = "latency_ms"
"""The measure that is taken by a clock."""
RAM = "ram_bytes"
"""The measure of the arena of TensorFlow Lite Micro."""


@dataclass(frozen=True, slots=True)
class Limit:
    """One kind of limit: how it is called, what it takes of a network, and how people are told.

    Args:
        option: the argument of `Budget`; with dashes, the option of the command line.
        measure: what is limited, as tables, verdicts and `check --json` call it.
        of: its value of a cost, where bytes are those of a file that is written so. Raises SpecError: not known.
        unit: `COUNT`, `BYTES` or `MILLISECONDS`.
        noun: what stands behind a value: `parameters`; a value in bytes says enough with "".
        title: the measure for a person who sees no value.
        slug: the measure in a study's name.
        help: what the option says of itself.
        lower: the value must lie above the limit, not under it.
        weighs: the field of `cost.Layer` that says which layers weigh most.
        measured: no cost tells the value: it is measured, and `of` raises InputError.
        params_at: the parameters at which a network of nothing else breaks a limit, for plots; None: not drawn.
    """

    option: str
    measure: str
    of: Callable[[Cost, Written], int]
    unit: str
    noun: str
    title: str
    slug: str
    help: str
    lower: bool = False
    weighs: str = "params"
    measured: bool = False
    params_at: Callable[[float, Written], float] | None = None

    def words(self, value: float) -> str:
        """A value for people: `5,000,000 parameters`, `6 MB`."""
        return f"{_SHOWN[self.unit](value)} {self.noun}".rstrip()

    def counted(self, written: Written) -> str:
        """How its bytes are counted: `int8`, `LiteRT, int8`."""
        if self.measure == RAM:
            return "TensorFlow Lite Micro, int8"
        return written.words if self.measure == SIZE else written.dtype

    def label(self, value: float, written: Written) -> str:
        """A value beside a line in a plot: `5M parameters`, `6 MB at fp32`."""
        if self.unit == BYTES:
            return f"{self.words(value)} at {self.counted(written)}"
        return f"{format_short(value)} {self.noun}".rstrip()


def _unknown(cost: Cost, written: Written) -> int:
    raise InputError("milliseconds are measured: no cost tells them")


_SHOWN: dict[str, Callable[[float], str]] = {BYTES: format_bytes, COUNT: format_count, MILLISECONDS: format_ms}
LIMITS: tuple[Limit, ...] = (
    Limit(
        "max_params",
        "params",
        lambda cost, written: cost.params,
        COUNT,
        "parameters",
        "parameters",
        "params",
        "Fewer parameters than this: 5e6, 5M, 78043.",
        params_at=lambda limit, written: limit,
    ),
    Limit(
        "max_size",
        SIZE,
        file_bytes,
        BYTES,
        "",
        "bytes on disk",
        "size",
        "Fewer bytes on disk than this: 6MB (10^6), 6MiB (2^20).",
        params_at=lambda limit, written: limit / element_bytes(written.dtype),
    ),
    Limit(
        "max_macs",
        "macs",
        lambda cost, written: cost.macs,
        COUNT,
        "MACs",
        "multiply-accumulates",
        "macs",
        "Fewer multiply-accumulates for one image: 100M.",
        weighs="macs",
    ),
    Limit(
        "max_activation",
        "peak_activation_bytes",
        lambda cost, written: cost.peak_activation_bytes(written.dtype),
        BYTES,
        "of activations",
        "activation memory",
        "act",
        "Fewer bytes of live activations for one image: 1MB.",
        weighs="activation",
    ),
    Limit(
        "max_ram",
        RAM,
        lambda cost, written: ram_bytes(cost),
        BYTES,
        "of RAM",
        "RAM on a microcontroller",
        "ram",
        "Fewer bytes of TensorFlow Lite Micro's arena, for the int8 .tflite file: 64kB.",
        weighs="activation",
    ),
    Limit(
        "min_params",
        "params",
        lambda cost, written: cost.params,
        COUNT,
        "parameters",
        "parameters",
        "above",
        "More parameters than this: nothing is trained on smaller networks.",
        lower=True,
    ),
    Limit(
        "max_latency",
        LATENCY,
        _unknown,
        MILLISECONDS,
        "",
        "milliseconds for one image",
        "latency",
        "Fewer milliseconds for one image, measured before anything is trained: 5ms, 800us.",
        weighs="macs",
        measured=True,
    ),
)
"""In the order of names and tables."""


def measures(cost: Cost, written: Written) -> dict[str, int | None]:
    """All that can be counted and limited from above, of one cost, by its name; None: not known of such a network.

    Raises InputError as `file_bytes`.
    """
    return {limit.measure: _of(limit, cost, written) for limit in LIMITS if not (limit.lower or limit.measured)}


def _of(limit: Limit, cost: Cost, written: Written) -> int | None:
    try:
        return limit.of(cost, written)
    except SpecError:
        return None


def upper(measure: str) -> Limit:
    """The upper limit on a measure. Raises KeyError."""
    return {limit.measure: limit for limit in LIMITS if not limit.lower}[measure]
