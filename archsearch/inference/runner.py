"""One way to run every format."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from archsearch.data.pixels import Pixels
from archsearch.errors import InputError, one_line
from archsearch.inference import onnx, pt2
from archsearch.inference.pixels import PixelNetwork, normalisation_of
from archsearch.network.arch import Arch
from archsearch.nn import weights
from archsearch.nn.devices import full_float32

FORMATS = ("safetensors", "onnx", "pt2")
BATCH = 250
"""Images that are run at a time."""


@dataclass(frozen=True)
class Runner:
    """A file's network. `predict`: float32 pixels (N, C, H, W) in [0, 1] on `device` to float32 logits (N, classes)."""

    arch: Arch
    info: dict[str, Any]
    predict: Callable[[Tensor], Tensor]
    device: torch.device | str = "cpu"

    @torch.no_grad()
    @full_float32()
    def __call__(self, images: Tensor | Pixels) -> Tensor:
        """Bytes, or float32 pixels in [0, 1], (N, C, H, W) on the CPU to float32 (N, classes) there, batch by batch."""
        found = [self._logits(batch) for batch in _batches(images) if len(batch)]
        return torch.cat(found) if found else torch.empty(0, self.arch.classes)

    def _logits(self, images: Tensor) -> Tensor:
        pixels = images.float() / 255 if images.dtype == torch.uint8 else images
        return self.predict(pixels.to(self.device)).cpu()


def _batches(images: Tensor | Pixels) -> Iterable[Tensor]:
    return images.chunks(BATCH) if isinstance(images, Pixels) else torch.split(images, BATCH)


def format_of(path: Path) -> str:
    """The format by a file's name: what is neither .onnx (or .onnx.xz) nor .pt2 is safetensors."""
    suffix = "onnx" if path.name.endswith(".onnx.xz") else path.suffix.removeprefix(".")
    return suffix if suffix in FORMATS else "safetensors"


def open_runner(path: str | Path, device: torch.device | None = None, *, trusted: bool = False) -> Runner:
    """A file's network, ready to run.

    Args:
        device: for safetensors; the other two formats run on the CPU, where they were exported.
        trusted: this process wrote the file: an archive of `torch.export` is loaded unchecked.

    Raises:
        InputError: missing, broken, foreign or tampered with, or a package is missing that can run it.
    """
    path, device = Path(path), device or torch.device("cpu")
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    kind = format_of(path)
    if kind != "safetensors" and device.type != "cpu":
        raise InputError(f"{path}: {kind} files run on the CPU here, not on {device}")
    if kind != "safetensors":
        metadata, predict = onnx.load(path) if kind == "onnx" else pt2.load(path, trusted=trusted)
        found = weights.described(metadata, path)
        _probe(predict, found.arch, path)
        return Runner(found.arch, found.info, predict)
    found = weights.read(path)
    normalisation = normalisation_of(found.info, found.arch.input_shape[0], str(path))
    network = PixelNetwork(weights.load_module(path), normalisation).to(device)
    return Runner(found.arch, found.info, network, device)


def _probe(predict: Callable[[Tensor], Tensor], arch: Arch, path: Path) -> None:
    """Raises InputError unless a graph does with two images what its architecture would."""
    try:
        shape = tuple(predict(torch.zeros(2, *arch.input_shape)).cpu().shape)
    except Exception as error:  # noqa: BLE001 - torch and ONNX Runtime share no exception
        raise InputError(f"{path}: its graph does not run on images of its architecture: {one_line(error)}") from None
    if shape != (2, arch.classes):
        raise InputError(f"{path}: its graph gives {shape[1:]}, its architecture {arch.classes} logits")
