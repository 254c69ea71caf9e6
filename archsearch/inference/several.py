"""How well a trained file does where an image may have several labels: no confusion matrix, but figures per label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from archsearch.errors import InputError
from archsearch.inference.evaluate import require_finite
from archsearch.metrics import every_metric
from archsearch.metrics.thresholds import said

FIGURES = ("accuracy", "precision", "recall", "f1", "auroc", "average_precision")
"""Of a label, as `Label` has them."""


@dataclass(frozen=True)
class Label:
    """The figures of one label: None where they are not defined, as of one that no image has.

    `support`: images that have it. `accuracy`, `precision`, `recall`, `f1`: where it is said above `threshold`.
    """

    threshold: float
    support: int
    accuracy: float
    precision: float | None
    recall: float | None
    f1: float | None
    auroc: float | None
    average_precision: float | None


@dataclass(frozen=True)
class SeveralScores:
    """`n`: images. `metrics`: those of `--metric` by name, at the threshold 0.5. `labels`: by the classes' names."""

    n: int
    metrics: Mapping[str, float | None]
    labels: Mapping[str, Label]

    @property
    def accuracy(self) -> float:
        """The share of right answers, yes or no, at the threshold 0.5."""
        return self.metrics["accuracy"] or 0.0

    @property
    def f1(self) -> float | None:
        """The mean F1 of the labels at their own thresholds; None where no image has any."""
        known = [label.f1 for label in self.labels.values() if label.support and label.f1 is not None]
        return sum(known) / len(known) if known else None

    def to_json(self) -> dict[str, object]:
        """Plain values: `accuracy`, `n`, `per_class` (accuracy), the metrics by name, and each figure by class."""
        columns = {
            name: {label: getattr(one, name) for label, one in self.labels.items()}
            for name in (*FIGURES, "support", "threshold")
        }
        per_class, thresholds = columns.pop("accuracy"), columns.pop("threshold")
        plain = {"accuracy": self.accuracy, "n": self.n, "per_class": per_class, **self.metrics}
        return {**plain, "f1_at_thresholds": self.f1, **columns, "thresholds": thresholds}


def score_several(
    logits: Tensor, labels: Tensor, classes: Sequence[str], thresholds: tuple[float, ...]
) -> SeveralScores:
    """Hold logits (N, classes) against labels, bool (N, classes).

    Raises:
        InputError: there is no image, or the logits are not finite.
    """
    if not len(labels):
        raise InputError("this split has no images to evaluate on")
    require_finite(logits)
    shares, flags = logits.double().sigmoid().numpy(), labels.numpy().astype(np.bool_)
    answers = said(logits, thresholds).numpy()
    found = {name: _label(flags[:, n], answers[:, n], shares[:, n], thresholds[n]) for n, name in enumerate(classes)}
    return SeveralScores(len(labels), every_metric(logits, labels, classes), found)


def _label(mine: NDArray[np.bool_], answers: NDArray[np.bool_], shares: NDArray[np.float64], threshold: float) -> Label:
    from sklearn.metrics import average_precision_score, roc_auc_score

    support, told, right = int(mine.sum()), int(answers.sum()), int((mine & answers).sum())
    ranked = 0 < support < len(mine)
    return Label(
        threshold,
        support,
        float((mine == answers).mean()),
        _share(right, told),
        _share(right, support),
        _share(2 * right, told + support),
        float(roc_auc_score(mine, shares)) if ranked else None,
        float(average_precision_score(mine, shares)) if support else None,
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
