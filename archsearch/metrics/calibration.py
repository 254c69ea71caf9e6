"""Whether probabilities are what they say: the expected calibration error, and a temperature that lowers it.

Guo et al. 2017, "On Calibration of Modern Neural Networks": probabilities are the softmax of logits / temperature.
A temperature changes no label, as it leaves the order of the logits.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from archsearch.metrics.per_class import Floats

BINS = 15
LEAST, MOST = 0.02, 50.0
"""Temperatures that are looked for; beyond them probabilities are 0 and 1, or all the same."""
_STEPS = 32


def probabilities(logits: Tensor, temperature: float = 1.0) -> Floats:
    """float64 softmax (N, classes) of logits / temperature."""
    found: Floats = (logits.detach().double().cpu() / temperature).softmax(1).numpy()
    return found


def gaps(logits: Tensor, labels: Tensor, temperature: float = 1.0) -> tuple[NDArray[np.int64], Floats]:
    """Per image its bin by confidence, and whether its answer is right less that confidence: both (N,).

    Confidence is the largest probability; bins are (0, 1/15], (1/15, 2/15], ...
    """
    shares = probabilities(logits, temperature)
    confidence = shares.max(1)
    bins = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    return bins, (logits.argmax(1) == labels).cpu().numpy() - confidence


def error(bins: NDArray[np.int64], gap: Floats, weights: NDArray[np.int32] | None = None) -> Floats:
    """The expected calibration error: over bins, the mean of |accuracy - confidence|, by their images.

    Args:
        weights: how often each image counts, (R, N) for an error (R,); None: once, for ().
    """
    by_bin = np.where(bins[:, None] == np.arange(BINS), gap[:, None], 0)
    counts = np.ones(len(gap)) if weights is None else weights.astype(np.float64)
    found: Floats = np.abs(counts @ by_bin).sum(-1) / counts.sum(-1)
    return found


def ece(logits: Tensor, labels: Tensor, temperature: float = 1.0) -> float:
    """The expected calibration error of logits (N, classes) and int64 labels (N,), from 0 to 1; N is at least 1."""
    return float(error(*gaps(logits, labels, temperature)))


def fit_temperature(logits: Tensor, labels: Tensor) -> float | None:
    """The temperature with the least cross-entropy on logits (N, classes) and int64 labels (N,).

    None where none is best: every image is answered rightly, so that a lower one is always better; the answers are no
    better than chance; or there is no image.
    """
    if not len(labels):
        return None
    exact, chosen = logits.detach().double().cpu(), labels.cpu().view(-1, 1)
    exact = exact - exact.max(1, keepdim=True).values
    low, high = np.log(1 / MOST), np.log(1 / LEAST)
    if _slope(exact, chosen, np.exp(low)) >= 0 or _slope(exact, chosen, np.exp(high)) <= 0:
        return None
    for _ in range(_STEPS):  # the cross-entropy is convex in 1 / temperature
        middle = (low + high) / 2
        low, high = (low, middle) if _slope(exact, chosen, np.exp(middle)) > 0 else (middle, high)
    return float(np.exp(-(low + high) / 2))


def _slope(logits: Tensor, labels: Tensor, inverse: float) -> float:
    """Of the mean cross-entropy by 1 / temperature: the logit that is expected less the label's."""
    expected = ((logits * inverse).softmax(1) * logits).sum(1, keepdim=True)
    return float(torch.mean(expected - logits.gather(1, labels)))
