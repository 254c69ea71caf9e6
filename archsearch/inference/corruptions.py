"""How a trained file does on corrupted images: noise, blur, light, coarse pixels and JPEG at five strengths.

Nine of the fifteen corruptions of CIFAR-10-C, Tiny-ImageNet-C and ImageNet-C (Hendrycks and Dietterich 2019, arXiv
1903.12261), by their names there, with the strengths of the set whose images are nearest in size.
They are made on the fly, the same every time: the five strengths of a corruption share one draw.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from archsearch._utils.seeds import seed_of
from archsearch.data.dataset import Split
from archsearch.data.pixels import Pixels
from archsearch.errors import InputError
from archsearch.inference.evaluate import require_finite

STRENGTHS = range(1, 6)
_BATCH = 250
_LEAST = 8
_MIDDLE, _LARGE = 46, 120
"""Sides from which on strengths are those for 64 and for 224 pixels: the geometric means of 32, 64 and 224."""
_LARGEST = 255.0
_NEGLIGIBLE = 1e-4
_TURN = math.radians(45)

Values = tuple[float, ...]
Change = Callable[[Tensor, Values, torch.Generator], Tensor]


@dataclass(frozen=True)
class Corruption:
    """What is done to float levels (B, C, H, W) from 0 to 255, and with which values at each of the five strengths.

    small, middle, large: those of CIFAR-10-C (32 pixels), Tiny-ImageNet-C (64) and ImageNet-C (224).
    """

    change: Change
    small: tuple[Values, ...]
    middle: tuple[Values, ...]
    large: tuple[Values, ...]

    def values(self, strength: int, side: int) -> Values:
        """At a strength from 1 to 5, for images whose shorter side has so many pixels."""
        at = self.small if side < _MIDDLE else self.middle if side < _LARGE else self.large
        return at[strength - 1]


def _single(*values: float) -> tuple[Values, ...]:
    return tuple((value,) for value in values)


def _gaussian_noise(levels: Tensor, values: Values, generator: torch.Generator) -> Tensor:
    """values: the deviation as a share of the range."""
    return levels + torch.randn(levels.shape, generator=generator) * (values[0] * _LARGEST)


def _shot_noise(levels: Tensor, values: Values, generator: torch.Generator) -> Tensor:
    """values: photons of a white pixel."""
    step = _LARGEST / values[0]
    return torch.poisson(levels / step, generator) * step


def _impulse_noise(levels: Tensor, values: Values, generator: torch.Generator) -> Tensor:
    """values: the share of black and white values, half each, in every channel apart."""
    place, half = torch.rand(levels.shape, generator=generator), values[0] / 2
    return levels.masked_fill(place < half, 0.0).masked_fill(place >= 1 - half, _LARGEST)


def _defocus_blur(levels: Tensor, values: Values, generator: torch.Generator) -> Tensor:
    """values: radius of a disc, and deviation of the Gaussian that smooths it, in pixels. Borders are mirrored."""
    kernel = _disc(*values)
    room = kernel.shape[0] // 2
    planes = functional.pad(levels.flatten(0, 1).unsqueeze(1), (room,) * 4, mode="reflect")
    return functional.conv2d(planes, kernel[None, None]).reshape(levels.shape)


def _disc(radius: float, deviation: float) -> Tensor:
    """A smoothed disc (K, K) with sum 1, K odd."""
    around = 1 if radius <= 8 else 2  # of the Gaussian, as published
    half = int(radius) + around
    steps = torch.arange(-half, half + 1).float()
    disc = (steps.view(-1, 1) ** 2 + steps**2 <= radius**2).float()
    bell = torch.exp(torch.arange(-around, around + 1).float() ** 2 / (-2 * deviation**2))
    square = torch.outer(bell, bell)
    smooth = functional.conv2d(disc[None, None], square[None, None], padding=around)[0, 0]
    return smooth / smooth.sum()


def _motion_blur(levels: Tensor, values: Values, generator: torch.Generator) -> Tensor:
    """values: radius and deviation in pixels of half a Gaussian along a line, which ImageMagick draws likewise.

    Its angle is uniform from -45 to 45 degrees, one for each image. Borders are repeated.
    """
    radius, deviation = values
    count, _, height, width = levels.shape
    angles = (2 * torch.rand(count, generator=generator) - 1) * _TURN
    places = torch.arange(2 * math.ceil(radius) + 1)
    weights = torch.exp(places**2 / (-2 * deviation**2))
    pixels, images = levels.permute(0, 2, 3, 1).contiguous(), torch.arange(count).view(-1, 1, 1)
    blurred = torch.zeros_like(pixels)
    for place, weight in zip(places.tolist(), (weights / weights.sum()).tolist(), strict=True):
        if weight < _NEGLIGIBLE:
            break
        across = torch.ceil(place * angles.cos() - 0.5).long().view(-1, 1) + torch.arange(width)
        down = torch.ceil(place * angles.sin() - 0.5).long().view(-1, 1) + torch.arange(height)
        rows, columns = down.clamp(0, height - 1).unsqueeze(2), across.clamp(0, width - 1).unsqueeze(1)
        blurred += weight * pixels[images, rows, columns]
    return blurred.permute(0, 3, 1, 2)


def _brightness(levels: Tensor, values: Values, generator: torch.Generator) -> Tensor:
    """values: what is added to the value of HSV, as a share of the range; hue and saturation stay."""
    value = levels.amax(1, keepdim=True)
    brighter = (value + values[0] * _LARGEST).clamp(max=_LARGEST)
    return torch.where(value > 0, levels * (brighter / value.clamp(min=1)), brighter)


def _contrast(levels: Tensor, values: Values, generator: torch.Generator) -> Tensor:
    """values: the share of a level's distance from its channel's mean that is left."""
    return torch.lerp(levels.mean((2, 3), keepdim=True), levels, values[0])


def _pixelate(levels: Tensor, values: Values, generator: torch.Generator) -> Tensor:
    """values: the share of the sides at which images are stored, each pixel in one cell; as Pillow's BOX."""
    rows, columns = (_cells(side, max(1, int(side * values[0]))) for side in levels.shape[2:])
    return rows @ _rounded(levels @ columns.T)


def _cells(side: int, cells: int) -> Tensor:
    """(side, side): by which shares each place has the pixels of a row or column in it."""
    return _box(cells, side) @ _box(side, cells)


def _box(size: int, wanted: int) -> Tensor:
    """(wanted, size): shares of the places in each new one, in Pillow's arithmetic, which decides ties."""
    scale = size / wanted
    wide = max(1.0, scale)
    places, centres = torch.arange(size), ((torch.arange(wanted).double() + 0.5) * scale).view(-1, 1)
    first, end = (centres - 0.5 * wide + 0.5).long(), (centres + 0.5 * wide + 0.5).long()
    away = (places - centres + 0.5) * (1 / wide)
    inside = ((away > -0.5) & (away <= 0.5) & (places >= first) & (places < end)).float()
    return inside / inside.sum(1, keepdim=True)


def _jpeg_compression(levels: Tensor, values: Values, generator: torch.Generator) -> Tensor:
    """values: the quality. Images of neither one nor three channels are compressed channel by channel."""
    planes = levels if levels.shape[1] in (1, 3) else levels.flatten(0, 1).unsqueeze(1)
    pictures = _rounded(planes).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    found = np.stack([_compressed(picture, int(values[0])) for picture in pictures])
    return torch.from_numpy(found).permute(0, 3, 1, 2).reshape(levels.shape).float()


def _compressed(picture: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """uint8 (H, W, 1 or 3), written as JPEG and read again."""
    from PIL import Image

    file, shape = io.BytesIO(), picture.shape
    Image.fromarray(np.ascontiguousarray(picture[..., 0] if shape[2] == 1 else picture)).save(
        file, "JPEG", quality=quality
    )
    with Image.open(file) as found:
        return np.asarray(found, dtype=np.uint8).reshape(shape)


CORRUPTIONS = {
    "gaussian_noise": Corruption(
        _gaussian_noise,
        _single(0.04, 0.06, 0.08, 0.09, 0.10),
        _single(0.04, 0.08, 0.12, 0.15, 0.18),
        _single(0.08, 0.12, 0.18, 0.26, 0.38),
    ),
    "shot_noise": Corruption(
        _shot_noise, _single(500, 250, 100, 75, 50), _single(250, 100, 50, 30, 15), _single(60, 25, 12, 5, 3)
    ),
    "impulse_noise": Corruption(
        _impulse_noise,
        _single(0.01, 0.02, 0.03, 0.05, 0.07),
        _single(0.01, 0.02, 0.05, 0.08, 0.14),
        _single(0.03, 0.06, 0.09, 0.17, 0.27),
    ),
    "defocus_blur": Corruption(
        _defocus_blur,
        ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
        ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    ),
    "motion_blur": Corruption(
        _motion_blur,
        ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
        ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
        ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    ),
    "brightness": Corruption(
        _brightness,
        _single(0.05, 0.1, 0.15, 0.2, 0.3),
        _single(0.1, 0.2, 0.3, 0.4, 0.5),
        _single(0.1, 0.2, 0.3, 0.4, 0.5),
    ),
    "contrast": Corruption(
        _contrast,
        _single(0.75, 0.5, 0.4, 0.3, 0.15),
        _single(0.4, 0.3, 0.2, 0.1, 0.05),
        _single(0.4, 0.3, 0.2, 0.1, 0.05),
    ),
    "pixelate": Corruption(
        _pixelate,
        _single(0.95, 0.9, 0.85, 0.75, 0.65),
        _single(0.9, 0.8, 0.7, 0.6, 0.5),
        _single(0.6, 0.5, 0.4, 0.3, 0.25),
    ),
    "jpeg_compression": Corruption(
        _jpeg_compression, _single(80, 65, 58, 50, 40), _single(65, 58, 50, 40, 25), _single(25, 18, 15, 10, 7)
    ),
}
"""By the names of CIFAR-10-C's files."""


@dataclass(frozen=True)
class Corrupted:
    """Scores on corrupted images. `by`: for every corruption those at the strengths 1 to 5."""

    by: dict[str, list[float]]

    @property
    def means(self) -> dict[str, float]:
        """Of each corruption, over its strengths."""
        return {name: fmean(scores) for name, scores in self.by.items()}

    @property
    def mean(self) -> float:
        """Over corruptions and strengths alike."""
        return fmean(self.means.values())

    @property
    def worst(self) -> tuple[str, int, float]:
        """Corruption and strength with the lowest score, and that score."""
        cells = [(name, at + 1, score) for name, scores in self.by.items() for at, score in enumerate(scores)]
        return min(cells, key=lambda cell: cell[2])

    def to_json(self) -> dict[str, object]:
        """Plain values: mean, worst, and all by corruption."""
        return {"mean": self.mean, "worst": self.worst[2], "by": self.by}


def corrupt(images: Tensor, name: str, strength: int, generator: torch.Generator) -> Tensor:
    """Corrupt uint8 images (B, C, H, W): as many again, uint8, channels_last; `images` stay.

    Args:
        name: one of `CORRUPTIONS`. strength: from 1 to 5. generator: on the CPU.

    Raises:
        InputError: no such corruption or strength, or images of fewer than 8 pixels a side.
    """
    side = min(images.shape[2:])
    if name not in CORRUPTIONS or strength not in STRENGTHS:
        raise InputError(f"corruption {name!r} at {strength}: must be one of {', '.join(CORRUPTIONS)} at 1 to 5")
    if side < _LEAST:
        raise InputError(f"images of {side} pixels a side: corruptions need {_LEAST} at least, leave them out")
    found = CORRUPTIONS[name]
    changed = found.change(images.float(), found.values(strength, side), generator)
    return _rounded(changed.clamp(0, _LARGEST)).to(torch.uint8).contiguous(memory_format=torch.channels_last)


def corrupted(images: Pixels, name: str, strength: int, seed: int = 0) -> Iterator[Tensor]:
    """All images in order, corrupted, some at a time: the same ones for the same seed. Raises as `corrupt` does."""
    generator = torch.Generator().manual_seed(seed_of(name, seed))
    for batch in images.chunks(_BATCH):
        yield corrupt(batch, name, strength, generator)


def evaluate_corrupted(
    classify: Callable[[Tensor], Tensor],
    part: Split,
    score: Callable[[Tensor, Tensor], float],
    told: Callable[[int, int], object] = lambda done, total: None,
) -> Corrupted:
    """Hold a network against every corruption of labelled images at every strength.

    Args:
        classify: uint8 images (B, C, H, W) to logits (B, classes), as a `Runner` does.
        part: images, at least one, and labels.
        score: of all logits and labels, a `Metric` for instance.
        told: how many of how many passes over the images are done, before each and at the end.

    Raises:
        InputError: outputs are not finite, or images are too small.
    """
    images, labels = part
    by: dict[str, list[float]] = {name: [] for name in CORRUPTIONS}
    passes = [(name, strength) for name in CORRUPTIONS for strength in STRENGTHS]
    for done, (name, strength) in enumerate(passes):
        told(done, len(passes))
        logits = torch.cat([classify(batch) for batch in corrupted(images, name, strength)])
        require_finite(logits)
        by[name].append(score(logits, labels))
    told(len(passes), len(passes))
    return Corrupted(by)


def _rounded(levels: Tensor) -> Tensor:
    """Whole levels, halves up."""
    return (levels + 0.5).floor()
