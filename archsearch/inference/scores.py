"""What logits are worth on labelled images: every metric, per class too, calibration, and an interval beside each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from archsearch.data import Dataset
from archsearch.data.dataset import Split
from archsearch.data.pixels import Pixels
from archsearch.errors import InputError
from archsearch.inference.evaluate import part_of, require_finite
from archsearch.metrics import calibration, every_metric, is_multilabel
from archsearch.metrics.bootstrap import (
    Interval,
    affordable,
    image_weights,
    interval,
    of_rates,
    of_share,
    resampled_matrix,
    resampled_several,
)
from archsearch.metrics.per_class import (
    Floats,
    Hits,
    accuracies,
    figures,
    hits_of_matrix,
    hits_of_several,
    mean,
    rates,
)
from archsearch.metrics.ranking import ranking, weighted
from archsearch.metrics.thresholds import said

RANKED = ("macro-auroc", "average-precision")
PER_CLASS = ("precision", "recall", "f1", "auroc")


@dataclass(frozen=True)
class Temperature:
    """What probabilities are divided by before the softmax, and what that does on the evaluated images.

    `images`: on so many it was fitted; `ece`, `interval`: the calibration error with it; `same`: the evaluated images
    are those on which it was fitted.
    """

    value: float
    images: int
    ece: float
    interval: Interval
    same: bool = False


@dataclass(frozen=True)
class Judgement:
    """A network's figures on n images, each with its 95% interval: None where it is not known.

    `values`: metrics by name, None where one is undefined. `rates`: shares per class by name, nan where undefined.
    `confusion`: int64 (classes, classes), row: the label; None where an image may have several labels.
    `ece`: None there, too. `thresholds`: there, per class, the probability above which a label is said for recall,
    precision and F1; metrics and accuracies are at 0.5.
    """

    classes: tuple[str, ...]
    n: int
    values: Mapping[str, float | None]
    rates: Mapping[str, Floats]
    support: Sequence[int]
    intervals: Mapping[str, Interval]
    class_intervals: Mapping[str, Sequence[Interval]]
    confusion: Tensor | None = field(default=None, repr=False)
    ece: float | None = None
    temperature: Temperature | None = None
    thresholds: Sequence[float] | None = None

    @property
    def accuracy(self) -> float:
        """The share of right answers."""
        return self.values["accuracy"] or 0.0

    def plain(self) -> dict[str, Any]:
        """As JSON: names to figures; `intervals` has the same names, and [low, high] or null."""
        fitted = self.temperature
        metrics = {name: value for name, value in self.values.items() if name != "accuracy"}
        spans = {**self.intervals, **({"ece_at_temperature": fitted.interval} if fitted else {})}
        return {
            "accuracy": self.accuracy,
            "n": self.n,
            "per_class": self._by_name(self.rates["accuracy"]),
            **metrics,
            **{name: self._by_name(self.rates[name]) for name in PER_CLASS if name in self.rates},
            "support": dict(zip(self.classes, self.support, strict=True)),
            **({"thresholds": dict(zip(self.classes, self.thresholds, strict=True))} if self.thresholds else {}),
            "ece": self.ece,
            "temperature": fitted.value if fitted else None,
            "ece_at_temperature": fitted.ece if fitted else None,
            "intervals": {
                **{name: list(span) if span else None for name, span in spans.items()},
                **{name: self._spans(name) for name in PER_CLASS if name in self.class_intervals},
            },
        }

    def _by_name(self, values: Floats) -> dict[str, float | None]:
        found = (None if math.isnan(value) else float(value) for value in values)
        return dict(zip(self.classes, found, strict=True))

    def _spans(self, name: str) -> dict[str, list[float] | None]:
        spans = (list(span) if span else None for span in self.class_intervals[name])
        return dict(zip(self.classes, spans, strict=True))


def logits_of(classify: Callable[[Pixels], Tensor], part: Split) -> Tensor:
    """Logits (N, classes) of a split's images. Raises InputError where there is none, or they are not finite."""
    images, labels = part
    if not len(labels):
        raise InputError("this split has no images to evaluate on")
    logits = classify(images)
    require_finite(logits)
    return logits


def judge(
    logits: Tensor,
    labels: Tensor,
    classes: Sequence[str],
    fitting: tuple[Tensor, Tensor] | None = None,
    thresholds: tuple[float, ...] | None = None,
) -> Judgement:
    """Every figure of finite logits (N, classes) on labels: int64 (N,), or bool (N, classes) where several are allowed.

    Args:
        fitting: logits and labels of other images, from which a temperature is fitted; None: there is none.
        thresholds: of several labels, per class the probability above which one is said; None: 0.5.
    """
    logits, labels = logits.detach().cpu(), labels.cpu()
    values = every_metric(logits, labels, classes)
    several = is_multilabel(labels)
    hits, drawn, confusion = _several(logits, labels) if several else _single(logits, labels, len(classes))
    own, own_drawn = _several(logits, labels, thresholds)[:2] if several and thresholds else (hits, drawn)
    found, resampled = rates(own), figures(drawn) if drawn else {}
    shares = {"accuracy": accuracies(hits), **{name: getattr(found, name) for name in ("precision", "recall", "f1")}}
    spans = {name: interval(float(value), resampled[name]) for name, value in figures(hits).items() if resampled}
    if drawn and not several:
        spans["accuracy"] = of_share(int(hits.right.sum()), hits.n, resampled["accuracy"])
    by_class = of_rates(own, own_drawn) if own_drawn else {}
    value = None if several or fitting is None else calibration.fit_temperature(*fitting)
    images = _ByImage(logits, labels, (1.0, value) if value else (1.0,))
    spans |= {name: images.ranked_interval(name, values.get(name)) for name in RANKED}
    if several:
        shares["auroc"], by_class["auroc"] = images.auroc()
    known = values if several else {**values, "ece": float(images.errors[0])}
    spans |= {} if several else {"ece": images.error_interval(0)}
    return Judgement(
        tuple(classes),
        len(labels),
        values,
        shares,
        hits.support.tolist(),
        {name: None if value is None else spans.get(name) for name, value in known.items()},
        by_class,
        confusion,
        known.get("ece"),
        _temperature(logits, value, images, fitting) if value and fitting else None,
        thresholds if several else None,
    )


def _single(logits: Tensor, labels: Tensor, classes: int) -> tuple[Hits, Hits | None, Tensor | None]:
    cells = torch.bincount(labels * classes + logits.argmax(1), minlength=classes * classes)
    confusion = cells.view(classes, classes)
    return hits_of_matrix(confusion.numpy()), resampled_matrix(confusion.numpy()), confusion


def _several(
    logits: Tensor, labels: Tensor, thresholds: tuple[float, ...] | None = None
) -> tuple[Hits, Hits | None, Tensor | None]:
    answers, wanted = said(logits, thresholds).numpy(), labels.bool().numpy()
    number = affordable(logits.numel())
    return hits_of_several(answers, wanted), resampled_several(answers, wanted, number) if number else None, None


class _ByImage:
    """What needs more than counts: AUROC and average precision, or calibration errors at some temperatures.

    `ranked`: AUROC and average precision per class, (2, classes); `errors`: (temperatures,), none of several labels.
    `drawn`: both of resampled images, the resamples on a last axis; None for too many images x classes.
    """

    def __init__(self, logits: Tensor, labels: Tensor, temperatures: Sequence[float]) -> None:
        several, exact = is_multilabel(labels), logits.double()
        scores = (exact.sigmoid() if several else exact.softmax(1)).numpy()
        mine = labels.bool().numpy() if several else np.eye(scores.shape[1], dtype=bool)[labels.numpy()]
        self._rankings = [ranking(*pair) if pair[1].any() else None for pair in zip(scores.T, mine.T, strict=True)]
        self._gaps = [] if several else [calibration.gaps(logits, labels, one) for one in temperatures]
        self.ranked, self.errors = (found[..., 0] for found in self._figures(np.ones((1, len(scores)), np.int32)))
        number = affordable(scores.size)
        draws = [self._figures(chunk) for chunk in (image_weights(len(scores), number) if number else ())]
        self.drawn = [np.concatenate(part, axis=-1) for part in zip(*draws, strict=True)] if draws else None

    def _figures(self, weights: NDArray[np.int32]) -> tuple[Floats, Floats]:
        """Of images that count `weights` (R, N) times: (2, classes, R) and (temperatures, R)."""
        unknown = (np.full(len(weights), np.nan),) * 2
        ranked = np.asarray([weighted(one, weights) if one else unknown for one in self._rankings])
        errors = [calibration.error(*gap, weights) for gap in self._gaps]
        return ranked.transpose(1, 0, 2), np.asarray(errors).reshape(len(errors), len(weights))

    def ranked_interval(self, name: str, value: float | None) -> Interval:
        """Of the mean over classes of AUROC or average precision."""
        if value is None or self.drawn is None:
            return None
        return interval(value, mean(self.drawn[0][RANKED.index(name)].T))

    def error_interval(self, at: int) -> Interval:
        """Of the calibration error at one of the temperatures."""
        return interval(float(self.errors[at]), self.drawn[1][at]) if self.drawn else None

    def auroc(self) -> tuple[Floats, list[Interval]]:
        """Per class, nan where undefined, and its interval."""
        values = self.ranked[0]
        if self.drawn is None:
            return values, [None] * len(values)
        return values, [interval(float(value), draws) for value, draws in zip(values, self.drawn[0][0], strict=True)]


def _temperature(logits: Tensor, value: float, images: _ByImage, fitting: tuple[Tensor, Tensor]) -> Temperature:
    """One that was fitted, and what it does by the second calibration error of the images."""
    other, known = fitting
    same = other.shape == logits.shape and torch.equal(other.cpu(), logits)
    return Temperature(value, len(known), float(images.errors[1]), images.error_interval(1), same)


def unseen(dataset: Dataset, info: Mapping[str, Any], seed: int) -> Split | None:
    """Validation images for a temperature: those that a search with this seed holds out.

    None where the file was trained on them too, as `retrain` does. Raises DataError.
    """
    trained_on = (
        info.get("trained") == "retrain" and info.get("fingerprint", dataset.fingerprint) == dataset.fingerprint
    )
    return None if trained_on else part_of(dataset, "validation", seed)


def sample(part: Split, most: int) -> Split:
    """At most so many images of a split, evenly spaced."""
    images, labels = part
    if len(labels) <= most:
        return part
    chosen = torch.linspace(0, len(labels) - 1, most, dtype=torch.float64).round().long()
    return images.subset(chosen), labels[chosen]
