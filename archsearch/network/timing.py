"""How the milliseconds are measured that a budget limits: by which runtime, at which precision, where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from archsearch._utils.formats import FORMATS
from archsearch._utils.units import counted
from archsearch.errors import InputError


class Runtime(NamedTuple):
    """What runs a file: the format of its files, the package that it is in, its name."""

    kind: str
    package: str
    words: str


RUNTIMES = {
    "onnxruntime": Runtime("onnx", "onnxruntime", "ONNX Runtime"),
    "litert": Runtime("litert", "ai-edge-litert", "LiteRT"),
    "executorch": Runtime("executorch", "executorch", "ExecuTorch"),
}
"""By the name that `--runtime` takes."""
_DEFAULT, _PRECISION = "onnxruntime", "fp32"


@dataclass(frozen=True)
class Timing:
    """How one image's milliseconds are measured.

    Args:
        runtime: one of `RUNTIMES`.
        precision: of the file: one that `export` writes in the runtime's format.
        threads: of the runtime.
        command: measures a file elsewhere, see `inference.elsewhere`; "" for this machine.
        machine: on which kind of machine the limit holds, "" for any: a study has that of its first run.

    Raises:
        InputError: an unknown runtime, a precision that its files do not have, no thread.
    """

    runtime: str = _DEFAULT
    precision: str = _PRECISION
    threads: int = 1
    command: str = ""
    machine: str = ""

    def __post_init__(self) -> None:
        if self.runtime not in RUNTIMES:
            raise InputError(f"unknown runtime {self.runtime!r}: use one of {', '.join(RUNTIMES)}")
        known = FORMATS[self.kind].dtypes
        if self.precision not in known:
            raise InputError(f"{self.runtime} files are written at {', '.join(known)}, not at {self.precision!r}")
        if self.threads < 1:
            raise InputError(f"threads = {self.threads!r}: must be at least 1")

    @property
    def kind(self) -> str:
        """The format of the file."""
        return RUNTIMES[self.runtime].kind

    @property
    def words(self) -> str:
        """For people: `ONNX Runtime, fp32, 1 thread`."""
        where = [f"by {self.command}"] if self.command else []
        return ", ".join([RUNTIMES[self.runtime].words, self.precision, counted(self.threads, "thread"), *where])

    @property
    def slug(self) -> str:
        """For a folder's name: what is not as it is by default, `litert-int8`."""
        found = [
            self.runtime if self.runtime != _DEFAULT else "",
            self.precision if self.precision != _PRECISION else "",
            f"{self.threads}threads" if self.threads > 1 else "",
            "elsewhere" if self.command else "",
        ]
        return "-".join(word for word in found if word)

    def to_dict(self) -> dict[str, Any]:
        """Plain values; what is empty is left out."""
        return {name: value for name, value in asdict(self).items() if value != ""}

    @classmethod
    def of(cls, values: Timing | Mapping[str, Any] | None) -> Timing:
        """Itself, what `to_dict` gave, or the default. Raises InputError, TypeError."""
        return values if isinstance(values, Timing) else cls(**(values or {}))
