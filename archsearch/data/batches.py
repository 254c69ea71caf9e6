"""Batches on the device: normalised once, then shuffled and augmented without Python per image."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from archsearch.data.dataset import Normalisation

_CHUNK = 512  # images normalised at a time: bounds the copies beside the result


class DeviceData:
    """One split on a device.

    images: `dtype` (N, C, H, W), channels_last, with mean 0 and deviation 1 over the train images.
    labels: int64 (N,). Takes uint8 images; each image costs C * H * W elements of `dtype`.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        normalisation: Normalisation,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        # as large as an image: a broadcast over three channels in the innermost place is slow
        mean, std = (
            torch.tensor(values).view(-1, 1, 1).expand(images.shape[1:]).unsqueeze(0).to(device)
            for values in normalisation
        )
        scale = (1 / (255 * std)).contiguous(memory_format=torch.channels_last)
        shift = (mean / std).contiguous(memory_format=torch.channels_last)
        self.labels = labels.to(device)
        self.images = torch.empty(images.shape, dtype=dtype, device=device, memory_format=torch.channels_last)
        for source, target in zip(torch.split(images, _CHUNK), torch.split(self.images, _CHUNK), strict=True):
            pixels = source.to(device).contiguous(memory_format=torch.channels_last).float()
            target.copy_(pixels.mul_(scale).sub_(shift))

    def __len__(self) -> int:
        return len(self.labels)


def epoch(
    data: DeviceData,
    batch_size: int,
    *,
    generator: torch.Generator,
    crop: int = 0,
    flip: bool = False,
    cutout: int = 0,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Every image once in random order: augmented (B, C, H, W) images, channels_last, and (B,) labels.

    Only full batches: the rest of an epoch is dropped, unless it is all there is. Needs an image.
    """
    order = torch.randperm(len(data), generator=generator, device=generator.device).to(data.labels.device)
    size = min(batch_size, len(data))
    pixels = data.images.permute(0, 2, 3, 1)
    for start in range(0, len(data) - size + 1, size):
        chosen = order[start : start + size]
        images = pixels.index_select(0, chosen).permute(0, 3, 1, 2)
        yield (
            augment(images, crop=crop, flip=flip, cutout=cutout, generator=generator),
            data.labels.index_select(0, chosen),
        )


def augment(
    images: Tensor, *, crop: int = 0, flip: bool = False, cutout: int = 0, generator: torch.Generator
) -> Tensor:
    """Each image of a (B, C, H, W) batch shifted, mirrored and masked by its own random draw.

    crop: shift by up to so many pixels each way, the border filled by reflection (0 <= crop < H, W).
    flip: mirror left to right with probability 1/2. cutout: zero a random square of so many pixels a
    side, wholly inside (0 <= cutout <= H, W). The result is channels_last with the shape and dtype of
    `images`, which stay as they are; with everything off it is `images`. A generator on the CPU draws
    the same for every device. ValueError for a crop or cutout that does not fit.
    """
    shortest = min(images.shape[2:])
    if not 0 <= crop < shortest:
        raise ValueError(f"crop {crop}: must be from 0 to {shortest - 1} pixels for this image size")
    if not 0 <= cutout <= shortest:
        raise ValueError(f"cutout {cutout}: must be from 0 to {shortest} pixels for this image size")
    images = images.contiguous(memory_format=torch.channels_last)
    if crop or flip:
        images = _shift_and_flip(images, crop, flip, generator)
    elif cutout:
        images = images.clone()
    if cutout:
        _cut_out(images, cutout, generator)
    return images


def _shift_and_flip(images: Tensor, crop: int, flip: bool, generator: torch.Generator) -> Tensor:
    """One gather of whole pixels does both: padding, cropping and mirroring are only other indices."""
    count, channels, height, width = images.shape
    rows = _window(count, height, crop, generator, images.device)
    columns = _window(count, width, crop, generator, images.device)
    if flip:
        mirrored = _draw(2, count, generator, images.device).bool()
        columns = torch.where(mirrored, columns.flip(1), columns)
    source = _positions(rows, columns, height, width)
    pixels = images.permute(0, 2, 3, 1).view(-1, channels).index_select(0, source)
    return pixels.view(count, height, width, channels).permute(0, 3, 1, 2)


def _cut_out(images: Tensor, cutout: int, generator: torch.Generator) -> None:
    """In place: one more copy of a batch costs more than all of its squares."""
    count, channels, height, width = images.shape
    side = torch.arange(cutout, device=images.device)
    rows = side + _draw(height - cutout + 1, count, generator, images.device)
    columns = side + _draw(width - cutout + 1, count, generator, images.device)
    square = _positions(rows, columns, height, width)
    images.permute(0, 2, 3, 1).view(-1, channels).index_fill_(0, square, 0)


def _draw(high: int, count: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """int64 (count, 1) in 0..high-1, drawn where the generator lives, so alike for every device."""
    return torch.randint(high, (count, 1), generator=generator, device=generator.device).to(device)


def _window(count: int, size: int, crop: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """(count, size) coordinates of randomly shifted windows, those outside 0..size-1 reflected inside."""
    steps = torch.arange(size, device=device)
    if not crop:
        return steps.expand(count, size)
    shifted = (steps + _draw(2 * crop + 1, count, generator, device) - crop).abs()
    return size - 1 - (size - 1 - shifted).abs()


def _positions(rows: Tensor, columns: Tensor, height: int, width: int) -> Tensor:
    """Positions of the pixels (b, row, column) in a flattened (B, height, width) batch.

    rows: (B, R); columns: (B, Q); the result: (B * R * Q,).
    """
    first = torch.arange(len(rows), device=rows.device).view(-1, 1) * height
    return (((first + rows) * width).unsqueeze(2) + columns.unsqueeze(1)).view(-1)
