"""What the tests of the datasets share."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional
from whole import levels

from archsearch.data import Augmentation, DeviceData, epoch, load_dataset
from archsearch.data.store.progress import Watch
from archsearch.errors import DataError


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


class Lines(Watch):
    """Keeps what is said, and how far it is."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.steps: list[tuple[str, int, int]] = []

    def step(self, words: str, done: int, total: int) -> None:
        self.steps.append((words, done, total))

    def say(self, line: str) -> None:
        self.said.append(line)


def error_line(spec: object, **options: object) -> str:
    """The message of the DataError that loading raises: one line that starts with the dataset."""
    with pytest.raises(DataError) as caught:
        load_dataset(str(spec), **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def noise_images(*shape: int, seed: int = 0) -> torch.Tensor:
    """uint8 (N, C, H, W), every value random."""
    return torch.from_numpy(noise(*shape, seed=seed))


def smooth(count: int, height: int, width: int) -> torch.Tensor:
    """float32 (N, 3, H, W) levels from 0 to 255 that change slowly."""
    coarse = noise_images(count, 3, 4, 4).float()
    return functional.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=True)


def augmented(images: torch.Tensor, augmentation: Augmentation, seed: int = 0, number: int = 1) -> torch.Tensor:
    """What one epoch makes of uint8 images, in their own order, as levels (normalised to themselves)."""
    data = DeviceData(
        images, torch.arange(len(images)), ((0.0,) * images.shape[1], (1 / 255,) * images.shape[1]), torch.device("cpu")
    )
    before = images.clone()
    draws = torch.Generator().manual_seed(seed)
    ((changed, labels),) = epoch(data, len(images), generator=draws, augmentation=augmentation, number=number)
    assert torch.equal(levels(data), before)
    assert torch.equal(images, before)
    return changed[labels.argsort()]
