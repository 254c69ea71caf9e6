"""How long networks take that nobody has measured, from the layers of those that somebody has.

Belief: milliseconds are a sum over layers, at prices by kind (`latency_layers`). These prices are not negative and lie
near what kernels usually ask, up to one factor for all (a MAP estimate, so a few networks are enough to start). What a
sum cannot say, such as narrow maps that a kernel is slow on, is left to a Gaussian process on the log of the ratio.
Source of the shape: rooflines, Williams et al. 2009; sums over operators, nn-Meter (Zhang et al. 2021).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import cho_solve
from scipy.optimize import nnls
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from archsearch.inference.latency_layers import BLOCKED, SUMS, Array, Kernels, amounts, described
from archsearch.network.arch import Arch

FEWEST = 5
"""Networks from which on their ratios are learnt from, too."""
DOUBT = 0.5
"""Standard deviation of a log before that."""
_FOLDS, _LEAST_DOUBT = 10, 0.05


@dataclass(frozen=True)
class LatencyModel:
    """Milliseconds of networks by their layers; `fit` makes one.

    `error`: the median of relative errors, each of a network that was left out; nan for fewer than `FEWEST`.
    """

    kernels: Kernels
    prices: Array
    error: float = math.nan
    scaled: tuple[Array, Array] | None = None
    process: Any = None

    @classmethod
    def fit(cls, archs: Sequence[Arch], milliseconds: Sequence[float], kernels: Kernels = BLOCKED) -> LatencyModel:
        """Learn from measured networks, at least one. `kernels`: of the runtime that was measured."""
        found, known = amounts(archs, kernels), np.asarray(milliseconds, float)
        prices = _prices(found[:, :SUMS], known, kernels)
        if len(known) < FEWEST:
            return cls(kernels, prices)
        ratios = np.log(known / _left_out(found[:, :SUMS], known, kernels))
        inputs = described(found)
        middle, width = inputs.mean(0), np.where(inputs.std(0) > 1e-9, inputs.std(0), 1.0)
        kernel = ConstantKernel(0.01, (1e-6, 1.0)) * RBF(2.0, (0.3, 30.0)) + WhiteKernel(1e-3, (1e-5, 0.1))
        process = GaussianProcessRegressor(kernel, alpha=1e-9)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a length at its bound serves too
            process.fit((inputs - middle) / width, ratios)
        inverse = cho_solve((process.L_, True), np.eye(len(known)))
        error = float(np.median(np.abs(np.expm1(process.alpha_ / inverse.diagonal()))))
        return cls(kernels, prices, error, (middle, width), process)

    def predict(self, archs: Sequence[Arch]) -> tuple[Array, Array]:
        """Milliseconds, and the standard deviation of their log, (n,) each. Raises SpecError."""
        found = amounts(archs, self.kernels)
        total = found[:, :SUMS] @ self.prices
        if self.scaled is None:
            return total, np.full(len(archs), DOUBT)
        middle, width = self.scaled
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Predicted variances smaller than 0")  # rounding; there is a least below
            mean, std = self.process.predict((described(found) - middle) / width, return_std=True)
        return total * np.exp(mean), np.maximum(std, _LEAST_DOUBT)


def _prices(found: Array, known: Array, kernels: Kernels) -> Array:
    """Milliseconds for one of every amount: near the usual ones times a factor, and none below zero."""
    factor = float(np.exp(np.median(np.log(known / (found @ kernels.prices)))))
    prior = np.maximum(factor * kernels.prices, 1e-12)
    # Relative errors, and relative distances from the prior: unknowns are shares of the usual prices.
    rows = np.vstack([found * prior / known[:, None], kernels.trust * np.eye(len(prior))])
    wanted = np.concatenate([np.ones(len(known)), np.full(len(prior), kernels.trust)])
    shares, _ = nnls(rows, wanted)
    return np.asarray(shares * prior)


def _left_out(found: Array, known: Array, kernels: Kernels) -> Array:
    """What the sum says of every network where it was learnt from others."""
    guessed = np.empty(len(known))
    for fold in range(min(_FOLDS, len(known))):
        out = np.arange(len(known)) % _FOLDS == fold
        guessed[out] = found[out] @ _prices(found[~out], known[~out], kernels)
    return guessed


def spread(archs: Sequence[Arch], number: int) -> list[Arch]:
    """At most so many networks that are unlike each other: a common one, then always the farthest from all before."""
    if len(archs) <= number:
        return list(archs)
    found = described(amounts(archs))
    scaled = (found - found.mean(0)) / np.where(found.std(0) > 1e-9, found.std(0), 1.0)
    chosen = [int(np.argmin((scaled**2).sum(1)))]
    away = ((scaled - scaled[chosen[0]]) ** 2).sum(1)
    while len(chosen) < number:
        chosen.append(int(np.argmax(away)))
        away = np.minimum(away, ((scaled - scaled[chosen[-1]]) ** 2).sum(1))
    return [archs[i] for i in chosen]
