"""Batches on the device: bytes, shuffled, augmented and normalised a group of batches at a time."""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import closing
from copy import copy
from dataclasses import replace

import torch
from torch import Tensor

from archsearch.data.dataset import Normalisation
from archsearch.data.loader.order import evened, shuffled
from archsearch.data.loader.room import block_bytes, window_bytes
from archsearch.data.loader.stream import ahead
from archsearch.data.pixels import Pixels
from archsearch.data.transforms.augment import Augmentation, add_noise, cut_out, mirrored, resized_crop, rotate, take
from archsearch.data.transforms.mixing import mix
from archsearch.data.transforms.policy import trivial
from archsearch.errors import InputError

Batches = Generator[tuple[Tensor, Tensor], None, None]
KEPT = 2**28
"""Bytes of normalised images that are kept for the next evaluation."""
# Values augmented at a time: few calls for small images, while 16 MB of float32 still come from memory in use.
# A GPU gets four times as many, some 250 MB of copies: a policy is hundreds of small kernels (not measured).
_GROUP = {"cpu": 2**22, "cuda": 2**24}
_CHUNK = 4096  # images sent to the device at a time
_OFF = Augmentation()


class DeviceData:
    """One split on a device: a byte for each value, normalised when it is used.

    On the CPU images stay where they are, and are copied batch by batch. Those of files are read ahead by a thread.
    More bytes than `room` are streamed: read in pieces, in an order that allows for it.
    labels: int64 (N,), bool (N, classes) where an image may have several, or as targets float32 (N, classes).
    truth: the labels that it was made with, whatever targets took their place.
    """

    def __init__(
        self,
        images: Pixels | Tensor,
        labels: Tensor,
        normalisation: Normalisation,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        room: float = math.inf,
    ) -> None:
        self._images = images = Pixels.of(images)
        # as large as an image: a broadcast over three channels in the innermost place is slow
        mean, std = (
            torch.tensor(values).view(-1, 1, 1).expand(images.shape[1:]).unsqueeze(0).to(device)
            for values in normalisation
        )
        self._scale = (1 / (255 * std)).contiguous(memory_format=torch.channels_last)
        self._shift = (mean / std).contiguous(memory_format=torch.channels_last)
        self.dtype = dtype
        self.labels = self.truth = labels.to(device)
        self._is_balanced = False
        self._room, self.streamed = room, images.nbytes > room
        if not self.streamed:  # by their mapping: one call for a group of images, where files take one for each
            self._images = replace(images, files=())
        self._tensor, self._rows = (None, None) if self.streamed else _resident(images, device)
        self._normalised: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> torch.Size:
        """(N, C, H, W)."""
        return self._images.shape

    @property
    def device(self) -> torch.device:
        """Where batches are."""
        return self.labels.device

    def first(self, count: int) -> DeviceData:
        """The first images alone, at most so many."""
        some = copy(self)
        count = min(count, len(self))
        some._images = self._images.subset(torch.arange(count))
        some.labels, some.truth = self.labels[:count], self.truth[:count]
        some._rows = torch.arange(count, device=self.device) if self._rows is None else self._rows[:count]
        some._normalised = None
        return some

    def balanced(self) -> DeviceData:
        """The same images in orders in which classes come equally often.

        An order is as long as before: of a large class some images are left out, those of a small one come again.
        Raises InputError where an image may have several classes.
        """
        if self.truth.ndim > 1:
            raise InputError("balanced_batches: an image may have several classes: use class_weights")
        other = copy(self)
        other._is_balanced = True
        return other

    def order(self, group: int, generator: torch.Generator) -> Tensor:
        """A random order of all images, int64 (N,): of a generator on the CPU the same for every device.

        group: images that are asked for at a time, of which a window is a multiple.
        """
        # neighbours among the chosen are neighbours among all: a stream still reads blocks of them
        chosen = evened(self.truth, generator) if self._is_balanced else None
        mixed = self._mixed(chosen, group, generator)
        return mixed if chosen is None else chosen[mixed]

    def _mixed(self, chosen: Tensor | None, group: int, generator: torch.Generator) -> Tensor:
        """A random order of the images chosen, or of all: int64 (N,)."""
        if not self.streamed:
            return torch.randperm(len(self), generator=generator, device=generator.device).to(self.device)
        window = self._window(group)
        block = max(1, block_bytes(self._room) // self.shape[1:].numel())
        labels = (self.truth if chosen is None else self.truth[chosen]).cpu()
        labels = labels if labels.ndim == 1 else labels.int().argmax(1)  # of several any
        return shuffled(labels, min(block, window), window, generator).to(self.device)

    def _window(self, group: int) -> int:
        """How many images are read ahead: one group, or as many groups as a stream's window holds."""
        groups = window_bytes(self._room) // (group * self.shape[1:].numel()) if self.streamed else 1
        return group * max(1, groups)

    def groups(self, order: Tensor, group: int) -> Generator[tuple[slice, Tensor, Tensor], None, None]:
        """Images at positions (M,), `group` of them at a time: where in the order, and what `stored` gives.

        What is yielded holds until the next is asked for. DataError where a file cannot be read.
        """
        reads = self.streamed or (self._tensor is None and self._images.mapped)
        window = self._window(group) if reads else max(1, len(order))
        windows = list(torch.split(order.cpu(), window)) if reads else []
        with closing(ahead(self._images, windows, self.device)) as read:
            for first in range(0, len(order), window):
                last = min(first + window, len(order))
                pixels, places = next(read) if reads else (None, order[first:last])
                for begin in range(first, last, group):
                    some = slice(begin, min(begin + group, last))
                    inside = places[some.start - first : some.stop - first]
                    yield some, *(self.stored(inside) if pixels is None else (pixels, inside))

    def stored(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 images (M, C, H, W) on the device, channels_last, and at which places the chosen ones (B,) are."""
        if self._tensor is None:
            found = self._images.take(chosen.cpu()).to(self.device)
            return found, torch.arange(len(chosen), device=self.device)
        return self._tensor, chosen if self._rows is None else self._rows[chosen]

    def levels(self, chosen: Tensor) -> Tensor:
        """A copy of the chosen images (B,): uint8 (B, C, H, W), channels_last."""
        if not self.streamed or not len(chosen):
            return _chosen(*self.stored(chosen))
        with closing(self.groups(chosen, len(chosen))) as groups:
            return next(_chosen(*found) for _, *found in groups)

    def with_labels(self, labels: Tensor) -> DeviceData:
        """The same images with other labels or targets; the pixels are shared."""
        other = copy(self)
        other.labels = labels.to(self.labels.device)
        return other

    def normalised(self, levels: Tensor) -> Tensor:
        """uint8 or float32 levels (B, C, H, W) from 0 to 255 as `dtype`: mean 0, deviation 1 over the train images.

        Float32 levels are overwritten.
        """
        return levels.float().mul_(self._scale).sub_(self._shift).to(self.dtype)

    def batches(self, size: int) -> Batches:
        """All images in order, normalised, `size` at a time, with their labels.

        They are kept from then on if they are few and not from files, whose pages several processes share.
        """
        every = torch.arange(len(self), device=self.device)
        if self._normalised is None and self._keeps:
            self._normalised = torch.empty(
                self.shape, dtype=self.dtype, device=self.device, memory_format=torch.channels_last
            )
            for some, *found in self.groups(every, size):
                self._normalised[some] = self.normalised(_chosen(*found))
        if self._normalised is not None:
            yield from zip(torch.split(self._normalised, size), torch.split(self.labels, size), strict=True)
            return
        with closing(self.groups(every, size)) as groups:
            for some, *found in groups:
                yield self.normalised(_chosen(*found)), self.labels[some]

    @property
    def _keeps(self) -> bool:
        here = self.device.type == "cpu" and self._images.mapped
        return not (here or self.streamed) and self.shape.numel() * self.dtype.itemsize <= KEPT


def _chosen(pixels: Tensor, places: Tensor) -> Tensor:
    return pixels.permute(0, 2, 3, 1).index_select(0, places).permute(0, 3, 1, 2)


def _resident(images: Pixels, device: torch.device) -> tuple[Tensor | None, Tensor | None]:
    """One tensor on the device with the images in it, and at which places, None for all; no tensor for several."""
    if device.type != "cpu":
        whole = torch.empty(images.shape, dtype=torch.uint8, device=device, memory_format=torch.channels_last)
        for some in torch.split(torch.arange(len(images)), _CHUNK):
            whole[int(some[0]) : int(some[-1]) + 1] = images.take(some).to(device)
        return whole, None
    single = len(images.shards) == 1 and not images.mapped
    return (images.shards[0], images.rows) if single else (None, None)


def epoch(
    data: DeviceData,
    batch_size: int,
    *,
    generator: torch.Generator,
    augmentation: Augmentation = _OFF,
    number: int = 1,
    classes: int | None = None,
) -> Batches:
    """Every image once in random order: augmented `data.dtype` (B, C, H, W) images, channels_last, and targets.

    Of `balanced` data every class equally often, in as many images.
    Targets are as the labels; with mixup or cutmix float32 (B, classes), each row with sum 1 of one label per image.
    `number` is the epoch's, for alternating flips. Only full batches: the rest of an epoch is dropped, unless it is all
    there is. Close the generator where it is left early: a thread may read ahead of it. A generator on the CPU draws
    the same for every device with groups of one size. Needs an image. DataError where a file cannot be read;
    InputError for a crop or cutout that does not fit; ValueError where mixing lacks `classes`.
    """
    channels, height, width = data.shape[1:]
    augmentation.require_room(height, width)
    if augmentation.mixes and classes is None:
        raise ValueError("classes None: mixup and cutmix need the number of classes")
    size = min(batch_size, len(data))
    values = _GROUP.get(data.device.type, _GROUP["cpu"])
    step = size * max(1, values // (size * channels * height * width))
    order = data.order(step, generator)
    mirror = mirrored(order, augmentation.flip, number, generator)
    with closing(data.groups(order[: len(data) // size * size], step)) as groups:
        for group, pixels, places in groups:
            images = take(pixels, places, augmentation.crop, None if mirror is None else mirror[group], generator)
            images = _changed(data, images, group.start, augmentation, generator)
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
    if augmentation.noise:
        levels = levels.float()
        add_noise(levels, augmentation.noise, generator)
    images = data.normalised(levels)
    if augmentation.cutout:
        cut_out(images, augmentation.cutout, generator)
    return images
