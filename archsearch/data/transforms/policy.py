"""TrivialAugment (Müller and Hutter 2021, arXiv 2103.10158): one operation an image, at a random strength.

Operations take float levels (B, C, H, W) from 0 to 255 and a strength (B, 1, 1, 1) from -1 to 1, and return new
levels. Their ranges are those of the paper's wide space, but translations end at half a side.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from archsearch.data.transforms.augment import draw_unit, rotation, warp

Operation = Callable[[Tensor, Tensor], Tensor]

_GREY = (0.2989, 0.587, 0.114)
_STRONGEST = 0.99
_TURN = math.radians(135)
_FARTHEST = 32.0


def trivial(levels: Tensor, first: int, generator: torch.Generator) -> None:
    """Change float levels (B, C, H, W) in place: the image at position `first` + i of an epoch gets operation i mod 14.

    The order of an epoch is random, so that gives each image a random operation; and each operation touches only
    its own images, with shapes that are known before.
    """
    strengths = (2 * draw_unit(len(levels), generator, levels.device) - 1).view(-1, 1, 1, 1)
    for place, operation in enumerate(OPERATIONS.values()):
        own = slice((place - first) % len(OPERATIONS), None, len(OPERATIONS))
        if operation is not _identity and len(levels) > own.start:
            levels[own] = operation(levels[own].contiguous(), strengths[own])


def _identity(levels: Tensor, strength: Tensor) -> Tensor:
    return levels


def _move(strength: Tensor, entry: int, most: float) -> Tensor:
    """(B, 2, 3) identity matrices with `strength` times `most` added to one entry."""
    change = torch.arange(6, device=strength.device) == entry
    still = torch.eye(2, 3, device=strength.device).view(1, 6)
    return (still + change * strength.view(-1, 1) * most).view(-1, 2, 3)


def _shear_x(levels: Tensor, strength: Tensor) -> Tensor:
    return warp(levels, _move(strength, 1, _STRONGEST))


def _shear_y(levels: Tensor, strength: Tensor) -> Tensor:
    return warp(levels, _move(strength, 3, _STRONGEST))


def _translate_x(levels: Tensor, strength: Tensor) -> Tensor:
    return warp(levels, _move(strength, 2, min(_FARTHEST, levels.shape[3] / 2)))


def _translate_y(levels: Tensor, strength: Tensor) -> Tensor:
    return warp(levels, _move(strength, 5, min(_FARTHEST, levels.shape[2] / 2)))


def _rotate(levels: Tensor, strength: Tensor) -> Tensor:
    return warp(levels, rotation(strength.view(-1) * _TURN))


def _blend(plain: Tensor, levels: Tensor, strength: Tensor) -> Tensor:
    """Away from `plain` for a strength above 0, towards it below."""
    return torch.lerp(plain, levels, 1 + _STRONGEST * strength).clamp_(0, 255)


def _grey(levels: Tensor) -> Tensor:
    """(B, 1, H, W): the brightness as seen for three channels, their mean otherwise."""
    if levels.shape[1] != 3:
        return levels.mean(1, keepdim=True)
    red, green, blue = (weight * levels[:, i : i + 1] for i, weight in enumerate(_GREY))
    return red + green + blue


def _brightness(levels: Tensor, strength: Tensor) -> Tensor:
    return _blend(torch.zeros_like(levels), levels, strength)


def _contrast(levels: Tensor, strength: Tensor) -> Tensor:
    return _blend(_grey(levels).mean((2, 3), keepdim=True), levels, strength)


def _colour(levels: Tensor, strength: Tensor) -> Tensor:
    return _blend(_grey(levels), levels, strength)


def _sharpness(levels: Tensor, strength: Tensor) -> Tensor:
    """Against a 3x3 mean with a heavier centre; the outermost pixels stay."""
    if min(levels.shape[2:]) < 3:
        return levels
    rows = levels[..., :-2, :] + levels[..., 1:-1, :] + levels[..., 2:, :]
    square = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    smooth = levels.clone()
    smooth[..., 1:-1, 1:-1].mul_(4).add_(square).div_(13)
    return _blend(smooth, levels, strength)


def _posterize(levels: Tensor, strength: Tensor) -> Tensor:
    """Eight bits down to two."""
    step = torch.exp2((6 * strength.abs()).round())
    return (levels / step).floor() * step


def _solarize(levels: Tensor, strength: Tensor) -> Tensor:
    return torch.where(levels < 256 * (1 - strength.abs()), levels, 255 - levels)


def _autocontrast(levels: Tensor, strength: Tensor) -> Tensor:
    low, high = levels.amin((2, 3), keepdim=True), levels.amax((2, 3), keepdim=True)
    return torch.where(high > low, (levels - low) * (255 / (high - low).clamp(min=1e-6)), levels)


def _equalize(levels: Tensor, strength: Tensor) -> Tensor:
    """Levels spread by their rank within a channel, as Pillow does; unchanged where there are too few pixels."""
    whole = levels.round().long().flatten(2)
    counts = torch.zeros(*whole.shape[:2], 256, dtype=torch.long, device=levels.device)
    counts.scatter_add_(2, whole, torch.ones_like(whole))
    step = (whole.shape[2] - counts.gather(2, whole.amax(2, keepdim=True))) // 255
    below = counts.cumsum(2) - counts
    table = ((below + step // 2) // step.clamp(min=1)).clamp(max=255)
    spread = table.gather(2, whole).view(levels.shape).float()
    return torch.where(step.unsqueeze(3) > 0, spread, levels)


OPERATIONS: dict[str, Operation] = {
    "identity": _identity,
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
    "rotate": _rotate,
    "brightness": _brightness,
    "contrast": _contrast,
    "colour": _colour,
    "sharpness": _sharpness,
    "posterize": _posterize,
    "solarize": _solarize,
    "autocontrast": _autocontrast,
    "equalize": _equalize,
}
