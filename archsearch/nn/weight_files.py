"""Weights files as targets: safetensors and torch's, counted by the tensors that are the network's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from archsearch._utils.formats import FORMATS
from archsearch._utils.units import format_bytes
from archsearch.errors import InputError, one_line, printable
from archsearch.network.arch import Arch
from archsearch.network.cost import Layer, of_tensors
from archsearch.network.file_size import SAFETENSORS, SCALE_SUFFIX, Written
from archsearch.network.layer_cost import Tensor
from archsearch.network.layers import Shape
from archsearch.network.limits import measures
from archsearch.nn import pickles
from archsearch.nn.measured import ON_DISK, Measured, Stored, by, stored

_HEADER_LIMIT = 100_000_000  # what safetensors itself accepts
_STATE_KEYS = ("state_dict", "model_state_dict", "model", "net", "network", "module", "weights", "params",
               "model_state", "state", "student", "model_ema", "ema", "state_dict_ema", "ema_state_dict")  # fmt: skip
"""Where a checkpoint keeps the model, by preference: its average counts only where it is alone."""
_BUFFERS = re.compile(
    r"(^|\.)(running_mean|running_var|num_batches_tracked|relative_coords_table|attn_mask|inv_freq|n_averaged"
    r"|min_val|max_val|parametrizations\.\w+\.\d+\._[uv])$"
)
_PACKED = re.compile(r"(^|\.)(qweight|qzeros|weight_packed|_packed_params|absmax|SCB)$|quant_state", re.IGNORECASE)


@dataclass(frozen=True)
class _File:
    """The network's tensors in a file: `others` are bytes of tensors that are not, by where they lie."""

    tensors: Mapping[str, Stored]
    metadata: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, int] = field(default_factory=dict)


def measure_weights(target: str, path: Path, written: Written | None, shape: Shape | None) -> Measured:
    """Bytes and parameters from the tensors; the rest from the architecture, where archsearch wrote one.

    Args:
        written: count bytes of these weights as if written so; None for the bytes that they have on disk.

    Raises:
        InputError: no weights, tensors that are not those of the architecture in it, or without one bytes are asked
            for in another format than safetensors.
    """
    with path.open("rb") as opened:
        torchs = opened.read(9)[8:9] != b"{"
    file = _torch(path) if torchs else _safetensors(path)
    if "arch" in file.metadata:
        return _of_arch(target, path, file, written, shape)
    if written and written.form != SAFETENSORS:
        words = FORMATS[written.form].words
        raise InputError(
            f"{target}: the bytes of {words} files are counted of architectures, and its metadata have none:"
            " leave --size-format out"
        )
    dtype = written.dtype if written else None
    kinds = {name: _kind(name, file.tensors) for name in file.tensors}
    params = {name: prod(file.tensors[name].shape) for name, kind in kinds.items() if kind == "param"}
    packed = next(filter(_PACKED.search, file.tensors), None)
    total = None if packed else sum(params.values())
    rows = tuple(Layer(name, by(file.tensors[name].shape), count, 0, 0) for name, count in params.items())
    notes = [f"not counted: params ({packed}: packed weights)"] if packed else []
    if shape:
        notes.append("weights of no known architecture: --input-shape says nothing here")
    if file.others:
        notes.append(f"not counted, as it is not the model: {_listed(file.others)} of {format_bytes(_size(path))}")
    if dtype and packed:
        raise InputError(f"{target}: {packed} are packed weights, whose bytes at {dtype} are not known")
    size = _bytes_at(file.tensors, kinds, dtype) if dtype else _own_bytes(path, file)
    what = "weights"
    return Measured(target, what, stored(total, size), rows, "; ".join(notes), dtype or ON_DISK)


def _of_arch(target: str, path: Path, file: _File, written: Written | None, shape: Shape | None) -> Measured:
    arch = Arch.from_toml(file.metadata["arch"], target)
    if shape:
        arch = arch.adapted(shape, arch.classes)
    total = sum(prod(one.shape) for name, one in file.tensors.items() if _kind(name, file.tensors) == "param")
    if arch.cost.params != total:
        raise InputError(f"{target}: its tensors hold {total:,} parameters, its architecture has {arch.cost.params:,}")
    from archsearch.network.cost import layers

    values: dict[str, int | None] = {**measures(arch.cost, written or Written())}
    if written is None:
        values["size_bytes"] = _size(path)
    what = f"weights, {arch.id}, {by(arch.input_shape)}, {arch.classes} classes"
    rows = tuple(layers(arch.parts(), arch.input_shape))
    dtype, form = written or (ON_DISK, SAFETENSORS)
    return Measured(target, what, values, rows, "", dtype, size_format=form)


def _kind(name: str, tensors: Mapping[str, Stored]) -> str:
    """What a tensor is by name and dtype, `param`, `buffer`, `counter`, or `scale` of a quantised one."""
    tensor = tensors[name]
    scaled = f"{name}{SCALE_SUFFIX}" in tensors
    if name.endswith(SCALE_SUFFIX) and name.removesuffix(SCALE_SUFFIX) in tensors:
        return "scale"
    if name.endswith("scale") and f"{name.removesuffix('scale')}zero_point" in tensors:
        return "buffer"
    if tensor.dtype[:1] in "FBC" and tensor.dtype != "BOOL":
        return "buffer" if _BUFFERS.search(name) else "param"
    if tensor.dtype == "I8" and (scaled or len(tensor.shape) > 1):
        return "param"
    return "counter"


def _bytes_at(tensors: Mapping[str, Stored], kinds: Mapping[str, str], dtype: str) -> int:
    """Bytes of the safetensors file with these tensors at a precision, integers as they are."""
    kept = [Tensor(name, tensors[name].shape, kind) for name, kind in kinds.items() if kind in ("param", "buffer")]
    whole = {name: tensors[name] for name, kind in kinds.items() if kind == "counter"}
    return of_tensors(kept, (), 0, 0).size_bytes(dtype) + _as_safetensors(whole)


def _own_bytes(path: Path, file: _File) -> int:
    """Bytes on disk; of a training's checkpoint those of a file with the model alone."""
    return _as_safetensors(file.tensors) + 16 if file.others else _size(path)


def _as_safetensors(tensors: Mapping[str, Stored]) -> int:
    end, header = 0, 0
    for name, tensor in tensors.items():
        offsets, end = [end, end + tensor.bytes], end + tensor.bytes
        entry = {name: {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": offsets}}
        header += len(json.dumps(entry, separators=(",", ":"))) - 1
    return end + header


def _size(path: Path) -> int:
    return path.stat().st_size


def _listed(others: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {format_bytes(size)}" for name, size in others.items())


def _safetensors(path: Path) -> _File:
    """Tensors and metadata of a safetensors file, from its header alone."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > min(_HEADER_LIMIT, _size(path) - 8):
                raise ValueError("its header is cut off")
            header = json.loads(file.read(length))
        metadata = header.pop("__metadata__", {})
        tensors = {name: _entry(name, entry, _size(path) - 8 - length) for name, entry in header.items()}
        return _File(tensors, {str(key): str(value) for key, value in metadata.items()})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: no readable safetensors file: {printable(str(error))}") from None


def _entry(name: str, entry: Any, size: int) -> Stored:
    """One tensor. Raises ValueError where its bytes are not in the file."""
    begin, end = entry["data_offsets"]
    shape = tuple(entry["shape"])
    if not all(type(dim) is int and dim >= 0 for dim in shape):
        raise ValueError(f"{name!r} has the shape {shape}")
    if not 0 <= begin <= end <= size:
        raise ValueError(f"the bytes of {name!r} are not in it")
    return Stored(shape, str(entry["dtype"]), end - begin)


def _torch(path: Path) -> _File:
    """The model's state in a file by `torch.save`, tied tensors once; nothing in it is run."""
    names = pickles.archive(path)
    if names and "data.pkl" not in names:
        raise InputError(f"{path}: no state dict: it is a zip file that torch did not write")
    tree = pickles.read(path) if names else _legacy(path)
    if isinstance(tree, pickles.Opaque):
        raise InputError(
            f"{path}: no state dict: it holds pickled objects other than tensors, which are refused;"
            " save module.state_dict() or safetensors"
        )
    key, state = _chosen(tree) if isinstance(tree, dict) else ("", None)
    if state is None:
        raise InputError(f"{path}: holds no state dict (names to tensors): save module.state_dict() or safetensors")
    found: dict[pickles.Tensor, str] = {}
    for name, value in _named(state):
        if value not in found or not prod(value[2]):
            found.setdefault(value, name)
    others = {} if state is tree else _others(tree, key, found)
    return _File({name: tensor.stored for tensor, name in found.items()}, others=others)


def _named(state: Mapping[Any, Any]) -> Iterator[tuple[str, pickles.Tensor]]:
    """Tensors by name; those in a tuple, as quantised modules keep their weight and bias, by their place in it."""
    for name, value in state.items():
        if isinstance(value, pickles.Tensor):
            yield str(name), value
        elif isinstance(value, list | tuple):
            yield from ((f"{name}.{i}", inner) for i, inner in enumerate(pickles.tensors(value)))


def _chosen(tree: dict[Any, Any]) -> tuple[str, dict[Any, Any] | None]:
    """The state dict in a checkpoint and its key; the checkpoint itself where it is one."""
    states = {key: value for key, value in tree.items() if _is_state(value)}
    known = next((key for key in _STATE_KEYS if key in states), None)
    if known is not None:
        return known, states[known]
    if _is_state(tree):
        return "", tree
    return (str(next(iter(states))), next(iter(states.values()))) if len(states) == 1 else ("", None)


def _is_state(value: object) -> bool:
    return isinstance(value, dict) and any(isinstance(inner, pickles.Tensor) for inner in value.values())


def _others(tree: Mapping[Any, Any], key: str, found: Mapping[pickles.Tensor, str]) -> dict[str, int]:
    """Bytes of tensors beside the model's, by their keys in the checkpoint, where they weigh anything."""
    sizes = {}
    for name, value in tree.items():
        beside = {tensor for tensor in pickles.tensors(value) if tensor not in found}
        sizes[str(name)] = sum(tensor.stored.bytes for tensor in beside) if name != key else 0
    return {name: size for name, size in sizes.items() if size > 1000}


def _legacy(path: Path) -> Any:
    """A file by torch before 1.6, which only torch reads: tensors and plain values, anything else is refused."""
    import torch

    try:
        return _described(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # noqa: BLE001 - torch.load raises nearly anything for a file that is not its own
        refused = "weights_only" in str(error).lower() or "Unsupported" in str(error)
        why = "it holds pickled objects other than tensors, which are refused" if refused else one_line(error)
        raise InputError(f"{path}: no state dict: {why}; save module.state_dict() or safetensors") from None


def _described(value: Any) -> Any:
    """A loaded object with `pickles.Tensor` in place of its tensors."""
    import torch

    if isinstance(value, torch.Tensor):
        return pickles.described(value)
    if isinstance(value, dict):
        return {key: _described(inner) for key, inner in value.items()}
    return [_described(inner) for inner in value] if isinstance(value, list | tuple) else value
