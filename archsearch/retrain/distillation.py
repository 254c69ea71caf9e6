"""Knowledge distillation: what trained networks answer, in place of the labels.

A student learns the teachers' mean probabilities for the very images that it is shown, augmented as they are
(Hinton et al. 2015, arXiv 1503.02531; on showing both the same images: Beyer et al. 2022, arXiv 2106.05237).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from archsearch.data import Dataset
from archsearch.errors import InputError, one_line
from archsearch.inference.evaluate import check_fit, require_finite
from archsearch.inference.pixels import PixelNetwork, normalisation_of
from archsearch.nn import weights
from archsearch.retrain.answers import LOGITS, Answers, answers
from archsearch.retrain.foreign import KINDS, Source, foreign
from archsearch.training.setup import TrainingSetup

_TRIED = 32
"""Images on which a teacher's outputs are looked at before it teaches."""


class Teachers(nn.Module):
    """Images (N, C, H, W), normalised as the dataset's train images are, to mean probabilities (N, classes).

    Args:
        files: weights files, or `torchvision:NAME[@SIZE][=FILE]` and `timm:...`; the networks stay as they are.
        dataset: that the student is trained on.

    Attributes:
        files: those that lie in a folder of the user's, as paths.
        source: names, and the first digits of their weights' SHA-256.
        notes: of networks from elsewhere, how they see images and how many train images they have right.

    Raises:
        InputError: a file or model is missing, its network is for other images or classes, or its outputs are not
            finite.
    """

    def __init__(self, files: Sequence[str], dataset: Dataset) -> None:
        super().__init__()
        mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in dataset.normalisation)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        found = [(_foreign if _is_foreign(file) else _own)(file, dataset) for file in files]
        self.networks = nn.ModuleList(one.network for one in found)
        self.files = [Path(one.file) for one in found if one.file]
        self.source = ", ".join(one.name for one in found)
        self.notes = tuple(one.note for one in found if one.note)
        self.to(memory_format=torch.channels_last)  # as images are

    mean: Tensor
    std: Tensor

    def forward(self, images: Tensor) -> Tensor:
        pixels = images * self.std + self.mean
        return torch.stack([network(pixels).softmax(1) for network in self.networks]).mean(0)

    def given_to(self, setup: TrainingSetup) -> TrainingSetup:
        """The setup with their answers in place of labels; they go to the data's device."""
        return replace(setup, teach=self.to(setup.data.device))


@dataclass(frozen=True)
class _Teacher:
    """`network`: pixels (N, C, H, W) in [0, 1] to logits; `name`: what travels of it; `file`: "" for a cache's."""

    network: nn.Module
    name: str
    file: str
    note: str = ""


def teachers_of(sources: Sequence[str], dataset: Dataset) -> Teachers | Answers:
    """What `--teacher` names: networks that answer for every image, or files of answers, `logits:FILE`.

    Raises:
        InputError: as `Teachers` and `answers`, or both kinds together.
    """
    if dataset.several:
        raise InputError(
            f"--teacher: {dataset.name} has several labels per image, and teachers answer with one: leave it out"
        )
    written = [source.removeprefix(LOGITS) for source in sources if source.startswith(LOGITS)]
    if written and len(written) < len(sources):
        raise InputError("--teacher: networks and logits files exclude each other: give one kind")
    return answers(written, dataset) if written else Teachers(sources, dataset)


def _is_foreign(source: str) -> bool:
    return source.startswith(tuple(f"{kind}:" for kind in KINDS))


def _own(file: str, dataset: Dataset) -> _Teacher:
    found = weights.read(file)
    check_fit(found, dataset, file)
    network = PixelNetwork(weights.load_module(file), normalisation_of(found.info, found.arch.input_shape[0], file))
    require_finite(network(dataset.images[:_TRIED].float() / 255), file)
    path = Path(file)
    return _Teacher(network, f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()[:8]}", file)


def _foreign(source: str, dataset: Dataset) -> _Teacher:
    place = Source.of(source)
    network, digest = foreign(place, len(dataset.classes))
    if dataset.input_shape[0] not in (1, len(network.view.mean)):
        raise InputError(f"{source} takes images of {len(network.view.mean)} channels, {dataset.name} has others")
    some = torch.linspace(0, len(dataset.labels) - 1, min(_TRIED, len(dataset.labels))).long()
    try:
        logits = network(dataset.images[some].float() / 255)
    except (RuntimeError, AssertionError, ValueError) as error:  # a size that it does not take
        raise InputError(f"{source}: cannot see {network.view.words}: {one_line(error)}") from None
    require_finite(logits, source)
    right = int((logits.argmax(1) == dataset.labels[some]).sum())
    note = f"{source}: {network.view.words}; right on {right} of {len(some)} train images"
    return _Teacher(network, place.named(digest), place.file, note)
