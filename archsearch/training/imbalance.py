"""Classes of unequal size: how many images each has, and what follows from it. Pure functions of train labels.

Labels are int64 (N,), float32 (N, classes) where they are shares of an image, or bool (N, classes) where an image may
have several.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from archsearch._utils.scores import ACCURACY, BALANCED_ACCURACY
from archsearch.network.recipe import Recipe

_CAP = 100.0
_WORTH_SAYING, _TREATED = 10.0, 1.5
"""Times that the largest class has the images of the smallest one, from which on a run says so, and treats it."""
_ADJUSTED = {"logit_adjustment": 1.0, "label_smoothing": 0.0}
_TREATMENTS = frozenset({"class_weights", "balanced_batches", "logit_adjustment"})


def counts(labels: Tensor, classes: int) -> Tensor:
    """Images of each class: float64 (classes,) on the CPU; the sums of shares where labels are such."""
    if labels.ndim == 2:
        return labels.cpu().double().sum(0)
    return torch.bincount(labels.cpu(), minlength=classes).double()


def class_weights(labels: Tensor, classes: int) -> Tensor:
    """float32 (classes,) on the CPU: N / (classes * n_c), as scikit-learn's `compute_class_weight("balanced")`.

    Classes without an image count for nothing and have the weight 1.
    """
    found = counts(labels, classes)
    present = found > 0
    even = found.sum() / (present.sum() * found.clamp(min=1e-12))
    return torch.where(present, even, torch.ones_like(even)).float()


def prior(labels: Tensor, classes: int) -> Tensor:
    """float32 (classes,) on the CPU, of sum 1: the share of each class; one without an image counts as with one."""
    found = counts(labels, classes).clamp(min=1)
    return (found / found.sum()).float()


def pos_weights(labels: Tensor, most: float = _CAP) -> Tensor:
    """float32 (classes,) on the CPU: images without a class for each one with it, `most` at most.

    For `binary_cross_entropy_with_logits`, of labels bool (N, classes). A class that no image has gets 1.
    """
    found = counts(labels, labels.shape[1])
    weights = ((len(labels) - found) / found.clamp(min=1)).clamp(max=most)
    return torch.where(found > 0, weights, torch.ones_like(weights)).float()


def imbalance(labels: Tensor, classes: int) -> float:
    """How many times the largest class has the images of the smallest one that has any; 1 without images."""
    found = counts(labels, classes)
    present = found[found > 0]
    return float(present.max() / present.min()) if len(present) else 1.0


def treatment(labels: Tensor, classes: int, metric: str, set_already: Iterable[str] = ()) -> dict[str, float]:
    """Values of a recipe for balanced accuracy of imbalanced classes: logits adjusted by shares, labels as they are.

    set_already: the values that the space or the user sets. None is given beside another treatment, nor for several
    labels per image, bool (N, classes), which have no shares. Measured in docs/evidence/imbalance.md.
    """
    own = {*set_already}
    wanted = metric == BALANCED_ACCURACY and labels.dim() == 1 and imbalance(labels, classes) >= _TREATED
    if not wanted or own & _TREATMENTS:
        return {}
    return {name: value for name, value in _ADJUSTED.items() if name not in own}


def advice(labels: Tensor, classes: int, recipe: Recipe, metric: str = ACCURACY) -> list[str]:
    """A line that tells what `treatment` has set, or which metric would, where accuracy judges and 10:1 is reached."""
    times, taken = imbalance(labels, classes), treatment(labels, classes, metric)
    words = f"classes are imbalanced {times:.3g}:1:"
    if taken and recipe.logit_adjustment == taken["logit_adjustment"]:
        smooth = "" if recipe.label_smoothing else ", label_smoothing=0"
        return [f"{words} logit_adjustment=1{smooth}; --recipe logit_adjustment=0 leaves it out"]
    if metric == ACCURACY and times >= _WORTH_SAYING:
        return [f"{words} --metric {BALANCED_ACCURACY} judges and trains as if they were not"]
    return []
