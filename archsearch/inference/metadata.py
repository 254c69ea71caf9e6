"""What a trained file says of itself, changed: its weights and its graph stay as they are."""

from __future__ import annotations

import io
import json
import lzma
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from archsearch._utils.files import write_with
from archsearch._utils.formats import FORMATS, files_of, format_of
from archsearch.errors import InputError
from archsearch.inference.onnx import content, need
from archsearch.inference.pt2 import METADATA
from archsearch.network.arch import Arch
from archsearch.network.blocks.registry import is_a
from archsearch.nn import trailer, weights

TEMPERATURE = "temperature"


def temperature_of(info: Mapping[str, Any], path: object) -> float:
    """What the logits are divided by before the softmax: 1 where the file has none. Raises InputError."""
    value = info.get(TEMPERATURE, 1.0)
    if not is_a(value, float) or value <= 0:
        raise InputError(f"{path}: its temperature {value!r} is no number above 0")
    return float(value)


def store(path: Path, arch: Arch, info: Mapping[str, Any]) -> Path:
    """Write a file again, whole, with the metadata of `arch` and `info`, as `open_runner` gave them.

    Raises:
        InputError: its class names lie beside it and are missing, or a package is missing that can write it.
        OSError: the file cannot be written.
    """
    weights.require_names(info, path)
    kind = format_of(path)
    if kind == "safetensors":
        return weights.save_info(path, arch, info)
    metadata = weights.describe(arch, info)
    if FORMATS[kind].hosted:
        return attach(path, metadata)
    fill = _with_onnx if kind == "onnx" else _with_pt2
    return write_with(path, lambda temporary: temporary.write_bytes(fill(path, metadata)))


def attach(path: Path, metadata: Mapping[str, str]) -> Path:
    """Put metadata behind a file whose runtime has a process of its own, whole. Raises OSError."""
    *first, last = files_of(path)
    about = trailer.pair(path, metadata) if first else metadata
    write_with(last, lambda temporary: temporary.write_bytes(trailer.append(last.read_bytes(), about)))
    return path


def _with_onnx(path: Path, metadata: Mapping[str, str]) -> bytes:
    onnx = need("onnx")
    model = onnx.load_model_from_string(content(path))
    kept = {entry.key: entry.value for entry in model.metadata_props} | dict(metadata)
    del model.metadata_props[:]
    for key, value in kept.items():
        model.metadata_props.add(key=key, value=value)
    found: bytes = model.SerializeToString()
    return lzma.compress(found, preset=9 | lzma.PRESET_EXTREME) if path.suffix == ".xz" else found


def _with_pt2(path: Path, metadata: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as new:
        for member in old.infolist():
            mine = member.filename.partition("/")[2] == f"extra/{METADATA}"
            new.writestr(member.filename, json.dumps(metadata) if mine else old.read(member))
    return buffer.getvalue()
