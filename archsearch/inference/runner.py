"""One way to run every format."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from archsearch._utils import certified
from archsearch._utils.formats import FORMATS, files_of, format_of
from archsearch._utils.toolchain import DATA, interpreter
from archsearch.data.pixels import Pixels
from archsearch.errors import InputError, one_line
from archsearch.inference import onnx, pt2
from archsearch.inference.hosted import Hosted
from archsearch.inference.pixels import PixelNetwork, normalisation_of
from archsearch.network.arch import Arch
from archsearch.nn import trailer, weights
from archsearch.nn.devices import full_float32

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


def open_runner(
    path: str | Path, device: torch.device | None = None, *, trusted: bool = False, data_dir: Path = DATA
) -> Runner:
    """A file's network, ready to run; or that of `zoo:NAME`, see `_utils.certified`.

    Args:
        device: for safetensors; the other formats run on the CPU, where they were exported.
        trusted: this process wrote the file: an archive of `torch.export` is loaded unchecked.
        data_dir: where `export --setup` put the runtimes that are not installed here, and networks by name are kept.

    Raises:
        InputError: missing, broken, foreign or tampered with, or a package is missing that can run it.
    """
    if known := certified.named(path):
        found = open_runner(certified.local(known, data_dir), device, data_dir=data_dir)
        return replace(found, info={**found.info, **known.info})
    path, device = Path(path), device or torch.device("cpu")
    kind = format_of(path)
    for file in files_of(path):
        if not file.is_file():
            raise InputError(f"{file}: there is no such file" + (f", it belongs to {path}" if file != path else ""))
    if kind != "safetensors" and device.type != "cpu":
        raise InputError(f"{path}: {kind} files run on the CPU here, not on {device}")
    if kind != "safetensors":
        metadata, predict = _graph(kind, path, trusted, data_dir)
        described = weights.described(metadata, path)
        _probe(predict, described.arch, path)
        return Runner(described.arch, described.info, predict)
    read = weights.read(path)
    normalisation = normalisation_of(read.info, read.arch.input_shape[0], str(path))
    network = PixelNetwork(weights.load_module(path), normalisation).to(device)
    return Runner(read.arch, read.info, network, device)


def _graph(kind: str, path: Path, trusted: bool, data_dir: Path) -> tuple[dict[str, str], Callable[[Tensor], Tensor]]:
    """The metadata of a file that holds a graph, and the graph in its runtime."""
    if FORMATS[kind].hosted:
        metadata = trailer.read(files_of(path)[-1])
        trailer.require_pair(metadata, path)
        return metadata, Hosted(kind, path, interpreter(kind, data_dir), torch.get_num_threads())
    return onnx.load(path) if kind == "onnx" else pt2.load(path, trusted=trusted)


def _probe(predict: Callable[[Tensor], Tensor], arch: Arch, path: Path) -> None:
    """Raises InputError unless a graph does with two images what its architecture would."""
    try:
        shape = tuple(predict(torch.zeros(2, *arch.input_shape)).cpu().shape)
    except Exception as error:  # noqa: BLE001 - torch and ONNX Runtime share no exception
        raise InputError(f"{path}: its graph does not run on images of its architecture: {one_line(error)}") from None
    if shape != (2, arch.classes):
        raise InputError(f"{path}: its graph gives {shape[1:]}, its architecture {arch.classes} logits")
