"""Files of other formats, by `convert.py` in the interpreter that has their converter."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

import archsearch
from archsearch._utils.toolchain import Interpreter
from archsearch.errors import ExportFailed, printable
from archsearch.export import write
from archsearch.inference.hosted import stop
from archsearch.inference.pixels import PixelNetwork
from archsearch.network.arch import Arch
from archsearch.network.blocks.imports import loaded
from archsearch.network.blocks.registry import installed

FROM_ONNX = ("openvino", "ncnn")
"""Their converters read an ONNX file; the others take the module."""
_CONVERT = Path(__file__).with_name("convert.py")
_JOBS = 50
"""Of a process that stays: converters keep some memory of each."""

Convert = Callable[[Interpreter, Path], str]
"""Does the job of a JSON file in an interpreter; why it failed, or ""."""


def once(python: Interpreter, job: Path) -> str:
    """In a process for this job alone."""
    command = [*python.command, str(_CONVERT), str(job)]
    done = subprocess.run(command, cwd=job.parent, env=python.environment, capture_output=True, text=True)
    return _last(done.stderr, done.returncode) if done.returncode else ""


class Resident:
    """In a process that stays for the next jobs, as a converter takes longer to be imported than to convert.

    It ends with this object, and after some jobs makes way for a new one. Its memory: LiteRT's 1.1 GB.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._python: Interpreter | None = None
        self._jobs = 0

    def __call__(self, python: Interpreter, job: Path) -> str:
        """As `once`. A converter that dies takes one job along."""
        process = self._process
        if process is None or process.poll() is not None or python != self._python or self._jobs == _JOBS:
            process = self._start(python)
        assert process.stdin
        assert process.stdout
        self._jobs += 1
        line = b""
        with contextlib.suppress(BrokenPipeError):  # it is dying: no line will come
            process.stdin.write(f"{job}\n".encode())
            process.stdin.flush()
            line = process.stdout.readline()
        if line:
            return str(json.loads(line))
        status = process.wait()
        self._noise.seek(0)
        said = _last(self._noise.read().decode(errors="replace"), status)
        self.close()
        return said

    def _start(self, python: Interpreter) -> subprocess.Popen[bytes]:
        self.close()
        self._noise = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        self._process = subprocess.Popen(
            [*python.command, str(_CONVERT), "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._noise,
            env=python.environment,
        )
        self._python, self._jobs = python, 0
        self._end = weakref.finalize(self, stop, self._process, self._noise)
        return self._process

    def close(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            self._end()
            self._process = None


def _last(noise: str, status: int) -> str:
    """The last line that a converter said."""
    return ([line for line in noise.splitlines() if line.strip()] or [f"status {status}"])[-1]


def onnx_for(kind: str, network: PixelNetwork, arch: Arch) -> Any:
    """The graph that a converter reads.

    pnnx 20261020 makes a blob of four dimensions of a constant (1, C, 1, 1), and ncnn multiplies an image's three by it
    wrongly where no convolution takes it in. There the normalisation is a convolution of its own.
    """
    model = write.onnx_model(network, arch)
    if kind == "ncnn":
        graph, constants = model.graph, {one.name: one for one in model.graph.initializer}
        scaled, shifted = graph.node[0], graph.node[1]
        takers = [node.op_type for node in graph.node if shifted.output[0] in node.input]
        if (scaled.op_type, shifted.op_type) == ("Mul", "Sub") and takers != ["Conv"]:
            _as_convolution(scaled, shifted, constants[scaled.input[1]], constants[shifted.input[1]])
            del graph.node[1]
    return model


def _as_convolution(scaled: Any, shifted: Any, scale: Any, shift: Any) -> None:
    """The first node, of a product and a difference, does the work of both, channel by channel."""
    from onnx import helper, numpy_helper

    factors, terms = (numpy_helper.to_array(one).reshape(-1) for one in (scale, shift))
    scale.CopyFrom(numpy_helper.from_array(factors.reshape(-1, 1, 1, 1), scale.name))
    shift.CopyFrom(numpy_helper.from_array(-terms, shift.name))
    inputs, outputs = [*scaled.input, shift.name], [*shifted.output]
    scaled.CopyFrom(helper.make_node("Conv", inputs, outputs, shifted.name, group=len(factors), kernel_shape=[1, 1]))


@dataclass(frozen=True)
class Job:
    """A file to write."""

    kind: str
    dtype: str
    per_channel: bool
    path: Path
    convert: Convert = once

    def do(
        self, weights: Path, network: PixelNetwork, arch: Arch, calibration: Tensor | None, python: Interpreter
    ) -> None:
        """Write it, without metadata.

        Args:
            weights: the safetensors file of `network`.
            calibration: uint8 (N, C, H, W), for int8.

        Raises:
            ExportFailed: the converter does not take the network.
        """
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            job = {
                "format": self.kind,
                "dtype": self.dtype,
                "per_channel": self.per_channel,
                "out": str(self.path.absolute()),
                "package": str(Path(archsearch.__file__).parent),
                "weights": str(weights.absolute()),
                "shape": arch.input_shape,
                "imports": loaded(),
                "installed": installed(),
                "here": str(Path.cwd()),
            }
            if self.kind in FROM_ONNX:
                job["onnx"] = str(folder / "network.onnx")
                write.write_onnx(folder / "network.onnx", onnx_for(self.kind, network, arch), arch, {})
            if calibration is not None:
                job["calibration"] = str(folder / "calibration.npy")
                np.save(folder / "calibration.npy", calibration.numpy())
            (folder / "job.json").write_text(json.dumps(job))
            said = self.convert(python, folder / "job.json")
        if said or not self.path.is_file():
            raise ExportFailed(
                f"this network cannot be converted to {self.kind}: {printable(said or 'it wrote no file')}"
            )
