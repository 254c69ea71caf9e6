"""What a training minimises: cross-entropy, of weighted classes or adjusted logits where a recipe asks for it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from archsearch.data import DeviceData
from archsearch.network.recipe import BALANCED, weights_listed
from archsearch.training.imbalance import class_weights, pos_weights, prior
from archsearch.training.setup import TrainingSetup
from archsearch.training.several import SeveralLoss

_LEAST = 1e-12


@dataclass(frozen=True, eq=False)
class Loss:
    """The mean cross-entropy of a batch's logits (N, classes), of any float type, in float32.

    Targets are labels int64 (N,) or probabilities float32 (N, classes). `smoothing`: share of a target that is
    spread evenly over the classes. `weights`: float32 (classes,), at least 0; the mean is weighted, as torch's
    `weight=` has it for plain labels. An image weighs as the classes of its target do, before smoothing: torch weighs
    the smoothed share by class, which at 100:1 teaches images of a large class the rare ones. `shift`: float32
    (classes,), added to the logits. Waits for nothing: it can be captured as a CUDA graph.
    """

    smoothing: float = 0.0
    weights: Tensor | None = None
    shift: Tensor | None = None

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The batch's mean."""
        logits = logits.float() if self.shift is None else logits.float() + self.shift
        if self.weights is None:
            return self._entropy(logits, targets, "mean")
        if targets.is_floating_point():
            return self._of_shares(logits, targets * self.weights)
        each = self._entropy(logits, targets, "none")
        mass = self.weights[targets]
        return (each * mass).sum() / _safe(mass.sum())

    def _entropy(self, logits: Tensor, targets: Tensor, reduction: str) -> Tensor:
        if self.shift is None:
            return functional.cross_entropy(logits, targets, reduction=reduction, label_smoothing=self.smoothing)
        plain = functional.cross_entropy(logits, targets, reduction=reduction)
        if not self.smoothing:
            return plain
        spread = self.shift.softmax(0).expand_as(logits)
        return plain.lerp(functional.cross_entropy(logits, spread, reduction=reduction), self.smoothing)

    def _of_shares(self, logits: Tensor, shares: Tensor) -> Tensor:
        """shares: float32 (N, classes), whose rows have the images' weights as their sums."""
        mass = shares.sum(1, keepdim=True)
        spread = 1 / shares.shape[1] if self.shift is None else self.shift.softmax(0)
        smooth = torch.lerp(shares, mass * spread, self.smoothing)
        return functional.cross_entropy(logits, smooth, reduction="sum") / _safe(mass.sum())

    def share(self, some: Tensor, every: Tensor) -> Tensor | float:
        """What a part of a batch counts for in the batch's mean, by the targets of both: parts add up to 1."""
        if self.weights is None:
            return len(some) / len(every)
        return _mass(self.weights, some) / _safe(_mass(self.weights, every))

    def of_guessing(self, classes: int) -> float:
        """The loss of equal logits, where every image is of the class that makes it the largest."""
        even = math.log(max(2, classes))
        return even if self.shift is None else max(even, float(-self.shift.log_softmax(0).min()))


AnyLoss = Loss | SeveralLoss


def loss_of(setup: TrainingSetup) -> AnyLoss:
    """The loss that a settled recipe asks for, with weights and prior of the images that are trained on.

    Where all classes have one weight, or one share of the images, it is the plain one.
    """
    recipe, train, classes = setup.recipe, setup.data.train, len(setup.data.dataset.classes)
    if setup.data.dataset.several:
        return _of_several(recipe.class_weights, train)
    weights: Tensor | None = None
    if recipe.class_weights == BALANCED:
        weights = class_weights(train.truth, classes)
    elif listed := weights_listed(recipe.class_weights):
        weights = torch.tensor([one / max(listed) for one in listed])  # inside of float32, whatever they are
    shares = prior(train.truth, classes)
    adjusted = recipe.logit_adjustment > 0 and not _is_even(shares)
    return Loss(
        0.0 if setup.is_taught else recipe.label_smoothing,
        None if weights is None or _is_even(weights) else weights.to(train.device),
        (recipe.logit_adjustment * shares.log()).to(train.device) if adjusted else None,
    )


def _of_several(asked: str, train: DeviceData) -> SeveralLoss:
    """`balanced` weighs what is there against what is not, within each label; a list weighs the labels."""
    listed = weights_listed(asked)
    return SeveralLoss(
        pos_weights(train.truth).to(train.device) if asked == BALANCED else None,
        torch.tensor(listed).to(train.device) if listed and not _is_even(torch.tensor(listed)) else None,
    )


def _mass(weights: Tensor, targets: Tensor) -> Tensor:
    return (targets * weights if targets.is_floating_point() else weights[targets]).sum()


def _is_even(values: Tensor) -> bool:
    return bool((values == values[0]).all())


def _safe(mass: Tensor) -> Tensor:
    """Never zero: a batch may hold images of weight 0 alone, whose loss is then 0."""
    return mass.clamp(min=_LEAST)
