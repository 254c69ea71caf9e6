"""What a training sees: both parts of a dataset on a device."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from archsearch._utils.units import counted
from archsearch.data import Dataset, DeviceData
from archsearch.data.dataset import Split
from archsearch.data.loader.batches import KEPT
from archsearch.data.loader.room import held_bytes, room_for, rooms
from archsearch.errors import SpecError
from archsearch.network.blocks.registry import Value
from archsearch.network.recipe import AUTO, CHOSEN, Recipe, weights_listed
from archsearch.space.dims import Dim
from archsearch.space.space import SearchSpace

_TURNED, _RESIZED = 16, 28
"""Pixels of a side from which on Muon trains, and epochs begin with smaller images."""
_RATE = 0.4
"""The peak learning rate: of SGD for a batch of 256, of Muon for any."""


@dataclass(frozen=True)
class TrainingData:
    """Both parts of a dataset on the device, and what a recipe leaves open, chosen from the dataset.

    validation: empty where everything is trained on. memory: bytes of images that the device may hold, more are
    streamed; None: as `room_for` has it.
    """

    dataset: Dataset
    train: DeviceData
    validation: DeviceData
    device: torch.device
    memory: float | None = None

    @classmethod
    def of(cls, dataset: Dataset, seed: int, device: torch.device, memory: float | None = None) -> TrainingData:
        """Split the train images by the seed, stratified, unless the dataset brings a validation split."""
        return cls._on(device, dataset, memory, dataset.parts(seed))

    @classmethod
    def whole(cls, dataset: Dataset, device: torch.device, memory: float | None = None) -> TrainingData:
        """Train and validation images together, to train on what a search has chosen."""
        images, labels = dataset.everything()
        none = images.subset(torch.arange(0)), labels[:0]
        return cls._on(device, dataset, memory, ((images, labels), none))

    @classmethod
    def _on(
        cls, device: torch.device, dataset: Dataset, memory: float | None, parts: tuple[Split, Split]
    ) -> TrainingData:
        room = room_for(device, dataset.images.mapped, memory)
        each = rooms(parts[0][0].nbytes, parts[1][0].nbytes, room)
        train, validation = (
            DeviceData(images, labels, dataset.normalisation, device, room=mine)
            for (images, labels), mine in zip(parts, each, strict=True)
        )
        return cls(dataset, train, validation, device, memory)

    def bytes_on(self, device: torch.device) -> float:
        """How much of a device both parts take, normalised validation images that are kept included."""
        room = room_for(device, self.dataset.images.mapped, self.memory)
        sizes = [part.shape.numel() for part in (self.train, self.validation)]
        each = rooms(sizes[0], sizes[1], room)
        train, validation = (held_bytes(size, mine) for size, mine in zip(sizes, each, strict=True))
        kept = 4.0 * sizes[1]
        return train + validation + (kept if validation == sizes[1] and kept <= KEPT else 0)

    def settle(self, recipe: Recipe) -> Recipe:
        """The recipe with everything that was left open (-1) chosen.

        Batches: a twentieth of the images, as a power of two from 32 to 256. Crops: an eighth of the side,
        none under 16 pixels: on 8x8 digits a shift of one pixel costs 1 to 4 points of accuracy. Epochs begin with
        images of half the side, from 28 pixels on. Muon trains from 16 pixels on, SGD below: there Muon's own work
        takes as long as a step. Several labels per image are not smoothed: of a rare one half of the smoothing would
        be more than its share.
        Raises SpecError: class weights of another number of classes, or what several labels per image do not have.
        """
        check_recipe(recipe, self.dataset)
        side, chosen = min(self.dataset.input_shape[1:]), dict[str, Value]()
        if recipe.batch_size == AUTO:
            chosen["batch_size"] = min(256, max(32, 2 ** round(math.log2(max(1, len(self.train) / 20)))))
        if recipe.optimiser == CHOSEN:
            chosen["optimiser"] = "muon" if side >= _TURNED else "sgd"
        if recipe.crop == AUTO:
            chosen["crop"] = side // 8 if side >= 16 and recipe.resized_crop == 1 else 0
        if recipe.flip == AUTO:
            chosen["flip"] = int(self.dataset.flip)
        if recipe.initial_scale == AUTO:
            chosen["initial_scale"] = 0.5 if side >= _RESIZED else 1.0
        if self.dataset.several:
            chosen["label_smoothing"] = 0.0
        settled = recipe.with_values(chosen)
        if recipe.lr == AUTO:
            alike = 256 / settled.batch_size if settled.optimiser == "muon" else 1
            settled = settled.with_values({"lr": _RATE * alike})
        return settled


def check_recipe(recipe: Recipe, dataset: Dataset, space: SearchSpace | None = None) -> None:
    """Raises SpecError for class weights of another number of classes, and for what several labels do not have.

    space: whose searched and pinned values are held against the labels too.
    """
    given, classes = len(weights_listed(recipe.class_weights)), len(dataset.classes)
    if given not in (0, classes):
        here = f"{dataset.name} has {counted(classes, 'class')}"
        raise SpecError([f"class_weights lists {given:,} numbers, {here}: give one per class"])
    for name, value in (("balanced_batches", recipe.balanced_batches), ("logit_adjustment", recipe.logit_adjustment)):
        own = space and (space.pinned.get(name) or isinstance(space.train.get(name), Dim))
        if (value or own) and dataset.several:
            why = f"{dataset.name} has several labels per image: use class_weights=balanced"
            raise SpecError([f"{name}: {why}"])
