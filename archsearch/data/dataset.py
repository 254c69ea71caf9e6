"""A dataset in memory: the train split now, the test split on demand."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from archsearch.data.splits import split
from archsearch.errors import DataError

Split = tuple[Tensor, Tensor]
Normalisation = tuple[tuple[float, ...], tuple[float, ...]]

_CHUNK = 1024  # images resized at a time: bounds the float copy


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels for training; the test split stays on disk until `test` is called.

    images: uint8 (N, C, H, W) on the CPU; labels: int64 (N,), indices into `classes`.
    validation: the dataset's own (images, labels) of the same kind, or None where it brings none.
    flip: mirrored images are still of their class, so horizontal flips may be used in training.
    read_test: how `test` gets at its images; picklable, holds paths rather than pixels.
    share: of the train images, that validate where `validation` is None; None: as `split` has it.
    range: values of 16-bit grey pictures that became 0 and 255, those that the train pictures use; None for others.
    listed: labels of all train images, and bool whether each could be read, where some were left out.
    notes: what a user should know of how the data were read, a line each.
    verify_test: tells how many test images can be read, and gives none away; None where that is known at load.
    skip_broken, nested, colour: as `load_dataset` was told.
    test_count: test images that `test` should find; 0: not known.
    """

    name: str
    classes: tuple[str, ...]
    images: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)
    validation: Split | None = field(repr=False)
    flip: bool
    read_test: Callable[[], Split] = field(repr=False)
    share: float | None = None
    range: tuple[int, int] | None = None
    listed: Split | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()
    skip_broken: bool = False
    nested: bool = False
    colour: str | None = None
    test_count: int = 0
    verify_test: Callable[[], int] | None = field(default=None, repr=False)

    def parts(self, seed: int) -> tuple[Split, Split]:
        """Train and validation images and labels, as a search with this seed divides them.

        DataError: a bad seed, or no image to hold out.
        """
        if self.validation is not None:
            return (self.images, self.labels), self.validation
        train, validation = self._split(seed)
        if not len(validation):
            raise DataError(f"{self.name}: no class has two train images, so none is left to judge by: add images")
        return (self.images[train], self.labels[train]), (self.images[validation], self.labels[validation])

    def _split(self, seed: int) -> Split:
        """Indices of both parts, for each image the same whether others could be read or not."""
        if self.listed is None:
            return split(self.labels, seed, self.share)
        labels, read = self.listed
        place = read.cumsum(0) - 1
        train, validation = (place[part[read[part]]] for part in split(labels, seed, self.share))
        return train, validation

    def test(self) -> Split:
        """The test split, read now: uint8 (M, C, H, W) and int64 (M,). DataError where it is broken."""
        return self.read_test()

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    @cached_property
    def normalisation(self) -> Normalisation:
        """Mean and standard deviation of each channel over the train images, in units of [0, 1].

        Exact (from histograms), so independent of threads and machine. The deviation is at least one
        grey level, 1/255, which keeps constant channels finite.
        """
        moments = [_moments(self.images[:, channel]) for channel in range(self.images.shape[1])]
        return tuple(mean for mean, _ in moments), tuple(std for _, std in moments)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits over the class names, the train split and the dataset's own validation split."""
        digest = hashlib.sha256()
        for name in self.classes:
            digest.update(os.fsencode(name) + b"\0")
        for images, labels in [(self.images, self.labels), *([self.validation] if self.validation else [])]:
            digest.update(repr(tuple(images.shape)).encode())
            digest.update(images.permute(0, 2, 3, 1).contiguous().numpy().data)
            digest.update(labels.numpy().astype("<i8").data)
        return digest.hexdigest()[:16]


def _moments(channel: Tensor) -> tuple[float, float]:
    counts = torch.bincount(channel.reshape(-1), minlength=256).double()
    levels = torch.arange(256, dtype=torch.float64) / 255
    mean = (counts @ levels / counts.sum()).item()
    variance = (counts @ (levels - mean) ** 2 / counts.sum()).item()
    return mean, max(variance**0.5, 1 / 255)


def images_from(pixels: NDArray[np.uint8]) -> Tensor:
    """uint8 (N, C, H, W) from uint8 (N, H, W) or (N, H, W, C), sharing contiguous memory."""
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2)


def resize(images: Tensor, size: int) -> Tensor:
    """uint8 (N, C, H, W) to uint8 (N, C, size, size): antialiased, bilinear, rounded to whole levels."""
    if images.shape[2:] == (size, size):
        return images
    return torch.cat([_resize_chunk(chunk, size) for chunk in torch.split(images, _CHUNK)])


def _resize_chunk(images: Tensor, size: int) -> Tensor:
    smooth = functional.interpolate(images.float(), size=(size, size), mode="bilinear", antialias=True)
    return smooth.round().clamp(0, 255).to(torch.uint8)


def resized(dataset: Dataset, size: int) -> Dataset:
    """The same dataset with all its images, those of the test split included, at size x size pixels."""
    validation = dataset.validation
    return replace(
        dataset,
        images=resize(dataset.images, size),
        validation=(resize(validation[0], size), validation[1]) if validation else None,
        read_test=partial(_resized_test, dataset.read_test, size),
    )


def _resized_test(read_test: Callable[[], Split], size: int) -> Split:
    images, labels = read_test()
    return resize(images, size), labels
