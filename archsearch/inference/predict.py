"""What a trained file says of images without labels, in their order, a few hundred at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from archsearch.data.picture import Broken
from archsearch.data.unlabelled import Form, Unlabelled
from archsearch.inference.classifier import levels_of, names_of
from archsearch.inference.evaluate import require_finite
from archsearch.inference.metadata import temperature_of
from archsearch.inference.runner import BATCH, Runner
from archsearch.metrics.thresholds import thresholds_in

_MOST_BROKEN = 1000
"""After so many unreadable pictures in a row an answer is due."""


@dataclass(frozen=True)
class Answers:
    """Answers for images that follow each other.

    first: the number of the first. logits: float32 (N, classes), NaN for what cannot be read.
    broken: of those, why and where they lie, by their numbers.
    """

    first: int
    logits: Tensor
    broken: Mapping[int, Broken] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.logits)

    @property
    def numbers(self) -> range:
        """Of the images."""
        return range(self.first, self.first + len(self))


def predict(network: Callable[[Tensor], Tensor], images: Unlabelled, form: Form) -> Iterator[Answers]:
    """Answer all images in order; what was answered is not kept.

    Args:
        network: uint8 images (N, C, H, W) to float32 logits (N, classes), as a `Runner`. It is given as many readable
            images at a time as a `Runner` runs, so that logits are to the last bit those of a whole split.

    Raises:
        DataError: images that do not suit the network, or are damaged as a whole. A broken picture is an answer.
        InputError: outputs are not finite.
    """
    pixels, broken, first = list[NDArray[np.uint8]](), dict[int, Broken](), 0
    for number, found in enumerate(images.read(form)):
        if isinstance(found, Broken):
            broken[number] = found
        else:
            pixels.append(found)
        if len(pixels) == BATCH or len(broken) == _MOST_BROKEN:
            yield _answers(network, pixels, broken, first)
            pixels, broken, first = [], {}, number + 1
    if pixels or broken:
        yield _answers(network, pixels, broken, first)


def _answers(
    network: Callable[[Tensor], Tensor], pixels: list[NDArray[np.uint8]], broken: dict[int, Broken], first: int
) -> Answers:
    if not pixels:
        return Answers(first, torch.full((len(broken), 1), torch.nan), broken)
    found = network(torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2))
    require_finite(found)
    if not broken:
        return Answers(first, found)
    logits = torch.full((len(pixels) + len(broken), found.shape[1]), torch.nan)
    read = torch.ones(len(logits), dtype=torch.bool)
    read[[number - first for number in broken]] = False
    logits[read] = found
    return Answers(first, logits, broken)


@dataclass(frozen=True)
class Labels:
    """How a network's logits are labels and probabilities, by what its file says.

    names: of the classes, by number. several: an image may have several; one has those above `thresholds`, by class.
    temperature: by which logits are divided before they are probabilities.
    """

    names: tuple[str, ...]
    temperature: float = 1.0
    several: bool = False
    thresholds: tuple[float, ...] = ()

    @classmethod
    def of(cls, runner: Runner, path: Path) -> Labels:
        """Those of a file. Raises InputError where the names of its classes are missing, or its temperature is none."""
        info, count = runner.info, runner.arch.classes
        names = names_of(info, count, path) or tuple(map(str, range(count)))
        thresholds = thresholds_in(info, count)
        return cls(names, temperature_of(info, path), thresholds is not None, thresholds or ())

    def probabilities(self, logits: Tensor) -> Tensor:
        """float64 (N, classes): the share of each class, or of several labels the probability of each."""
        scaled = logits.double() / self.temperature
        return scaled.sigmoid() if self.several else scaled.softmax(1)

    def chosen(self, logits: Tensor) -> Tensor:
        """bool (N, classes): of several labels those an image has. Thresholds are of the bare sigmoid."""
        return logits.double().sigmoid() > torch.tensor(self.thresholds, dtype=torch.float64)


def form_of(runner: Runner, size: int | None = None, colour: str | None = None) -> Form:
    """How a file's network takes images; size, colour: see `Form`."""
    return Form(runner.arch.input_shape, levels_of(runner.info), size, colour)
