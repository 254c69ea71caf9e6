"""Mixup and cutmix: each image of a batch joined with another one, and the targets in the same shares."""

from __future__ import annotations

from functools import lru_cache

import torch
from scipy.special import betaincinv
from torch import Tensor

from archsearch.data.transforms.augment import Augmentation, draw, draw_unit

_POINTS = 4096


def mix(
    images: Tensor, labels: Tensor, size: int, augmentation: Augmentation, classes: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Float images (N, C, H, W), channels_last, and float32 targets (N, classes), for N / `size` batches.

    mixup: shares from Beta(mixup, mixup) for two whole images (Zhang et al. 2018, arXiv 1710.09412).
    cutmix: a box of the other image, its share from Beta(cutmix, cutmix) (Yun et al. 2019, arXiv 1905.04899).
    0 is off; with both on, each batch takes one of them at random. The other image is the next one in the batch,
    whose order must be random; a target's weights are the shares of the pixels.
    """
    count, channels, height, width = images.shape
    weights = _weights(count // size, height, width, augmentation, generator, images.device)
    share = weights.mean((1, 2)).view(-1, 1, 1)
    own = _targets(labels, classes).view(-1, size, classes)
    targets = torch.lerp(own.roll(1, 1), own, share).view(count, classes)
    pixels = images.permute(0, 2, 3, 1).view(-1, size, height, width, channels)
    # as many channels as an image: a broadcast in the innermost place is slow
    by_pixel = weights.to(images.dtype).view(-1, 1, height, width, 1).repeat(1, 1, 1, 1, channels)
    mixed = torch.lerp(pixels.roll(1, 1), pixels, by_pixel)
    return mixed.view(count, height, width, channels).permute(0, 3, 1, 2), targets


def _targets(labels: Tensor, classes: int) -> Tensor:
    """float32 (N, classes): 1 in the place of each label, of one per image or several; targets as they are."""
    if labels.ndim == 2:
        return labels.float()
    return (labels.view(-1, 1) == torch.arange(classes, device=labels.device)).float()


def _weights(
    batches: int,
    height: int,
    width: int,
    augmentation: Augmentation,
    generator: torch.Generator,
    device: torch.device,
) -> Tensor:
    """float32 (batches, height, width): how much of each pixel is the image's own."""
    if not augmentation.cutmix:
        return _beta(augmentation.mixup, batches, generator, device).view(-1, 1, 1).expand(-1, height, width)
    boxes = _boxes(batches, height, width, augmentation.cutmix, generator, device)
    if not augmentation.mixup:
        return boxes
    even = _beta(augmentation.mixup, batches, generator, device).view(-1, 1, 1)
    return torch.where(draw(2, batches, generator, device).view(-1, 1, 1) == 0, even, boxes)


def _boxes(
    batches: int, height: int, width: int, alpha: float, generator: torch.Generator, device: torch.device
) -> Tensor:
    """float32 (batches, height, width): 0 inside a random box of an image's shape, cut off at the border, else 1."""
    side = (1 - _beta(alpha, batches, generator, device)).sqrt().view(-1, 1)
    inside = []
    for size in (height, width):
        centre = draw(size, batches, generator, device)
        half = (side * size / 2).floor()
        away = torch.arange(size, device=device) - centre
        inside.append((away >= -half) & (away < half))
    return 1 - (inside[0].unsqueeze(2) & inside[1].unsqueeze(1)).float()


def _beta(alpha: float, count: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """float32 (count,) from Beta(alpha, alpha), by its quantiles: torch's own draws take no generator."""
    table = _quantiles(alpha).to(device)
    place = draw_unit(count, generator, device) * _POINTS
    low = place.long().clamp(max=_POINTS - 1)
    return torch.lerp(table[low], table[low + 1], place - low)


@lru_cache(maxsize=64)
def _quantiles(alpha: float) -> Tensor:
    """float32 (_POINTS + 1,): the quantiles of Beta(alpha, alpha) at even steps from 0 to 1."""
    return torch.from_numpy(betaincinv(alpha, alpha, torch.linspace(0, 1, _POINTS + 1).double().numpy())).float()
