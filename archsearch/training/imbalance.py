"""Classes of unequal size: how many images each has, and what follows from it. Pure functions of train labels.

Labels are int64 (N,), float32 (N, classes) where they are shares of an image, or bool (N, classes) where an image may
have several.
"""

from __future__ import annotations

import torch
from torch import Tensor

from archsearch.network.recipe import OFF, Recipe

_ACCURACY = "accuracy"
_CAP = 100.0
_WORTH_SAYING = 10.0
"""Times that the largest class has the images of the smallest one, from which on a run says so."""


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


def advice(labels: Tensor, classes: int, recipe: Recipe, metric: str = _ACCURACY) -> list[str]:
    """A line where accuracy judges classes that are imbalanced 10:1 or more, with the options that may help."""
    times = imbalance(labels, classes)
    if times < _WORTH_SAYING or metric != _ACCURACY:
        return []
    treated = recipe.class_weights != OFF or recipe.balanced_batches or recipe.logit_adjustment
    options = ["--metric balanced-accuracy", *([] if treated else ["--class-weights balanced"])]
    return [f"classes are imbalanced {times:.0f}:1: {', '.join(options)}"]
