"""A file in a runtime that has a process of its own: `host.py`, in the interpreter that has the runtime.

What a file from elsewhere does to its runtime, it does there: a crash is one line here.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import tempfile
import weakref
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from archsearch._utils.formats import FORMATS, files_of, format_of
from archsearch._utils.toolchain import HERE, Interpreter, interpreter
from archsearch.errors import InputError, printable
from archsearch.inference.latency import Work
from archsearch.network.blocks.imports import loaded

_HOST = Path(__file__).with_name("host.py")
_LEAST, _MOST = 16, 24
"""Bits of a footprint: 64 KiB to 16 MiB."""
TORCH = "torch"
"""The runtime of safetensors and .pt2 files: archsearch itself."""


class Hosted:
    """float32 pixels (N, C, H, W) in [0, 1] to float32 logits (N, classes), by a runtime.

    `kind`: a format whose runtime has a process of its own anyway, `onnx`, or `TORCH`.

    Attributes:
        about: what the runtime says: `runtime`, `version`, `shape` and `batch` of the input (None: any), and
            `input` and `output` with `dtype` and, for integers, `scale` and `zero_point`; and the version of `numpy`,
            which does the fixed work of `moments`.
        footprint: bytes that the fixed work of `moments` reads: about those of the file, a power of two.
    """

    def __init__(self, kind: str, path: Path, interpreter: Interpreter, threads: int) -> None:
        self._path = path
        imports = loaded() if kind == TORCH else ()
        self._noise = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        self._process = subprocess.Popen(
            [*interpreter.command, str(_HOST), kind, str(path.absolute()), str(threads), *imports],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._noise,
            env=interpreter.environment,
        )
        weakref.finalize(self, stop, self._process, self._noise)
        self.about = self._answer()
        self.footprint = 1 << min(max((files_of(path)[-1].stat().st_size - 1).bit_length(), _LEAST), _MOST)

    @property
    def work(self) -> tuple[str, str]:
        """The parts of the fixed work of `moments`: whose they are, and how many bytes are read."""
        whose = f"numpy {self.about['numpy']}"
        return f"{whose}, product", f"{whose}, {self.footprint} bytes"

    def __call__(self, pixels: Tensor) -> Tensor:
        """Logits. Raises InputError where the runtime refuses or dies."""
        values = np.ascontiguousarray(pixels.detach().numpy(), np.float32)
        self._order({"run": values.shape}, values.tobytes())
        shape = self._answer()["shape"]
        assert self._process.stdout
        size = 4 * int(np.prod(shape))
        raw = self._process.stdout.read(size)
        if len(raw) < size:
            raise self._death()
        return torch.from_numpy(np.frombuffer(raw, np.float32).reshape(shape).copy())

    def moments(self, shape: tuple[int, ...], seconds: float) -> tuple[list[Work], list[list[float]]]:
        """Milliseconds of a fixed piece of work and, between each two of it, of a few single images (C, H, W), warm.

        At least one moment, so two of the fixed work, which takes as many threads. Raises InputError as a call does.
        """
        self._order({"time": {"shape": shape, "footprint": self.footprint, "seconds": seconds}})
        found = self._answer()
        return [(product, reading) for product, reading in found["work"]], found["runs"]

    def ram(self, shape: tuple[int, ...]) -> int | None:
        """Bytes that the runtime takes for the tensors of one image (C, H, W); None where it does not tell.

        Raises InputError as a call does.
        """
        self._order({"ram": shape})
        found: int | None = self._answer()["bytes"]
        return found

    def close(self) -> None:
        """End the process."""
        stop(self._process, self._noise)

    def _order(self, order: dict[str, Any], values: bytes = b"") -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps(order).encode() + b"\n" + values)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._death() from None

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise self._death()
        found: dict[str, Any] = json.loads(line)
        if "error" in found:
            raise InputError(f"{self._path}: its runtime says {printable(found['error'])}")
        return found

    def _death(self) -> InputError:
        status = self._process.wait()
        self._noise.seek(0)
        lines = self._noise.read().decode(errors="replace").strip().splitlines()
        how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        return InputError(f"{self._path}: its runtime died ({how}){': ' + printable(lines[-1][:200]) if lines else ''}")


def host(path: Path, threads: int, data_dir: Path) -> Hosted:
    """A file of any format in a process of its own, in the runtime of its users.

    Raises:
        InputError: its runtime is not here, or does not take it.
    """
    kind = format_of(path)
    if FORMATS[kind].hosted:
        return Hosted(kind, path, interpreter(kind, data_dir), threads)
    return Hosted(kind if kind == "onnx" else TORCH, path, HERE, threads)


def shape_of(hosted: Hosted) -> tuple[int, ...]:
    """(C, H, W) as a file says it. Raises InputError where it leaves a size open."""
    shape = tuple(hosted.about["shape"][1:])
    if len(shape) != 3 or min(shape) < 1:
        raise InputError("the file does not say the size of its images, and archsearch did not write it")
    return shape


def stop(process: subprocess.Popen[bytes], noise: BinaryIO) -> None:
    """End a process, and close its streams and the file of what it said."""
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, noise):
        with contextlib.suppress(BrokenPipeError):  # what was not written to a process that died
            if stream:
                stream.close()
