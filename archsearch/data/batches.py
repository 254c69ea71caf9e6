"""Batches on the device: bytes, shuffled, augmented and normalised a group of batches at a time."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor

from archsearch.data.augment import Augmentation, cut_out, mirrored, resized_crop, rotate, take
from archsearch.data.dataset import Normalisation
from archsearch.data.mixing import mix
from archsearch.data.policy import trivial

_CHUNK = 512  # images normalised at a time: bounds the copies beside the result
# Values augmented at a time: few calls for small images, while 16 MB of float32 still come from memory in use.
# A GPU gets four times as many, some 250 MB of copies: a policy is hundreds of small kernels (not measured).
_GROUP = {"cpu": 2**22, "cuda": 2**24}
_OFF = Augmentation()


class DeviceData:
    """One split on a device: a byte for each value, normalised when it is used.

    pixels: uint8 (N, C, H, W), channels_last. labels: int64 (N,).
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
        self._scale = (1 / (255 * std)).contiguous(memory_format=torch.channels_last)
        self._shift = (mean / std).contiguous(memory_format=torch.channels_last)
        self.dtype = dtype
        self.labels = labels.to(device)
        self.pixels = torch.empty(
            images.shape, dtype=torch.uint8, device=device, memory_format=torch.channels_last
        ).copy_(images)

    def __len__(self) -> int:
        return len(self.labels)

    def normalised(self, levels: Tensor) -> Tensor:
        """uint8 or float32 levels (B, C, H, W) from 0 to 255 as `dtype`: mean 0, deviation 1 over the train images.

        Float32 levels are overwritten.
        """
        return levels.float().mul_(self._scale).sub_(self._shift).to(self.dtype)

    @cached_property
    def images(self) -> Tensor:
        """All images normalised: `dtype` (N, C, H, W), channels_last; made at first use and kept. For evaluation."""
        images = torch.empty_like(self.pixels, dtype=self.dtype)
        for source, target in zip(torch.split(self.pixels, _CHUNK), torch.split(images, _CHUNK), strict=True):
            target.copy_(self.normalised(source))
        return images


def epoch(
    data: DeviceData,
    batch_size: int,
    *,
    generator: torch.Generator,
    augmentation: Augmentation = _OFF,
    number: int = 1,
    classes: int | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Every image once in random order: augmented `data.dtype` (B, C, H, W) images, channels_last, and targets.

    Targets are int64 (B,) labels; with mixup or cutmix float32 (B, classes), each row with sum 1. `number` is the
    epoch's, for alternating flips. Only full batches: the rest of an epoch is dropped, unless it is all there is.
    A generator on the CPU draws the same for every device with groups of one size. Needs an image. InputError for a
    crop or cutout that does not fit; ValueError where mixing lacks `classes`.
    """
    channels, height, width = data.pixels.shape[1:]
    augmentation.require_room(height, width)
    if augmentation.mixes and classes is None:
        raise ValueError("classes None: mixup and cutmix need the number of classes")
    order = torch.randperm(len(data), generator=generator, device=generator.device).to(data.labels.device)
    mirror = mirrored(order, augmentation.flip, number, generator)
    size = min(batch_size, len(data))
    values = _GROUP.get(data.pixels.device.type, _GROUP["cpu"])
    step = size * max(1, values // (size * channels * height * width))
    used = len(data) // size * size
    for first in range(0, used, step):
        group = slice(first, min(first + step, used))
        images = take(
            data.pixels, order[group], augmentation.crop, None if mirror is None else mirror[group], generator
        )
        images = _changed(data, images, first, augmentation, generator)
        targets = data.labels.index_select(0, order[group])
        if augmentation.mixes and classes is not None:
            images, targets = mix(images, targets, size, augmentation, classes, generator)
        yield from zip(torch.split(images, size), torch.split(targets, size), strict=True)


def _changed(
    data: DeviceData, levels: Tensor, first: int, augmentation: Augmentation, generator: torch.Generator
) -> Tensor:
    """Images at positions from `first` on in an epoch: changed as levels, then normalised, then cut."""
    if augmentation.resized_crop < 1:
        levels = resized_crop(levels.float(), augmentation.resized_crop, generator)
    if augmentation.rotate:
        levels = rotate(levels.float(), augmentation.rotate, generator)
    if augmentation.policy == "trivial":
        levels = levels.float()
        trivial(levels, first, generator)
    images = data.normalised(levels)
    if augmentation.cutout:
        cut_out(images, augmentation.cutout, generator)
    return images
