"""How much a metric falls at least from one classifier to another on the same images: a paired bootstrap.

Both are measured on the same resampled images (Efron 1979), with one fixed seed. A resample that has no image of a
class says nothing of it: it counts as no fall there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor
from torch.nn import functional

from archsearch._utils.scores import RECALL
from archsearch.metrics.bootstrap import affordable, image_weights
from archsearch.metrics.metric import Metric
from archsearch.metrics.per_class import Floats, Hits, figures, mean, rates
from archsearch.metrics.ranking import Ranking, ranking, weighted
from archsearch.metrics.thresholds import said

_ONE_SIDED_95 = 5
"""The percentile above which 95% of the resampled drops lie."""
_RANKED = ("macro-auroc", "average-precision")


@dataclass(frozen=True)
class Pair:
    """A metric before and after a change, on n images; `least_drop`: what it falls at least, with 95% confidence."""

    metric: Metric
    before: float
    after: float
    least_drop: float
    n: int

    @property
    def drop(self) -> float:
        """Before less after."""
        return self.before - self.after


def paired(metric: Metric, before: Tensor, after: Tensor, labels: Tensor) -> Pair:
    """Two sets of finite logits (N, classes) by a metric. Raises InputError where labels leave it undefined.

    The bound is the drop itself where there are too many images x classes to resample: chance is small there.
    """
    scores = metric(before, labels), metric(after, labels)
    drop = scores[0] - scores[1]
    number = affordable(before.numel())
    if not number or drop <= 0:
        return Pair(metric, *scores, drop, len(labels))
    falls = _resampled(metric, before, labels, number) - _resampled(metric, after, labels, number)
    least = float(np.percentile(np.nan_to_num(falls), _ONE_SIDED_95))
    return Pair(metric, *scores, min(least, drop), len(labels))


def _resampled(metric: Metric, logits: Tensor, labels: Tensor, number: int) -> Floats:
    """The metric on resampled images (R,), the same ones each time; nan where they leave it undefined."""
    exact, several = logits.detach().cpu().double(), metric.known.several
    mine = (labels if several else functional.one_hot(labels, exact.shape[1])).cpu().bool().numpy()
    if metric.name in _RANKED:
        shares = (exact.sigmoid() if several else exact.softmax(1)).numpy()
        ranked = [ranking(*pair) for pair in zip(shares.T, mine.T, strict=True)]
        draws = [_ranked(metric.name, ranked, weights) for weights in image_weights(len(mine), number)]
        return np.concatenate(draws)
    answers = (said(exact) if several else functional.one_hot(exact.argmax(1), exact.shape[1])).bool().numpy()
    parts = [part.astype(np.float64) for part in (answers & mine, answers, mine)]
    places = np.arange(mine.shape[1])
    squares = None if several else ((answers @ places - mine @ places) ** 2).astype(np.float64)
    found = list[Floats]()
    for weights in image_weights(len(mine), number):
        right, spoken, support = (np.rint(weights @ part).astype(np.int64) for part in parts)
        far = None if squares is None else np.rint(weights @ squares).astype(np.int64)
        found.append(_counted(metric, Hits(right, spoken, support, len(mine), far)))
    return np.concatenate(found)


def _ranked(name: str, ranked: list[Ranking], weights: np.ndarray[tuple[int, ...], np.dtype[np.int32]]) -> Floats:
    """The mean over classes, (R,)."""
    return mean(np.stack([weighted(one, weights)[_RANKED.index(name)] for one in ranked], axis=1))


def _counted(metric: Metric, hits: Hits) -> Floats:
    if metric.name.startswith(RECALL):
        found: Floats = rates(hits).recall[..., metric.known.chosen]
        return found
    return figures(hits)[metric.name]
