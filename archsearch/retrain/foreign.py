"""Classifiers of timm and torchvision as teachers: pixels in, logits out, each with its own view of an image."""

from __future__ import annotations

import hashlib
import importlib
import logging
import math
import pickle
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional

from archsearch._utils.sharing import last_name
from archsearch.errors import InputError, one_line
from archsearch.network.blocks.registry import unknown
from archsearch.retrain.pretrained import torchvision_state

KINDS = ("torchvision", "timm")
_REPOSITORIES = ("hf-hub:", "hf_hub:", "local-dir:")
_UNSAID = ("googlenet", "inception_v3")
"""They normalise their inputs a second time where they were fine-tuned from pretrained weights; no file says so."""
_WRAPPED = ("state_dict", "model", "model_state_dict")
_PREFIXES = ("module.", "_orig_mod.")


@dataclass(frozen=True)
class View:
    """How a network sees an image.

    `scaled`: (height, width) that the image is scaled to cover, or to have with `squash`; `size`: of the centre that
    is cut out; `mean`, `std`: of each channel, in units of [0, 1]; `mode`: of the interpolation.
    """

    size: tuple[int, int]
    scaled: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    mode: str = "bilinear"
    squash: bool = False

    def of(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) in [0, 1] at `size`, antialiased."""
        height, width = images.shape[2:]
        ratios = self.scaled[0] / height, self.scaled[1] / width
        if not self.squash:
            ratios = (max(ratios),) * 2
        sides = round(height * ratios[0]), round(width * ratios[1])
        if sides != (height, width):
            images = functional.interpolate(images, size=sides, mode=self.mode, antialias=True)
        top, left = ((side - size) // 2 for side, size in zip(sides, self.size, strict=True))
        return images[:, :, top : top + self.size[0], left : left + self.size[1]]

    @property
    def words(self) -> str:
        """Size, interpolation and normalisation in one line."""
        size, scaled = (f"{height}x{width}" for height, width in (self.size, self.scaled))
        mean, std = (", ".join(f"{value:.3g}" for value in values) for values in (self.mean, self.std))
        centre = "" if self.scaled == self.size else f", the centre of {scaled}"
        return f"images at {size}{centre}, {self.mode}, mean {mean}, deviation {std}"


class ForeignNetwork(nn.Module):
    """float32 pixels (N, C, H, W) in [0, 1], grey or colour, to float32 logits (N, classes)."""

    def __init__(self, module: nn.Module, view: View) -> None:
        super().__init__()
        self.view = view
        mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (view.mean, view.std))
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.network = module
        self.eval().requires_grad_(False)

    mean: Tensor
    std: Tensor

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[1] == 1:
            images = images.expand(-1, len(self.view.mean), -1, -1)
        logits: Tensor = self.network((self.view.of(images) - self.mean) / self.std)
        return logits.float()


@dataclass(frozen=True)
class Source:
    """`KIND:NAME[@SIZE][=FILE]`: a model of a library, the side of the images it sees, the file of its weights."""

    text: str
    kind: str
    name: str
    size: int | None
    file: str

    @classmethod
    def of(cls, text: str) -> Source:
        """Raises InputError where no model is named."""
        kind, _, rest = text.partition(":")
        name, equals, file = rest.partition("=")
        sized = re.fullmatch(r"(.+)@(\d{1,4})", name)
        name, size = (sized[1], int(sized[2])) if sized else (name, None)
        if not name or bool(equals) != bool(file) or size == 0:
            raise InputError(f"{text!r}: write {kind}:NAME, {kind}:NAME=FILE or {kind}:NAME@SIZE=FILE")
        return cls(text, kind, name, size, str(Path(file).expanduser()) if file else "")

    def named(self, digest: str) -> str:
        """What travels of it: no folder, and the first digits of its weights' SHA-256."""
        size = f"@{self.size}" if self.size else ""
        file = f"={Path(self.file).name}" if self.file else ""
        return f"{self.kind}:{last_name(self.name)}{size}{file} {digest}"


def foreign(source: Source, classes: int) -> tuple[ForeignNetwork, str]:
    """The network of a source, and the first digits of its weights' SHA-256.

    Without a file the weights are the library's own, from its cache or downloaded. With `@SIZE` images are scaled to
    SIZE x SIZE pixels; by default they are scaled and cut as the library does it for its own weights.

    Raises:
        InputError: no such model or file, no weights within reach, or a network for other classes.
    """
    module, view, digest = (_timm if source.kind == "timm" else _torchvision)(source, classes)
    if source.size:
        square = (source.size, source.size)
        view = View(square, square, view.mean, view.std, view.mode)
    return ForeignNetwork(module, view), digest


def _torchvision(source: Source, classes: int) -> tuple[nn.Module, View, str]:
    from torchvision import models

    name = source.name
    if name not in models.list_models(models):
        raise InputError(f"torchvision has no classifier {unknown(name, models.list_models(models))}")
    if name in _UNSAID:
        raise InputError(f"{source.text}: no file says how its inputs are normalised: give a logits file")
    default = models.get_model_weights(name).DEFAULT
    if not source.file:
        _require_classes(source, len(default.meta["categories"]), classes)
    state = read_state(source.file) if source.file else torchvision_state(source.text, name)
    module = models.get_model(name, weights=None, num_classes=classes)
    _put(module, state, source, classes)
    shown = default.transforms()
    size, scaled = shown.crop_size[0], shown.resize_size[0]
    view = View((size, size), (scaled, scaled), tuple(shown.mean), tuple(shown.std), shown.interpolation.value)
    return module, view, _digest(source, module)


def _timm(source: Source, classes: int) -> tuple[nn.Module, View, str]:
    try:
        timm = importlib.import_module("timm")
    except ModuleNotFoundError as error:
        raise InputError(f"{source.text}: needs {error.name}: pip install 'archsearch[timm]'") from None
    name = source.name
    if not name.startswith(_REPOSITORIES) and not timm.is_model(name):
        raise InputError(f"timm has no model {unknown(name, timm.list_models())}")
    sized = {"num_classes": classes} if source.file else {}
    module = _made(lambda: timm.create_model(name, pretrained=False, **sized), source)
    if source.file:
        _put(module, read_state(source.file), source, classes)
    else:
        _require_classes(source, module.num_classes, classes)
        module = _made(lambda: timm.create_model(name, pretrained=True), source)
    return module, _timm_view(timm.data.resolve_model_data_config(module)), _digest(source, module)


def _timm_view(config: Mapping[str, Any]) -> View:
    _, height, width = config["input_size"]
    share = config["crop_pct"] or 1.0
    scaled = math.floor(height / share), math.floor(width / share)
    mode = "bilinear" if config["interpolation"] == "bilinear" else "bicubic"
    mean, std = tuple(config["mean"]), tuple(config["std"])
    return View((height, width), scaled, mean, std, mode, config.get("crop_mode") == "squash")


def _made(make: Callable[[], Any], source: Source) -> Any:
    """A model that a library makes, perhaps from weights that it must fetch. Raises InputError."""
    try:
        with _silent("huggingface_hub"):
            return make()
    except Exception as error:  # noqa: BLE001 - libraries raise what their own libraries raise
        way_out = f"; or give the file: {source.kind}:NAME=FILE" if not source.file else ""
        raise InputError(f"{source.text}: cannot be made or fetched: {one_line(error)}{way_out}") from None


@contextmanager
def _silent(name: str) -> Iterator[None]:
    """Keep a library's warnings, one for each new try, off the terminal: the error says the same."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def read_state(path: str) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of a file by `torch.save`; nothing but tensors is unpickled.

    What training scripts put around them is taken off: `state_dict`, `model`, and the prefixes of wrappers.

    Raises:
        InputError: missing, broken, or holding other objects.
    """
    try:
        if Path(path).suffix == ".safetensors":
            found: Any = safetensors.torch.load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise InputError(f"{path}: holds more than tensors, which is not run: save module.state_dict() alone") from None
    except (OSError, RuntimeError, EOFError, ValueError, safetensors.SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else one_line(error)
        raise InputError(f"{path}: no readable weights file: {reason}") from None
    for key in _WRAPPED:
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not found or not all(isinstance(value, Tensor) for value in found.values()):
        raise InputError(f"{path}: no state dict of tensors: save module.state_dict()")
    return {_bare(str(name)): tensor for name, tensor in found.items()}


def _bare(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _put(module: nn.Module, state: Mapping[str, Tensor], source: Source, classes: int) -> None:
    """Load all tensors. Raises InputError."""
    wanted = {name: tensor.shape for name, tensor in module.state_dict().items()}
    other = [name for name in wanted if name in state and state[name].shape != wanted[name]]
    heads = {int(state[name].shape[0]) for name in other if _is_head(state[name].shape, wanted[name], classes)}
    if len(heads) == 1 and all(_is_head(state[name].shape, wanted[name], classes) for name in other):
        _require_classes(source, heads.pop(), classes)
    problems = [f"{name} is {tuple(state[name].shape)} there and {tuple(wanted[name])} in the model" for name in other]
    problems += [
        f"{name} is missing there" for name in wanted if name not in state and not name.endswith("num_batches_tracked")
    ]
    problems += [f"{name} is none of the model's" for name in state if name not in wanted]
    if problems:
        raise InputError(f"{source.file or source.text} holds no {source.name}: {problems[0]}")
    module.load_state_dict(dict(state), strict=False)


def _is_head(found: torch.Size, wanted: torch.Size, classes: int) -> bool:
    """Whether a tensor has an output for each class, and that of the file for other classes."""
    return len(found) > 0 and len(wanted) > 0 and wanted[0] == classes and found[1:] == wanted[1:]


def _require_classes(source: Source, found: int, classes: int) -> None:
    if found != classes:
        raise InputError(
            f"{source.text} tells {found:,} classes apart, the dataset has {classes:,}: fine-tune it on these classes"
            f" and give {source.kind}:NAME=FILE, or a logits file"
        )


def _digest(source: Source, module: nn.Module) -> str:
    """The first digits of the SHA-256 of the file, or of the tensors where a library keeps them."""
    if source.file:
        return hashlib.sha256(Path(source.file).read_bytes()).hexdigest()[:8]
    found = hashlib.sha256()
    for tensor in module.state_dict().values():
        found.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()[:8]
