"""Random changes of whole batches on the device: shift, mirror, zoom, rotate, noise, cut out. Nothing waits for it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from archsearch.errors import InputError
from archsearch.network.recipe import Recipe

_ALTERNATE = 2
_RATIO = math.log(4 / 3)
_LARGEST = 255.0


@dataclass(frozen=True, slots=True)
class Augmentation:
    """What an epoch does to its images; with every value at its default, nothing.

    crop: shift by up to so many pixels each way, the border filled by reflection (0 <= crop < H, W).
    flip: 1 mirrors left to right with probability 1/2; 2 mirrors a random half of the images in even epochs
        and the other half in odd ones (Jordan 2024, arXiv 2404.00498).
    rotate: turn by up to so many degrees each way. cutout: a square of so many pixels a side is set to the mean
        (DeVries and Taylor 2017, arXiv 1708.04552; 0 <= cutout <= H, W).
    mixup, cutmix: the alpha of `mix`. policy: "trivial" for one operation of `policy.OPERATIONS` an image.
    resized_crop: the smallest share of its area that an image is cropped to and enlarged from; 1: whole.
    noise: the largest deviation that Gaussian noise has, as a share of the levels' range.
    """

    crop: int = 0
    flip: int = 0
    rotate: int = 0
    cutout: int = 0
    mixup: float = 0.0
    cutmix: float = 0.0
    policy: str = "none"
    resized_crop: float = 1.0
    noise: float = 0.0

    @property
    def mixes(self) -> bool:
        """Whether images are joined, which makes targets a row of shares."""
        return bool(self.mixup or self.cutmix)

    def require_room(self, height: int, width: int) -> None:
        """InputError for a crop or cutout that does not fit images of this size."""
        shortest = min(height, width)
        if not 0 <= self.crop < shortest:
            raise InputError(f"crop {self.crop}: must be from 0 to {shortest - 1} pixels for this image size")
        if not 0 <= self.cutout <= shortest:
            raise InputError(f"cutout {self.cutout}: must be from 0 to {shortest} pixels for this image size")


def augmentation_of(recipe: Recipe) -> Augmentation:
    """The augmentation of a settled recipe (nothing left at -1)."""
    return Augmentation(
        recipe.crop,
        recipe.flip,
        recipe.rotate,
        recipe.cutout,
        recipe.mixup,
        recipe.cutmix,
        recipe.policy,
        recipe.resized_crop,
        recipe.noise,
    )


def mirrored(order: Tensor, flip: int, number: int, generator: torch.Generator) -> Tensor | None:
    """bool (N,): which of the images, in the order of epoch `number`, are mirrored; None for none.

    order: int64 (N,), a permutation. The halves of the alternating flip follow from the seed of the generator,
    so they stay for all epochs.
    """
    if flip == _ALTERNATE:
        own = torch.Generator().manual_seed(generator.initial_seed() ^ 0xF11B)
        half = torch.randint(2, (len(order),), generator=own).to(order.device)
        return half.index_select(0, order) == number % 2
    return draw(2, len(order), generator, order.device).view(-1).bool() if flip else None


def take(pixels: Tensor, chosen: Tensor, crop: int, mirror: Tensor | None, generator: torch.Generator) -> Tensor:
    """The images `chosen` (B,) of `pixels` (N, C, H, W), channels_last, cropped at random and mirrored as told.

    One gather of whole pixels does it all: padding, cropping and mirroring are only other indices.
    """
    channels, height, width = pixels.shape[1:]
    stored = pixels.permute(0, 2, 3, 1)
    if not crop and mirror is None:
        return stored.index_select(0, chosen).permute(0, 3, 1, 2)
    rows = _window(len(chosen), height, crop, generator, chosen.device)
    columns = _window(len(chosen), width, crop, generator, chosen.device)
    if mirror is not None:
        columns = torch.where(mirror.view(-1, 1), columns.flip(1), columns)
    source = _positions(chosen, rows, columns, height, width)
    found = stored.view(-1, channels).index_select(0, source)
    return found.view(len(chosen), height, width, channels).permute(0, 3, 1, 2)


def cut_out(images: Tensor, cutout: int, generator: torch.Generator) -> None:
    """Zero a random square, wholly inside, of each image of a channels_last (B, C, H, W) batch.

    In place: one more copy of a batch costs more than all of its squares.
    """
    count, channels, height, width = images.shape
    side = torch.arange(cutout, device=images.device)
    rows = side + draw(height - cutout + 1, count, generator, images.device)
    columns = side + draw(width - cutout + 1, count, generator, images.device)
    square = _positions(torch.arange(count, device=images.device), rows, columns, height, width)
    images.permute(0, 2, 3, 1).view(-1, channels).index_fill_(0, square, 0)


def add_noise(levels: Tensor, most: float, generator: torch.Generator) -> None:
    """Add Gaussian noise to float levels (B, C, H, W) from 0 to 255, in place; what leaves them is cut off.

    Each image's deviation is uniform from 0 to `most`, as a share of the range. That such noise helps against other
    corruptions too is from Rusak et al. 2020 (arXiv 2001.06057).
    """
    deviations = (_LARGEST * most) * draw_unit(len(levels), generator, levels.device).view(-1, 1, 1, 1)
    count, channels, height, width = levels.shape
    normal = torch.randn(count, height, width, channels, generator=generator, device=generator.device)
    levels.addcmul_(normal.to(levels.device).permute(0, 3, 1, 2), deviations).clamp_(0, _LARGEST)


def rotate(images: Tensor, degrees: int, generator: torch.Generator) -> Tensor:
    """A float (B, C, H, W) batch, each image turned by an angle from -degrees to degrees; channels_last."""
    angles = (2 * draw_unit(len(images), generator, images.device) - 1) * math.radians(degrees)
    return warp(images, rotation(angles)).contiguous(memory_format=torch.channels_last)


def resized_crop(images: Tensor, least: float, generator: torch.Generator) -> Tensor:
    """A float (B, C, H, W) batch, each image a random window of itself at full size; channels_last.

    The Inception crop (Szegedy et al. 2014, arXiv 1409.4842): a window's share of the area is uniform from `least`
    to 1, the logarithm of its width over its height, both as shares of the image's, uniform from 3/4 to 4/3 as far
    as it fits, its place uniform. Windows are enlarged, never made smaller: bilinear, nothing to antialias.
    """
    height, width = images.shape[2:]
    uniform = torch.rand(4, len(images), generator=generator, device=generator.device).to(images.device)
    across, down, right, below = _windows(uniform, least)
    zero = torch.zeros_like(across)
    shift_x, shift_y = right * ((width - 1) / 2), below * ((height - 1) / 2)
    matrices = torch.stack([across, zero, shift_x, zero, down, shift_y], 1).view(-1, 2, 3)
    return warp(images, matrices).contiguous(memory_format=torch.channels_last)


def _windows(uniform: Tensor, least: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Width, height and centre (x, y) of windows, (B,) each, from (4, B) uniform values; the image is [-1, 1]^2.

    Width and height are shares of the image's.
    """
    area = 1 - (1 - least) * uniform[0]
    most = area.log().neg().clamp(max=_RATIO)  # beyond it a side would be longer than the image's
    ratio = ((2 * uniform[1] - 1) * most).exp()
    across, down = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    return across, down, (2 * uniform[2] - 1) * (1 - across), (2 * uniform[3] - 1) * (1 - down)


def rotation(angles: Tensor) -> Tensor:
    """(B, 2, 3) matrices for `warp` that turn counter-clockwise by (B,) angles in radians."""
    cos, sin, zero = angles.cos(), angles.sin(), torch.zeros_like(angles)
    return torch.stack([cos, -sin, zero, sin, cos, zero], 1).view(-1, 2, 3)


def warp(images: Tensor, matrices: Tensor) -> Tensor:
    """Each image of a float (B, C, H, W) batch under its own affine map: bilinear, borders reflected.

    matrices: (B, 2, 3). One takes (x, y, 1) of a pixel of the result, in pixels from the centre, x to the right
    and y down, to the place in the image where its value comes from.
    """
    height, width = images.shape[2:]
    x = (torch.arange(width, device=images.device) - (width - 1) / 2).view(1, 1, -1)
    y = (torch.arange(height, device=images.device) - (height - 1) / 2).view(1, -1, 1)
    parts = [entry.view(-1, 1, 1) for entry in matrices.flatten(1).unbind(1)]
    across = (parts[0] * x + parts[1] * y + parts[2]) * (2 / max(1, width - 1))
    down = (parts[3] * x + parts[4] * y + parts[5]) * (2 / max(1, height - 1))
    grid = torch.stack([across, down], 3)
    return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=True)


def draw(high: int, count: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """int64 (count, 1) in 0..high-1, drawn where the generator lives, so alike for every device."""
    return torch.randint(high, (count, 1), generator=generator, device=generator.device).to(device)


def draw_unit(count: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """float32 (count,) uniform in [0, 1), drawn where the generator lives."""
    return torch.rand(count, generator=generator, device=generator.device).to(device)


def _window(count: int, size: int, crop: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """(count, size) coordinates of randomly shifted windows, those outside 0..size-1 reflected inside."""
    steps = torch.arange(size, device=device)
    if not crop:
        return steps.expand(count, size)
    shifted = (steps + draw(2 * crop + 1, count, generator, device) - crop).abs()
    return size - 1 - (size - 1 - shifted).abs()


def _positions(chosen: Tensor, rows: Tensor, columns: Tensor, height: int, width: int) -> Tensor:
    """Positions of the pixels (chosen[b], row, column) in flattened (N, height, width) images.

    chosen: (B,); rows: (B, R); columns: (B, Q); the result: (B * R * Q,).
    """
    first = chosen.view(-1, 1) * height
    return (((first + rows) * width).unsqueeze(2) + columns.unsqueeze(1)).view(-1)
