"""Several labels per image: a sigmoid per class on the same logits, and what a weights file says of them."""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from archsearch.data import DeviceData
from archsearch.data.loader.room import room_for
from archsearch.metrics.thresholds import LABELS, SEVERAL, THRESHOLDS, best_thresholds, said
from archsearch.nn.devices import full_float32
from archsearch.training.data import TrainingData

_MOST = 400
"""Classes whose thresholds find room in a file's metadata; of more all are 0.5."""
_BATCH = 1000


@dataclass(frozen=True, eq=False)
class SeveralLoss:
    """Binary cross-entropy of logits (N, classes), of any float type, in float32: the sum over classes, mean of images.

    Targets are bool or float32 (N, classes). `positives`: float32 (classes,), what a label counts where it is there,
    as torch's `pos_weight`; `weights`: float32 (classes,), what a class counts.
    """

    positives: Tensor | None = None
    weights: Tensor | None = None

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The batch's mean."""
        each = functional.binary_cross_entropy_with_logits(
            logits.float(), targets.float(), self.weights, reduction="sum", pos_weight=self.positives
        )
        return each / max(1, len(targets))

    def share(self, some: Tensor, every: Tensor) -> float:
        """What a part of a batch counts for in the batch's mean: parts add up to 1."""
        return len(some) / len(every)

    def of_guessing(self, classes: int) -> float:
        """The loss of logits 0, where every image has the labels that make it the largest."""
        return math.log(2) * float(_largest(self.weights, self.positives, classes).sum())


def _largest(weights: Tensor | None, positives: Tensor | None, classes: int) -> Tensor:
    ones = torch.ones(classes)
    most = ones if positives is None else positives.cpu().clamp(min=1)
    return most * (ones if weights is None else weights.cpu())


def right_answers(logits: Tensor, labels: Tensor) -> Tensor:
    """int64 (): how many of the answers yes or no, one per image and class, are right."""
    return (said(logits) == labels).sum()


@torch.no_grad()
@full_float32()
def about(module: nn.Module, data: DeviceData) -> dict[str, Any]:
    """What a weights file says of several labels: that they are, and thresholds that are best on these images."""
    module.eval()
    with closing(data.batches(_BATCH)) as batches:
        logits = torch.cat([module(images).float() for images, _ in batches]) if len(data) else None
    found: dict[str, Any] = {LABELS: SEVERAL}
    if logits is None or logits.shape[1] > _MOST or not torch.isfinite(logits).all():
        return found
    return {**found, THRESHOLDS: list(best_thresholds(logits, data.labels))}


def about_validation(module: nn.Module, data: TrainingData, seed: int) -> dict[str, Any]:
    """`about` the validation images that a search with this seed has, of a training on all images, these included."""
    images, labels = data.dataset.parts(seed)[1]
    room = room_for(data.device, images.mapped, data.memory)
    return about(module, DeviceData(images, labels, data.dataset.normalisation, data.device, room=room))
