"""A dataset: the train split now, the test split on demand."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from archsearch.data.pixels import Pixels, joined
from archsearch.data.splits import split
from archsearch.errors import DataError

Split = tuple[Pixels, Tensor]
"""Images, and labels: int64 (N,), or bool (N, classes) where an image may have several."""
Normalisation = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels for training; the test split stays on disk until `test` is called.

    images: uint8 (N, C, H, W); labels: int64 (N,), indices into `classes`, or bool (N, classes), see `several`.
    validation: the dataset's own (images, labels) of the same kind, or None where it brings none.
    flip: mirrored images are still of their class, so horizontal flips may be used in training.
    read_test: how `test` gets at its images; picklable, holds paths rather than pixels.
    share: of the train images, that validate where `validation` is None; None: as `split` has it.
    range: values of 16-bit grey pictures that became 0 and 255, those that the train pictures use; None for others.
    listed: labels of all train images, and bool whether each could be read, where some were left out.
    notes: what a user should know of how the data were read, a line each.
    histograms: int64 (C, 256), how often the train images have each value; digest: the `fingerprint`; both where they
        were kept from an earlier look, else None.
    verify_test: tells how many test images can be read, and gives none away; None where that is known at load.
    skip_broken, nested, colour: as `load_dataset` was told.
    test_count: test images that `test` should find; 0: not known.
    test_labels: of those images, where they are known without reading the images; else None.
    """

    name: str
    classes: tuple[str, ...]
    images: Pixels = field(repr=False)
    labels: Tensor = field(repr=False)
    validation: Split | None = field(repr=False)
    flip: bool
    read_test: Callable[[], Split] = field(repr=False)
    share: float | None = None
    range: tuple[int, int] | None = None
    listed: tuple[Tensor, Tensor] | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()
    skip_broken: bool = False
    nested: bool = False
    colour: str | None = None
    test_count: int = 0
    histograms: Tensor | None = field(default=None, repr=False)
    digest: str | None = None
    verify_test: Callable[[], int] | None = field(default=None, repr=False)
    test_labels: Tensor | None = field(default=None, repr=False)

    def parts(self, seed: int) -> tuple[Split, Split]:
        """Train and validation images and labels, as a search with this seed divides them.

        DataError: a bad seed, or no image to hold out.
        """
        if self.validation is not None:
            return (self.images, self.labels), self.validation
        train, validation = self.positions(seed)
        if not len(validation):
            raise DataError(f"{self.name}: no class has two train images, so none is left to judge by: add images")
        held_out = self.images.subset(validation), self.labels[validation]
        return (self.images.subset(train), self.labels[train]), held_out

    def everything(self) -> Split:
        """Train images and the dataset's own validation images together."""
        if self.validation is None:
            return self.images, self.labels
        images, labels = self.validation
        return joined([self.images, images]), torch.cat([self.labels, labels])

    def positions(self, seed: int) -> tuple[Tensor, Tensor]:
        """Of `images`, which train and which validate where the dataset brings no validation images of its own.

        Sorted int64. An image's part is the same whether others could be read or not.
        """
        if self.listed is None:
            return split(self.labels, seed, self.share)
        labels, read = self.listed
        place = read.cumsum(0) - 1
        train, validation = (place[part[read[part]]] for part in split(labels, seed, self.share))
        return train, validation

    def test(self) -> Split:
        """The test split, read now: images (M, C, H, W) and their labels. DataError where it is broken."""
        return self.read_test()

    @property
    def several(self) -> bool:
        """Whether an image may have several labels."""
        return self.labels.ndim == 2

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
        found = histograms(self.images) if self.histograms is None else self.histograms
        moments = [_moments(counts.double()) for counts in found]
        return tuple(mean for mean, _ in moments), tuple(std for _, std in moments)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits over the class names, the train split and the dataset's own validation split."""
        own = [self.validation] if self.validation else []
        return self.digest or fingerprint(self.classes, [(self.images, self.labels), *own])


def fingerprint(classes: Sequence[str], parts: Sequence[Split]) -> str:
    """16 hex digits over class names, images and labels."""
    digest = hashlib.sha256()
    for name in classes:
        digest.update(os.fsencode(name) + b"\0")
    for images, labels in parts:
        digest.update(repr(tuple(images.shape)).encode())
        for chunk in images.chunks():
            digest.update(chunk.permute(0, 2, 3, 1).numpy().data)
        digest.update(labels.numpy().astype("<i8" if labels.ndim == 1 else "u1").data)
    return digest.hexdigest()[:16]


def counts_of(labels: Tensor, classes: int) -> Tensor:
    """int64 (classes,): how many images of each class there are, of labels as a `Split` has them."""
    return labels.sum(0) if labels.ndim == 2 else torch.bincount(labels, minlength=classes)


def histograms(images: Pixels) -> Tensor:
    """int64 (C, 256): how often each value occurs in each channel."""
    counts = torch.zeros(images.shape[1], 256, dtype=torch.int64)
    for chunk in images.chunks():
        for channel, mine in enumerate(counts):
            mine += torch.bincount(chunk[:, channel].reshape(-1), minlength=256)
    return counts


def _moments(counts: Tensor) -> tuple[float, float]:
    levels = torch.arange(256, dtype=torch.float64) / 255
    mean = (counts @ levels / counts.sum()).item()
    variance = (counts @ (levels - mean) ** 2 / counts.sum()).item()
    return mean, max(variance**0.5, 1 / 255)


def images_from(pixels: NDArray[np.uint8]) -> Pixels:
    """Images from uint8 (N, H, W) or (N, H, W, C), sharing contiguous memory."""
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    return Pixels.of(torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2))


def resize(images: Pixels, size: int) -> Pixels:
    """Images (N, C, H, W) to (N, C, size, size): antialiased, bilinear, rounded to whole levels."""
    if images.shape[2:] == (size, size):
        return images
    return Pixels.of(torch.cat([_resize_chunk(chunk, size) for chunk in images.chunks()]))


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
        histograms=None,
        digest=None,
    )


def _resized_test(read_test: Callable[[], Split], size: int) -> Split:
    images, labels = read_test()
    return resize(images, size), labels
