"""Files as targets of `archsearch check`: what each kind of them says of the network in it, without running it.

Weights (safetensors, torch) are counted by their tensors, graphs (ONNX, torch.export) by their operators, files of
LiteRT, ExecuTorch, OpenVINO and ncnn by archsearch's metadata or, where others wrote them, by their constants. Every
other kind of model file is held against a limit on bytes alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from archsearch.errors import InputError
from archsearch.network.cost import layers
from archsearch.network.file_size import SAFETENSORS, Written
from archsearch.network.layers import Shape
from archsearch.network.limits import RAM, measures
from archsearch.nn.measured import ON_DISK, Counted, Measured, by, stored

_OTHERS = {
    ".tflite": "LiteRT", ".pte": "ExecuTorch", ".ptd": "ExecuTorch", ".ort": "ONNX Runtime", ".gguf": "GGUF",
    ".mlmodel": "Core ML", ".mlpackage": "Core ML", ".mlmodelc": "Core ML", ".engine": "TensorRT", ".plan": "TensorRT",
    ".trt": "TensorRT", ".keras": "Keras", ".h5": "Keras", ".pb": "TensorFlow", ".xml": "OpenVINO", ".param": "ncnn",
    ".mnn": "MNN", ".rknn": "RKNN", ".dlc": "SNPE", ".hef": "Hailo",
}  # fmt: skip
"""Kinds that are no weights files and no graphs of ONNX or torch."""
_FOLDERS = (".mlpackage", ".mlmodelc")
_MARKS = {".tflite": (4, b"TFL3"), ".pte": (4, b"ET"), ".ort": (4, b"ORTM"), ".gguf": (0, b"GGUF")}
_BESIDE = {".xml": ".bin", ".param": ".bin"}
"""Where the weights lie in a file of their own."""
_SHIPPED = (".tflite", ".pte", ".xml", ".param")
"""Kinds that `export` writes, with metadata at their end."""
_ROOM = 2**20
"""Bytes that such a file may have beside its weights."""
_POINTER = b"version https://git-lfs"


def is_model_folder(path: Path) -> bool:
    """Whether a folder is one model."""
    return path.is_dir() and path.suffix in _FOLDERS


def measure_file(target: str, path: Path, written: Written | None, shape: Shape | None) -> Measured:
    """Measure a file by its kind, which its content says, and its name where that says nothing.

    Args:
        written: count the bytes of weights as if written so; None for the bytes that the file has.
        shape: of one input, for graphs that leave it open.

    Raises:
        InputError: no file of a network, or a broken one; one line.
    """
    if path.is_dir():
        return _bytes_alone(target, path, b"", written)
    with path.open("rb") as file:
        start = file.read(32)
    if start.startswith(_POINTER):
        raise InputError(f"{target}: a pointer of Git LFS, not the file itself: get it by git lfs pull")
    kind = _kind(path, start)
    if kind == "weights":
        from archsearch.nn.weight_files import measure_weights

        return measure_weights(target, path, written, shape)
    if kind == "bytes":
        return _bytes_alone(target, path, start, written)
    what, count = _counters()[kind]
    return _graph(target, path, what, count(path, shape), written)


def _counters() -> dict[str, tuple[str, Callable[[Path, Shape | None], Counted]]]:
    from archsearch.nn import onnx_graph, pickles, pt2_graph

    return {
        "onnx": ("ONNX graph", onnx_graph.count),
        "pt2": ("torch.export graph", pt2_graph.count),
        "torchscript": ("TorchScript", lambda path, shape: pickles.torchscript(path)),
    }


def _kind(path: Path, start: bytes) -> str:
    if path.suffix == ".onnx" or path.name.endswith(".onnx.xz"):
        return "onnx"
    if path.suffix in _OTHERS:
        return "bytes"
    if start[:4] == b"PK\x03\x04":
        return _zipped(path)
    if start[:1] == b"\x80" or start[8:9] == b"{":
        return "weights"
    if path.suffix == ".pt2":
        return "pt2"
    if any(start[at:].startswith(mark) for at, mark in _MARKS.values()):
        return "bytes"
    raise InputError(f"{path}: neither an architecture (.toml), nor safetensors, a torch state dict or a model file")


def _zipped(path: Path) -> str:
    from archsearch.nn.pickles import archive

    names = archive(path)
    if path.suffix == ".pt2" or any(name.startswith("models/") for name in names) or "archive_format" in names:
        return "pt2"
    return "torchscript" if "constants.pkl" in names else "weights"


def _bytes_alone(target: str, path: Path, start: bytes, written: Written | None) -> Measured:
    suffix = path.suffix if path.suffix in _OTHERS else _marked(start)
    what, (at, mark) = _OTHERS[suffix], _MARKS.get(suffix, (0, b""))
    if not path.is_dir() and not start[at:].startswith(mark or start[:1]):
        raise InputError(f"{target}: no {what} file: its first bytes are not those of one")
    if not (size := _size(path)):
        raise InputError(f"{target}: is empty")
    beside = path.with_suffix(_BESIDE[suffix]) if suffix in _BESIDE else path
    if beside != path and not beside.is_file():
        raise InputError(f"{target}: its weights, {beside.name}, are not beside it")
    if suffix in _SHIPPED:
        return _graph(target, path, f"{what} file", _shipped(target, suffix, path, beside), written)
    note = f"not counted: params, macs (of {what} files archsearch knows the bytes alone)"
    return Measured(target, f"{what} file", stored(None, size), (), _and(note, _unmoved(written)), ON_DISK)


def _shipped(target: str, suffix: str, path: Path, last: Path) -> Counted:
    """By the architecture in the metadata that `export` put at the end of its last file, else by its constants.

    Raises:
        InputError: the metadata are damaged, or its files belong to two networks.
    """
    from archsearch.network.arch import Arch
    from archsearch.nn import runtime_files, trailer

    external = last.stat().st_size if last != path else 0
    metadata = trailer.read(last) if trailer.is_there(last) else {}
    trailer.require_pair(metadata, path)
    doubt = ""
    if "arch" in metadata:
        arch = Arch.from_toml(metadata["arch"], target)
        cost = arch.cost
        if cost.params <= path.stat().st_size + external <= 4.5 * (cost.params + cost.buffers) + _ROOM:
            rows = tuple(layers(arch.parts(), arch.input_shape))
            return Counted(cost.params, cost.macs, rows, (), metadata, arch.input_shape, external)
        doubt = "the network in its metadata has another size"
    try:
        params = runtime_files.count(path, suffix) if suffix in runtime_files.COUNTED else None
        why = "archsearch did not write it"
    except runtime_files.Unreadable as error:
        params, why = None, str(error)
    return Counted(params, None, (), tuple(filter(None, (why, doubt))), {}, (), external)


def _marked(start: bytes) -> str:
    return next(suffix for suffix, (at, mark) in _MARKS.items() if start[at:].startswith(mark))


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _graph(target: str, path: Path, what: str, found: Counted, written: Written | None) -> Measured:
    """Bytes on disk, the graph's own figures, and the activations of the architecture that archsearch wrote into it."""
    values = stored(found.params, _size(path) + found.external, found.macs)
    missing = [name for name in ("params", "macs") if values[name] is None]
    notes = [f"not counted: {', '.join(missing)} ({'; '.join(found.notes)})"] if missing else list(found.notes)
    what += f", {by(found.shape)}" if found.shape else ""
    if "arch" in found.metadata:
        from archsearch.network.arch import Arch

        arch = Arch.from_toml(found.metadata["arch"], target)
        what += f", {arch.id}, {arch.classes} classes"
        if found.macs == arch.cost.macs:  # otherwise the graph is not that network's
            values["peak_activation_bytes"] = arch.cost.peak_activation_bytes((written or Written()).dtype)
            if path.suffix == ".tflite" and json.loads(found.metadata.get("info", "{}")).get("dtype") == "int8":
                values[RAM] = measures(arch.cost, Written())[RAM]
    return Measured(target, what, values, found.layers, _and(*notes, _unmoved(written)), ON_DISK)


def _unmoved(written: Written | None) -> str:
    if written is None:
        return ""
    form = "" if written.form == SAFETENSORS else f"--size-format {written.form} and "
    return f"bytes are those of the file: {form}--size-dtype {written.dtype} is for networks and weights files"


def _and(*notes: str) -> str:
    return "; ".join(filter(None, notes))
