"""How good a network is on the validation images, with statistics of BatchNorm taken anew for it."""

from __future__ import annotations

import math
from contextlib import closing

import torch
from torch import nn
from torch.nn import functional

from archsearch.data import DeviceData
from archsearch.metrics import Metric, is_multilabel
from archsearch.network.layers import Shape
from archsearch.nn.devices import autocast
from archsearch.training.data import TrainingData
from archsearch.training.optim import recalibrate
from archsearch.training.resizing import scaled
from archsearch.training.several import SeveralLoss, right_answers

Answers = list[tuple[torch.Tensor, torch.Tensor]]
"""Logits and labels, a batch each."""
_EVAL_BATCH = 1000
_STATISTICS = 2048


class Validation:
    """Measures one module on images of any size.

    Args:
        module: on the data's device; in evaluation mode after every call.
        metric: what the score is; None: accuracy.
        judged: what answers in its place, such as the module `Rounded`; statistics are the module's own all the same.
    """

    def __init__(
        self, module: nn.Module, data: TrainingData, metric: Metric | None = None, judged: nn.Module | None = None
    ) -> None:
        self.module, self._images, self._device = module, data.validation, data.device
        self._judged = judged or module
        self._metric = metric
        self._train, self._sample = data.train, _sample(data.train)

    def __call__(self, shape: Shape) -> tuple[float, dict[str, float]]:
        """Recalibrate, and measure on images of that shape, (channels, height, width).

        Returns:
            The score; val_loss (cross-entropy), and val_accuracy where the score is another. Where val_loss is not
            finite the score may be none either.
        """
        self.recalibrate(shape)
        if self._metric is None:
            accuracy, loss = accuracy_and_loss(self._judged, self._images, shape)
            return accuracy, {"val_loss": loss}
        kept: Answers = []
        accuracy, loss = accuracy_and_loss(self._judged, self._images, shape, kept)
        score = _scored(self._metric, kept) if math.isfinite(loss) else math.nan
        return score, {"val_loss": loss, "val_accuracy": accuracy}

    def recalibrate(self, shape: Shape) -> None:
        """Take the statistics of train images of that shape."""
        with autocast(self._device):
            recalibrate(self.module, self._sample, lambda some: scaled(self._train.normalised(some), shape))


def sample_size(train: int) -> int:
    """How many of the train images recalibration takes: a quarter, 2,048 at most."""
    return min(_STATISTICS, max(2, train // 4), train)


def _sample(train: DeviceData) -> torch.Tensor:
    """Bytes of the images for recalibration, evenly spaced, for datasets sorted by class."""
    count = sample_size(len(train))
    chosen = torch.linspace(0, len(train) - 1, count).long().to(train.device)
    return train.levels(chosen)


def _scored(metric: Metric, answers: Answers) -> float:
    logits, labels = (torch.cat(parts) for parts in zip(*answers, strict=True))
    return metric(logits, labels)


@torch.no_grad()
def accuracy_and_loss(
    module: nn.Module, data: DeviceData, shape: Shape | None = None, kept: Answers | None = None
) -> tuple[float, float]:
    """The share of images that the module labels correctly, in evaluation mode, and their mean cross-entropy.

    Of several labels per image the share of right answers, yes or no, and `SeveralLoss`.

    shape: (channels, height, width) to which images are scaled; None: as they are. kept: gets logits and labels.
    """
    module.eval()
    device = data.device
    correct = torch.zeros((), dtype=torch.int64, device=device)
    loss = torch.zeros((), device=device)
    with autocast(device), closing(data.batches(_EVAL_BATCH)) as batches:
        for images, labels in batches:
            logits = module(scaled(images, shape) if shape else images)
            correct += _right(logits, labels)
            loss += _entropy(logits.float(), labels)
            if kept is not None:
                kept.append((logits.float(), labels))
    return int(correct) / data.labels.numel(), float(loss) / len(data)


def _right(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """How many answers are right, one per image, or per image and label."""
    return right_answers(logits, labels) if is_multilabel(labels) else (logits.argmax(1) == labels).sum()


def _entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The sum over images."""
    if is_multilabel(labels):
        return SeveralLoss()(logits, labels) * len(labels)
    return functional.cross_entropy(logits, labels, reduction="sum")
