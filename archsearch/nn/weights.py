"""Weights files: safetensors with the architecture, recipe and input normalisation in the metadata.

Nothing in such a file is code, and nothing is unpickled.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from archsearch._utils.files import write_with
from archsearch._utils.places import shipped
from archsearch.errors import InputError, SpecError
from archsearch.network.arch import Arch
from archsearch.network.file_size import METADATA_BYTES
from archsearch.nn.build import aux_prefixes, build

FORMAT = "1"


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


def save(path: Path, module: nn.Module, arch: Arch, info: Mapping[str, Any]) -> Path:
    """Write the deployed network whole.

    Args:
        info: plain values: recipe, normalisation {"mean", "std"} in units of [0, 1], classes, dataset, accuracy.
            Class names are left out where they would not fit into the room that the size formula keeps.

    Raises:
        OSError: the file cannot be written.
    """
    metadata = describe(arch, info)
    return write_with(path, lambda temporary: _save_file(deployed_state(module), temporary, metadata))


def _save_file(state: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
    try:
        safetensors.torch.save_file(state, path, metadata=metadata)
    except safetensors.SafetensorError as error:
        raise OSError(errno.EIO, str(error)) from None


def describe(arch: Arch, info: Mapping[str, Any]) -> dict[str, str]:
    """The metadata of a file with this network, whatever its format."""
    named = {"dataset": shipped(info["dataset"])} if isinstance(info.get("dataset"), str) else {}
    metadata = {"archsearch": FORMAT, "arch": arch.to_toml(), "info": json.dumps({**info, **named})}
    if len(json.dumps(metadata)) > METADATA_BYTES + arch.spill and "classes" in info:
        return describe(arch, {key: value for key, value in info.items() if key != "classes"})
    return metadata


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
    return Weights(Arch.from_toml(metadata["arch"], str(path)), info)


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
        raise InputError(f"{path}: no readable safetensors file: {reason}") from None
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
