"""A trained network's blocks as the beginning of other networks: what agrees by place, names and shapes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import safetensors.torch
from torch import Tensor, nn

from archsearch._utils.sharing import last_name
from archsearch.errors import InputError
from archsearch.nn import weights
from archsearch.nn.inherit import fitted_to
from archsearch.retrain.pretrained import TORCHVISION, encoder_names

_STEM = "stem"


@dataclass(frozen=True)
class Inherited:
    """Stem and blocks of a weights file, for networks of which each takes what agrees.

    A block is taken whole or not at all: all tensors of its place have the same names and shapes. A stem for grey
    images fits one for colour, and the other way round. The head and what does not agree stay as they were initialised.
    `summary`: the source's layers.
    """

    source: str
    tensors: Mapping[str, Tensor]
    digest: str
    summary: str = ""

    @property
    def name(self) -> str:
        """What travels of the source: the file's name and the first digits of its SHA-256."""
        return f"{last_name(self.source)} {self.digest}"

    def __call__(self, module: nn.Module) -> float:
        """Load into a network that was initialised; the share of its parameters that was taken."""
        taken = self._taken(module)
        module.load_state_dict(taken, strict=False)
        counts = {name: parameter.numel() for name, parameter in module.named_parameters()}
        return sum(n for name, n in counts.items() if name in taken) / max(1, sum(counts.values()))

    def _taken(self, module: nn.Module) -> dict[str, Tensor]:
        names = encoder_names(module)
        mine = _blocks({name: tensor for name, tensor in module.state_dict().items() if name in names})
        theirs = _blocks(self.tensors)
        found: dict[str, Tensor] = {}
        for place, wanted in mine.items():
            found |= _agreeing(theirs.get(place, {}), wanted, place == _STEM)
        return found


def inherited(source: str) -> Inherited:
    """What networks may take of a weights file of ours. Raises InputError."""
    if source.startswith(TORCHVISION):
        raise InputError(f"--init-from {source}: a search starts from a weights file of archsearch; see `retrain`")
    arch = weights.read(source).arch
    digest = hashlib.sha256(Path(source).read_bytes()).hexdigest()[:8]
    return Inherited(source, safetensors.torch.load_file(Path(source)), digest, arch.summary)


def _blocks(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Tensors by the place of their block: `stem`, or a stage and a number in it."""
    ordered = sorted(tensors, key=_place)
    return {place: {name: tensors[name] for name in names} for place, names in groupby(ordered, _place)}


def _place(name: str) -> str:
    first, *rest = name.split(".")
    return ".".join([first, *rest[: first != _STEM]])


def _agreeing(theirs: Mapping[str, Tensor], wanted: Mapping[str, Tensor], is_stem: bool) -> dict[str, Tensor]:
    """All tensors of a block for its place, or none."""
    if theirs.keys() != wanted.keys():
        return {}
    found = {}
    for name, tensor in theirs.items():
        fitted = fitted_to(tensor, wanted[name]) if is_stem or tensor.shape == wanted[name].shape else None
        if fitted is None:
            return {}
        found[name] = fitted
    return found
