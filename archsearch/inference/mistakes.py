"""The wrong answers of which a network was most certain: what to look at first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from archsearch.metrics import is_multilabel

MOST = 24


@dataclass(frozen=True)
class Mistake:
    """A wrong answer: which image, its label, what was said instead, and the probability that was given to that."""

    image: int
    label: str
    answer: str
    probability: float


def confident_mistakes(
    logits: Tensor, labels: Tensor, classes: Sequence[str], most: int = MOST, temperature: float = 1.0
) -> list[Mistake]:
    """The wrong answers with the highest probability, at most so many.

    Args:
        logits: (N, classes), divided by `temperature` for probabilities.
        labels: int64 (N,), or bool (N, classes): then each wrong yes and each wrong no is one.
    """
    exact, labels = logits.detach().double().cpu() / temperature, labels.cpu()
    return (_of_several if is_multilabel(labels) else _of_one)(exact, labels, classes, most)


def _of_one(logits: Tensor, labels: Tensor, classes: Sequence[str], most: int) -> list[Mistake]:
    shares, answers = logits.softmax(1).max(1)
    found = _surest(shares, answers != labels, most)
    return [Mistake(at, classes[int(labels[at])], classes[int(answers[at])], float(shares[at])) for at in found]


def _of_several(logits: Tensor, labels: Tensor, classes: Sequence[str], most: int) -> list[Mistake]:
    yes = logits.sigmoid()
    said = yes > 0.5
    shares = torch.where(said, yes, 1 - yes)
    found = []
    for at in _surest(shares.flatten(), (said != labels.bool()).flatten(), most):
        image, k = divmod(at, len(classes))
        name, no = classes[k], f"not {classes[k]}"
        label, answer = (no, name) if said[image, k] else (name, no)
        found.append(Mistake(image, label, answer, float(shares[image, k])))
    return found


def _surest(shares: Tensor, wrong: Tensor, most: int) -> list[int]:
    """Places (N,) of the wrong ones, the surest first, at most so many."""
    order = shares.masked_fill(~wrong, -1).argsort(descending=True, stable=True)
    return [int(at) for at in order[: min(most, int(wrong.sum()))]]
