"""A trained file as users of the library get it: pixels in [0, 1] in, logits out, whatever the file's format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from archsearch._utils.toolchain import DATA
from archsearch.data.picture import Broken, Levels, decode, square
from archsearch.errors import InputError
from archsearch.inference.metadata import temperature_of
from archsearch.inference.pixels import PixelNetwork
from archsearch.inference.runner import Runner, open_runner
from archsearch.metrics.thresholds import thresholds_in
from archsearch.network.blocks.registry import is_a
from archsearch.network.layers import Shape
from archsearch.nn.weights import require_names

_SLACK = 0.1
"""Pixels may be so far outside [0, 1]: bicubic scaling overshoots."""


class Classifier(nn.Module):
    """float32 pixels (N, C, H, W) in [0, 1] to float32 logits (N, classes); normalisation is inside.

    In evaluation mode, on the CPU, without auxiliary classifiers. A safetensors file's is moved by `to` as any module
    is; those of the other formats stay on the CPU.

    Attributes:
        arch: the network's architecture.
        info: what the file's metadata say of the training.
    """

    def __init__(self, runner: Runner, path: Path) -> None:
        super().__init__()
        self.arch, self.info, self._path = runner.arch, runner.info, path
        self.pixel_network = runner.predict if isinstance(runner.predict, PixelNetwork) else None
        # In a tuple, so that the module of a .pt2 file is no part of this one: it knows no evaluation mode.
        self._predict = (runner.predict,)
        self.eval()

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names by the places of their logits; None where the file has none.

        Raises:
            InputError: they are in a file beside it, which is missing.
        """
        return names_of(self.info, self.arch.classes, self._path)

    @property
    def thresholds(self) -> tuple[float, ...] | None:
        """Where an image may have several labels, per class the probability above which its label is said.

        A probability is the sigmoid of a logit. None where an image has one label, that of the largest logit.
        """
        return thresholds_in(self.info, self.arch.classes)

    @property
    def temperature(self) -> float:
        """What logits are divided by for probabilities; 1 where the file has none. Raises InputError."""
        return temperature_of(self.info, self._path)

    @property
    def input_shape(self) -> Shape:
        """(channels, height, width) of one image."""
        return self.arch.input_shape

    @property
    def network(self) -> nn.Module:
        """The bare network: normalised images (N, C, H, W) to logits.

        Raises:
            InputError: a file of another format than safetensors has none.
        """
        if self.pixel_network is None:
            raise InputError("this file holds a graph with its normalisation: load the safetensors file")
        return self.pixel_network.network

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits. Raises InputError for images of another shape or range."""
        _require_pixels(pixels, self.input_shape)
        return self._predict[0](pixels.float())

    def preprocess(self, image: Any) -> Tensor:
        """float32 pixels (1, C, H, W) of one picture, cut and scaled as those of the dataset were.

        The short side is scaled, bilinear, then the centre is cut out.

        Args:
            image: a path, a PIL image, or an array: uint8 (H, W) or (H, W, C), or uint16 (H, W).

        Raises:
            InputError: no such picture, or channels that the network does not take.
        """
        channels, height, width = self.input_shape
        pixels = _pixels(image, self.input_shape, levels_of(self.info)).reshape(height, width, channels)
        return torch.from_numpy(pixels.transpose(2, 0, 1)[None].astype(np.float32)) / 255


def load(path: str | Path, data_dir: str | Path = DATA) -> Classifier:
    """The trained network of a file that `archsearch` wrote, of any format, or of `zoo:NAME`, ready for pictures.

        network = load("model.safetensors")
        logits = network(network.preprocess("picture.jpg"))

    Args:
        data_dir: where `archsearch export --setup` put runtimes that are not installed beside archsearch, and where
            networks by name are kept that were downloaded.

    Raises:
        InputError: missing, broken, foreign or tampered with, or a package is missing that can run it.
    """
    return Classifier(open_runner(path, data_dir=Path(data_dir)), Path(path))


def names_of(info: Mapping[str, Any], count: int, path: Path) -> tuple[str, ...] | None:
    """The names of so many classes by what a file's metadata say; None where it has none.

    Raises:
        InputError: they are in a file beside it, which is missing.
    """
    require_names(info, path)
    names = info.get("classes")
    return tuple(map(str, names)) if isinstance(names, list) and len(names) == count else None


def levels_of(info: Mapping[str, Any]) -> Levels | None:
    """Values of 16-bit grey pictures that are black and white, as those of the training; None where it had none."""
    found = info.get("range")
    if not isinstance(found, list) or len(found) != 2 or not all(is_a(value, int) for value in found):
        return None
    low, high = found
    return (low, high) if low < high else None


def _require_pixels(pixels: Tensor, shape: Shape) -> None:
    if pixels.ndim != 4 or tuple(pixels.shape[1:]) != shape:
        wanted, given = (" x ".join(map(str, one)) for one in (("N", *shape), pixels.shape))
        raise InputError(f"images of {given}: this network takes {wanted}, as `preprocess` gives them")
    if not pixels.is_floating_point():
        raise InputError(f"pixels of {pixels.dtype}: must be float32 from 0 to 1, bytes divided by 255")
    if _is_readable(pixels):
        low, high = pixels.aminmax()
        if low < -_SLACK or high > 1 + _SLACK:
            raise InputError(
                f"pixels from {low:.3g} to {high:.3g}: must be from 0 to 1, bytes divided by 255;"
                " the network normalises them itself"
            )


def _is_readable(pixels: Tensor) -> bool:
    """Whether values can be looked at without waiting for a device, and there are any."""
    plain = type(pixels) is Tensor and not torch.compiler.is_compiling()
    return plain and pixels.device.type == "cpu" and pixels.numel() > 0


def _pixels(image: Any, shape: Shape, levels: Levels | None) -> NDArray[np.uint8]:
    """uint8 (H, W) or (H, W, C)."""
    from PIL import Image

    channels, height, width = shape
    size, grey = (width, height), channels == 1
    if isinstance(image, str | Path):
        if not Path(image).is_file():
            raise InputError(f"{image}: there is no such picture")
        found = decode(_of_colours(channels, size), grey, levels, Path(image))
        if isinstance(found, Broken):
            raise InputError(f"{image} is no readable picture ({found.reason})")
        return found
    if not isinstance(image, Image.Image):
        array = _checked(image, channels)
        if (
            array.dtype == np.uint8
            and array.shape[:2] == (height, width)
            and array.shape[2:] in ((channels,), () if grey else (channels,))
        ):
            return array
        image = Image.fromarray(array)
    try:
        return square(image, _of_colours(channels, size), grey, levels)
    except (OSError, ValueError) as error:
        raise InputError(f"this picture cannot be read: {error}") from error


def _of_colours(channels: int, size: tuple[int, int]) -> tuple[int, int]:
    """The size, for networks that take grey or colour."""
    if channels not in (1, 3):
        shape = f"{size[1]} x {size[0]} x {channels}"
        raise InputError(f"this network takes {channels} channels: give an array of uint8, {shape}")
    return size


def _checked(image: Any, channels: int) -> NDArray[np.uint8]:
    """An array of a picture; one of a single channel is (H, W)."""
    found = np.asarray(image)
    deep = found.dtype == np.uint16 and found.shape[2:] in ((), (1,))
    if (
        not (found.dtype == np.uint8 or deep)
        or found.ndim not in (2, 3)
        or found.shape[2:] not in ((), (1,), (3,), (channels,))
    ):
        given = f"{found.dtype} of {' x '.join(map(str, found.shape))}"
        raise InputError(f"an array of {given}: must be uint8, height x width or height x width x {channels}")
    return found[..., 0] if found.shape[2:] == (1,) else found
