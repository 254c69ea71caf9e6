"""An encoder trained elsewhere, in a new network: everything but the head, fine-tuned or frozen."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

import safetensors.torch
import torch
from torch import Tensor, nn

from archsearch._utils.sharing import last_name
from archsearch._utils.units import format_count
from archsearch.errors import InputError, one_line
from archsearch.network.blocks.registry import unknown
from archsearch.nn import weights
from archsearch.nn.build import aux_prefixes
from archsearch.nn.inherit import fitted_to

TORCHVISION = "torchvision:"
_HEADS = ("fc.", "classifier.", "aux1.", "aux2.")
_STEM, _SHORTCUT = "stem.", ".downsample."


@dataclass(frozen=True)
class Encoder:
    """Tensors for the stem and the stages of a network, to be put in place when its training starts.

    tensors: by our names; for `in_order` by any names, in the order of the network's own.
    frozen: they stay as they are, and so do the statistics of norms once they were taken on the new images.
    """

    source: str
    tensors: Mapping[str, Tensor]
    frozen: bool = False
    in_order: bool = False
    digest: str = ""

    @property
    def name(self) -> str:
        """What travels of the source: the file's name and the first digits of its SHA-256."""
        return f"{last_name(self.source)} {self.digest}" if self.digest else self.source

    def __call__(self, module: nn.Module) -> None:
        """Load into a network that was initialised, and freeze.

        Raises:
            InputError: the encoder is none of this network's, or a frozen one would keep a new stem.
        """
        mine = {name: tensor for name, tensor in module.state_dict().items() if name in encoder_names(module)}
        if not mine:
            raise InputError(f"{self.source}: this network has no stem and no stages to put weights into")
        found = self._named(list(mine))
        fitted = {name: fitted_to(found[name], tensor) for name, tensor in mine.items() if name in found}
        new = [name for name in mine if fitted.get(name) is None]
        if wrong := [name for name in new if not name.startswith(_STEM)]:
            raise InputError(f"{self.source} is no encoder of this network: {_why(wrong[0], mine, found)}")
        if new and self.frozen:
            raise InputError(f"{self.source}: the stem is new and cannot be frozen: {_why(new[0], mine, found)}")
        module.load_state_dict({name: tensor for name, tensor in fitted.items() if tensor is not None}, strict=False)
        if self.frozen:
            for name, parameter in module.named_parameters():
                parameter.requires_grad_(name not in mine)

    def _named(self, names: list[str]) -> dict[str, Tensor]:
        if not self.in_order:
            return dict(self.tensors)
        if len(names) != len(self.tensors):
            counts = f"{format_count(len(self.tensors))} tensors, this network's {format_count(len(names))}"
            raise InputError(f"{self.source} is no encoder of this network: it has {counts}")
        return dict(zip(names, self.tensors.values(), strict=True))


def encoder_names(module: nn.Module) -> set[str]:
    """The names of the tensors of stem and stages."""
    heads = ("head.", *aux_prefixes(module))
    return {name for name in module.state_dict() if not name.startswith(heads)}


def _why(name: str, mine: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    there = f"{tuple(found[name].shape)} there" if name in found else "missing there"
    return f"{name} is {tuple(mine[name].shape)} here and {there}"


def encoder(source: str, frozen: bool) -> Encoder:
    """The encoder of a weights file of ours, or of `torchvision:NAME` with its pretrained weights.

    Raises:
        InputError: no such file or model, or its weights are neither in torch's cache nor within reach.
    """
    if source.startswith(TORCHVISION):
        state = torchvision_state(source, source.removeprefix(TORCHVISION))
        return Encoder(source, in_our_order(state), frozen, in_order=True)
    weights.read(source)
    digest = hashlib.sha256(Path(source).read_bytes()).hexdigest()[:8]
    return Encoder(source, safetensors.torch.load_file(Path(source)), frozen, digest=digest)


def torchvision_state(source: str, name: str) -> dict[str, Tensor]:
    """The pretrained weights of torchvision's model `name`, from torch's cache or by download.

    Raises:
        InputError: no such model, or its weights are neither in the cache nor within reach.
    """
    from torchvision import models

    if name not in models.list_models(models):
        raise InputError(f"torchvision has no classifier {unknown(name, models.list_models(models))}")
    try:
        state: dict[str, Tensor] = models.get_model_weights(name).DEFAULT.get_state_dict(progress=True, check_hash=True)
    except (URLError, OSError) as error:
        place = torch.hub.get_dir()
        reason = error.reason if isinstance(error, URLError) else one_line(error)
        raise InputError(
            f"{source}: its weights are not in {place} and cannot be downloaded: {reason}; copy the file there"
        ) from None
    return state


def in_our_order(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The encoder of a torchvision classifier; a ResNet's shortcuts come before what they go around, as ours do."""
    found = {name: tensor for name, tensor in state.items() if not name.startswith(_HEADS)}
    place = {name: number for number, name in enumerate(found)}
    first: dict[str, int] = {}
    for name, number in place.items():
        first.setdefault(_block(name), number)
    order = sorted(found, key=lambda name: (first[_block(name)], _SHORTCUT not in name, place[name]))
    return {name: found[name] for name in order}


def _block(name: str) -> str:
    """`layer1.0` of `layer1.0.conv1.weight`; other tensors stay where they are."""
    return ".".join(name.split(".")[:2]) if name.startswith("layer") else name
