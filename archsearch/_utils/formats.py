"""The formats of trained files: their names, their files, and what they are written at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Format:
    """One format.

    Args:
        suffix: of its file, with which `model` and a dtype make a name.
        dtypes: precisions at which `export` writes it.
        words: for people.
        pair: a second file, `.bin`, belongs to it.
        hosted: its runtime has a process of its own, see `inference.hosted`.
    """

    suffix: str
    dtypes: tuple[str, ...]
    words: str
    pair: bool = False
    hosted: bool = True


FORMATS = {
    "safetensors": Format(".safetensors", ("fp32", "fp16", "bf16"), "safetensors", hosted=False),
    "onnx": Format(".onnx", ("fp32", "fp16", "int8", "int8-weights"), "ONNX", hosted=False),
    "pt2": Format(".pt2", ("fp32", "fp16", "bf16"), ".pt2", hosted=False),
    "litert": Format(".tflite", ("fp32", "int8", "int8-weights"), "LiteRT"),
    "executorch": Format(".pte", ("fp32", "int8"), "ExecuTorch"),
    "openvino": Format(".xml", ("fp32", "fp16", "int8", "int8-weights"), "OpenVINO", pair=True),
    "ncnn": Format(".ncnn.param", ("fp32", "fp16"), "ncnn", pair=True),
}
"""By the name that `--format` takes. int8 is each runtime's own quantisation. With int8-weights it computes in float.
"""


def format_of(path: Path) -> str:
    """The format by a file's name: what has no suffix of another is safetensors."""
    name = path.name.removesuffix(".xz") if path.name.endswith(".onnx.xz") else path.name
    found = (kind for kind, form in FORMATS.items() if name.endswith(form.suffix.removeprefix(".ncnn")))
    return next(found, "safetensors")


def file_name(kind: str, dtype: str) -> str:
    """What `export` calls a file of a format at a precision."""
    suffix = FORMATS[kind].suffix
    return f"model{suffix}" if dtype == "fp32" else f"model.{dtype}{suffix}"


def files_of(path: Path) -> list[Path]:
    """The files that a network in this format is: the one that is named, and the one beside it."""
    return [path, path.with_suffix(".bin")] if FORMATS[format_of(path)].pair else [path]


def bytes_of(path: Path) -> int:
    """Of all its files. Raises OSError."""
    return sum(file.stat().st_size for file in files_of(path))
