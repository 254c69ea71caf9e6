"""Knowledge distillation: what trained networks answer, in place of the labels.

A student learns the teachers' mean probabilities for the very images that it is shown, augmented as they are
(Hinton et al. 2015, arXiv 1503.02531; on showing both the same images: Beyer et al. 2022, arXiv 2106.05237).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from archsearch.data import Dataset
from archsearch.inference.evaluate import check_fit, require_finite
from archsearch.inference.pixels import PixelNetwork, normalisation_of
from archsearch.nn import weights

_TRIED = 32
"""Images on which a teacher's outputs are looked at before it teaches."""


class Teachers(nn.Module):
    """Images (N, C, H, W), normalised as the dataset's train images are, to mean probabilities (N, classes).

    Args:
        files: weights files, whose networks stay as they are.
        dataset: that the student is trained on.

    Attributes:
        files: as paths.
        source: their names and the first digits of their SHA-256.

    Raises:
        InputError: a file is none of ours, its network is for other images or classes, or its outputs are not finite.
    """

    def __init__(self, files: Sequence[str], dataset: Dataset) -> None:
        super().__init__()
        mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in dataset.normalisation)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.networks = nn.ModuleList(_network(file, dataset) for file in files)
        self.files = [Path(file) for file in files]
        self.source = ", ".join(f"{file.name} {_digest(file)}" for file in self.files)
        self.to(memory_format=torch.channels_last)  # as images are

    mean: Tensor
    std: Tensor

    def forward(self, images: Tensor) -> Tensor:
        pixels = images * self.std + self.mean
        return torch.stack([network(pixels).softmax(1) for network in self.networks]).mean(0)


def _network(file: str, dataset: Dataset) -> PixelNetwork:
    found = weights.read(file)
    check_fit(found, dataset, file)
    network = PixelNetwork(weights.load_module(file), normalisation_of(found.info, found.arch.input_shape[0], file))
    require_finite(network(dataset.images[:_TRIED].float() / 255), file)
    return network


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:8]
