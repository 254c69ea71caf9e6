"""What a training sees: both parts of a dataset on a device."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from archsearch.data import Dataset, DeviceData
from archsearch.data.dataset import Split
from archsearch.network.recipe import AUTO, Recipe

_RESIZED = 28
"""Pixels of a side from which on epochs begin with smaller images."""


@dataclass(frozen=True)
class TrainingData:
    """Both parts of a dataset on the device, and what a recipe leaves open, chosen from the dataset.

    validation: empty where everything is trained on.
    """

    dataset: Dataset
    train: DeviceData
    validation: DeviceData
    device: torch.device

    @classmethod
    def of(cls, dataset: Dataset, seed: int, device: torch.device) -> TrainingData:
        """Split the train images by the seed, stratified, unless the dataset brings a validation split."""
        return cls._on(device, dataset, *dataset.parts(seed))

    @classmethod
    def whole(cls, dataset: Dataset, device: torch.device) -> TrainingData:
        """Train and validation images together, to train on what a search has chosen."""
        images, labels = dataset.everything()
        none = images.subset(torch.arange(0)), labels[:0]
        return cls._on(device, dataset, (images, labels), none)

    @classmethod
    def _on(cls, device: torch.device, dataset: Dataset, *parts: Split) -> TrainingData:
        train, validation = (DeviceData(images, labels, dataset.normalisation, device) for images, labels in parts)
        return cls(dataset, train, validation, device)

    def settle(self, recipe: Recipe) -> Recipe:
        """The recipe with everything that was left open (-1) chosen.

        Batches: a twentieth of the images, as a power of two from 32 to 256. Crops: an eighth of the side,
        none under 16 pixels: on 8x8 digits a shift of one pixel costs 1 to 4 points of accuracy. Epochs begin with
        images of half the side, from 28 pixels on.
        """
        batch, crop, flip, scale = recipe.batch_size, recipe.crop, recipe.flip, recipe.initial_scale
        side = min(self.dataset.input_shape[1:])
        if batch == AUTO:
            batch = min(256, max(32, 2 ** round(math.log2(max(1, len(self.train) / 20)))))
        if crop == AUTO:
            crop = side // 8 if side >= 16 else 0
        if flip == AUTO:
            flip = int(self.dataset.flip)
        if scale == AUTO:
            scale = 0.5 if side >= _RESIZED else 1.0
        return recipe.with_values({"batch_size": batch, "crop": crop, "flip": flip, "initial_scale": scale})
