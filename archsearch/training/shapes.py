"""The same images at several shapes: each is loaded when a network first takes it, and kept."""

from __future__ import annotations

from collections.abc import Callable

import torch

from archsearch.data import Dataset
from archsearch.errors import DataError
from archsearch.network.layers import Shape
from archsearch.training.data import TrainingData


class Shapes:
    """Training data by input shape, (channels, height, width), on one device.

    Args:
        base: the data that are there already.
        load: the dataset at a shape.
        seed: of the split, the same images at every shape.
        memory: bytes of images from which on they are streamed; None: as the device has room.
    """

    def __init__(
        self, base: TrainingData, load: Callable[[Shape], Dataset], seed: int, memory: float | None = None
    ) -> None:
        self._known: dict[Shape, TrainingData] = {base.dataset.input_shape: base}
        self._base = base.dataset
        self._load, self._seed, self._device, self._memory = load, seed, base.device, memory

    def __call__(self, shape: Shape) -> TrainingData:
        """Both parts at a shape. Raises DataError where they are other images by now."""
        if shape not in self._known:
            dataset = self._load(shape)
            _check_same(self._base, dataset)
            self._known[shape] = TrainingData.of(dataset, self._seed, self._device, self._memory)
        return self._known[shape]


def _check_same(base: Dataset, other: Dataset) -> None:
    (old, new) = (one.labels if one.listed is None else one.listed[0] for one in (base, other))
    if base.classes != other.classes or not torch.equal(old, new):
        raise DataError(f"{base.name}: the images have changed since this search began: begin a new study")
