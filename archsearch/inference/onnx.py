"""ONNX files in ONNX Runtime, on the CPU; as they are, or compressed by xz."""

from __future__ import annotations

import importlib
import lzma
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from archsearch.errors import InputError

IMAGES, LOGITS = "images", "logits"
_MOST_BYTES = 2**31
"""What a protobuf file can hold."""


def need(name: str) -> Any:
    """An optional package. Raises InputError, which names the extra, where it is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0]:
            raise
        raise InputError(f"ONNX files need {error.name}: pip install 'archsearch[export]'") from None


@dataclass(frozen=True)
class Session:
    """An ONNX Runtime session as a function of pixels."""

    session: Any

    def __call__(self, pixels: Tensor) -> Tensor:
        return torch.from_numpy(self.session.run([LOGITS], {IMAGES: pixels.detach().numpy()})[0])


def content(path: Path) -> bytes:
    """The model's bytes: the file's own, or those that a `.xz` file holds.

    Raises:
        InputError: no whole xz file, or one that grows beyond what an ONNX file can hold.
        OSError: it cannot be read.
    """
    if path.suffix != ".xz":
        return path.read_bytes()
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ)
    try:
        found = decompressor.decompress(path.read_bytes(), max_length=_MOST_BYTES)
    except lzma.LZMAError as error:
        raise InputError(f"{path}: no file that xz wrote: {error}") from None
    if not decompressor.eof:
        reason = "it is cut off" if decompressor.needs_input else "it holds more than 2 GiB"
        raise InputError(f"{path}: no compressed ONNX file: {reason}")
    return found


def load(path: Path) -> tuple[dict[str, str], Session]:
    """The metadata of a file, and its graph ready to run.

    Raises:
        InputError: ONNX Runtime is not installed, or cannot read the file.
    """
    runtime = need("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        # From bytes: what lies beside a file from elsewhere is none of its tensors.
        session = runtime.InferenceSession(content(path), options, providers=["CPUExecutionProvider"])
    except (OSError, InputError):
        raise
    except Exception as error:  # noqa: BLE001 - ONNX Runtime has an unrelated exception for every kind of fault
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: no ONNX file that can be run: {reason}") from None
    return dict(session.get_modelmeta().custom_metadata_map), Session(session)
