"""Files of other formats, by `convert.py` in the interpreter that has their converter."""

from __future__ import annotations

import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

import archsearch
from archsearch._utils.toolchain import Interpreter
from archsearch.errors import ExportFailed, printable
from archsearch.export import write
from archsearch.inference.pixels import PixelNetwork
from archsearch.network.arch import Arch
from archsearch.network.blocks.imports import loaded
from archsearch.network.blocks.registry import installed

FROM_ONNX = ("openvino", "ncnn")
"""Their converters read an ONNX file; the others take the module."""
_CONVERT = Path(__file__).with_name("convert.py")


@dataclass(frozen=True)
class Job:
    """A file to write."""

    kind: str
    dtype: str
    per_channel: bool
    path: Path

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
                write.write_onnx(folder / "network.onnx", write.onnx_model(network, arch), arch, {})
            if calibration is not None:
                job["calibration"] = str(folder / "calibration.npy")
                np.save(folder / "calibration.npy", calibration.numpy())
            (folder / "job.json").write_text(json.dumps(job))
            self._run(folder, python)

    def _run(self, folder: Path, python: Interpreter) -> None:
        command = [*python.command, str(_CONVERT), str(folder / "job.json")]
        done = subprocess.run(command, cwd=folder, env=python.environment, capture_output=True, text=True)
        if done.returncode or not self.path.is_file():
            said = [line for line in done.stderr.splitlines() if line.strip()] or [f"status {done.returncode}"]
            raise ExportFailed(f"this network cannot be converted to {self.kind}: {printable(said[-1])}")
