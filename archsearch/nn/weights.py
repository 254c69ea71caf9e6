"""Weights files: safetensors with the architecture, recipe and input normalisation in the metadata.

Nothing in such a file is code, and nothing is unpickled.
"""

from __future__ import annotations

import errno
import hashlib
import json
import zlib
from base64 import b85decode, b85encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from archsearch._utils.files import write_text, write_with
from archsearch._utils.sharing import names_beside, shipped
from archsearch.errors import InputError, SpecError, printable
from archsearch.network.arch import Arch
from archsearch.network.file_size import METADATA_BYTES
from archsearch.nn.build import aux_prefixes, build

FORMAT = "1"
_CLASSES, _BESIDE = "classes", "beside"
"""The key of class names that have no room in `info`: packed, or this word."""
_MOST_NAMES = 2**24


@dataclass(frozen=True)
class Weights:
    """What a weights file says: the architecture, and whatever else was written about the training."""

    arch: Arch
    info: dict[str, Any]


def deployed_state(module: nn.Module) -> dict[str, torch.Tensor]:
    """The module's state without auxiliary classifiers: contiguous tensors on the CPU by name."""
    aux = aux_prefixes(module)
    return {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in module.state_dict().items()
        if not name.startswith(aux)
    }


def digest(module: nn.Module) -> str:
    """16 hex digits of the deployed network's state: names, types and values. Equal networks have equal ones."""
    found = hashlib.sha256()
    for name, tensor in sorted(deployed_state(module).items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]


def save(path: Path, module: nn.Module, arch: Arch, info: Mapping[str, Any]) -> Path:
    """Write the deployed network whole, and its class names beside it where they have no room inside.

    Args:
        info: plain values: recipe, normalisation {"mean", "std"} in units of [0, 1], classes, dataset, accuracy.

    Raises:
        OSError: the files cannot be written.
    """
    save_names(path, arch, info)
    return save_tensors(path, module, arch, info)


def save_tensors(
    path: Path, module: nn.Module, arch: Arch, info: Mapping[str, Any], dtype: torch.dtype | None = None
) -> Path:
    """The file of `save` alone; with `dtype` what is a real number is rounded to it. Raises OSError."""
    metadata = _within_room(arch, info)
    state = deployed_state(module)
    if dtype:
        most = torch.finfo(dtype).max
        state = {
            name: tensor.clamp(-most, most).to(dtype) if tensor.is_floating_point() else tensor
            for name, tensor in state.items()
        }
    return write_with(path, lambda temporary: _save_file(state, temporary, metadata))


def save_names(path: Path, arch: Arch, info: Mapping[str, Any]) -> None:
    """The class names beside the file of `save`, or none where it has them inside. Raises OSError."""
    if _within_room(arch, info).get(_CLASSES) == _BESIDE:
        write_text(names_beside(path), json.dumps(info["classes"], ensure_ascii=False) + "\n")
    else:
        names_beside(path).unlink(missing_ok=True)


def save_info(path: Path, arch: Arch, info: Mapping[str, Any]) -> Path:
    """Write a weights file again with other metadata; its tensors stay as they are.

    Raises:
        InputError: it is no safetensors file.
        OSError: the files cannot be written.
    """
    try:
        state = safetensors.torch.load_file(path)
    except safetensors.SafetensorError as error:
        raise InputError(f"{path}: no readable safetensors file: {printable(str(error))}") from None
    metadata = _within_room(arch, info)
    save_names(path, arch, info)
    return write_with(path, lambda temporary: _save_file(state, temporary, metadata))


def _save_file(state: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
    try:
        written = safetensors.torch.save(state, metadata)
    except safetensors.SafetensorError as error:
        raise OSError(errno.EIO, str(error)) from None
    path.write_bytes(_ordered(written))


def _ordered(file: bytes) -> bytes:
    """A safetensors file with its metadata sorted: it writes them in any order, and equal networks are equal files."""
    end = 8 + int.from_bytes(file[:8], "little")
    header = json.loads(file[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + file[end:]


def describe(arch: Arch, info: Mapping[str, Any]) -> dict[str, str]:
    """The metadata of a file with this network, whatever its format."""
    named = {"dataset": shipped(info["dataset"])} if isinstance(info.get("dataset"), str) else {}
    return {"archsearch": FORMAT, "arch": arch.to_toml(), "info": json.dumps({**info, **named}, separators=(",", ":"))}


def _within_room(arch: Arch, info: Mapping[str, Any]) -> dict[str, str]:
    """The metadata in the bytes that the size formula keeps: class names as they are, packed, or in a file beside."""
    room = METADATA_BYTES + arch.spill
    metadata = describe(arch, info)
    if len(json.dumps(metadata)) <= room or "classes" not in info:
        return metadata
    metadata = describe(arch, {key: value for key, value in info.items() if key != "classes"})
    packed = {**metadata, _CLASSES: b85encode(zlib.compress(json.dumps(info["classes"]).encode(), 9)).decode()}
    return packed if len(json.dumps(packed)) <= room else {**metadata, _CLASSES: _BESIDE}


def described(metadata: Mapping[str, str], path: Path) -> Weights:
    """What metadata say of a network. Raises InputError where they are not ours or name no valid network."""
    if "arch" not in metadata:
        raise InputError(f"{path}: its metadata has no architecture; weights files that archsearch writes have one")
    try:
        info = json.loads(metadata.get("info", "{}"))
    except (ValueError, RecursionError):
        info = None
    if not isinstance(info, dict):
        raise InputError(f"{path}: its metadata 'info' is no JSON object")
    if _CLASSES in metadata:
        info |= _names(metadata[_CLASSES], path)
    return Weights(Arch.from_toml(metadata["arch"], str(path)), info)


def _names(text: str, path: Path) -> dict[str, Any]:
    """Class names, packed or in the file beside: `classes`; or `classes_in`, that file's name, if it is gone."""
    place = names_beside(path)
    try:
        names = json.loads(place.read_bytes() if text == _BESIDE else _unpacked(text))
    except FileNotFoundError:
        return {"classes_in": place.name}
    except (OSError, ValueError, RecursionError, zlib.error):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{place if text == _BESIDE else path}: its class names are no JSON list of texts")
    return {"classes": names}


def _unpacked(text: str) -> bytes:
    """Raises ValueError, zlib.error; what unpacks to more than any list of names has is cut off."""
    return zlib.decompressobj().decompress(b85decode(text), _MOST_NAMES)


def require_names(info: Mapping[str, Any], path: Path) -> None:
    """Raises InputError where the file beside that has the class names is missing."""
    if "classes_in" in info:
        raise InputError(f"{path}: its class names are in {info['classes_in']}: copy that beside it")


def read(path: str | Path) -> Weights:
    """What a weights file says of its network; no tensor is read.

    Raises:
        InputError: missing, no safetensors file, not written by archsearch, or naming no valid network.
    """
    path = Path(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (OSError, safetensors.SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(f"{path}: no readable safetensors file: {printable(reason)}") from None
    return described(metadata, path)


def load_module(path: str | Path) -> nn.Sequential:
    """The bare network of a weights file, in evaluation mode, on the CPU; `archsearch.load` gives it with its input.

    Its own inputs are images (N, C, H, W) in [0, 1], normalised by `info["normalisation"]` of `read(path)`.

    Raises:
        InputError: as `read`, or tensors that do not fit the architecture.
    """
    arch = read(path).arch
    if arch.cost.params > Path(path).stat().st_size:  # before anything of that size is allocated
        raise SpecError(f"too short for the {arch.cost.params:,} parameters of its architecture", str(path))
    module = build(arch)
    state = safetensors.torch.load_file(path)
    wanted = deployed_state(module)
    problems = [f"{name} is missing" for name in wanted.keys() - state.keys()]
    problems += [f"{name} is unknown" for name in state.keys() - wanted.keys()]
    problems += [
        f"{name} has shape {tuple(state[name].shape)}, not {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in state and state[name].shape != tensor.shape
    ]
    if problems:
        raise SpecError(sorted(problems)[:3], str(path))
    module.load_state_dict(state, strict=False)
    return module.eval()
