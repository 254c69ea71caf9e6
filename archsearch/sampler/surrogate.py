"""What accuracy to expect of an untrained network: a Gaussian process of scikit-learn's.

Belief: with a ceiling c somewhat above the best accuracy seen, the log deficit `log(c - accuracy)` is a
Gaussian process. This pulls in the long tail of poor networks, spreads out the good ones, and needs no unit:
accuracies may be fractions, per cent or negative losses. The ceiling is chosen by marginal likelihood.

Kernel: a Matern 5/2 over all dims, the shared columns and log size, plus linear effects of each, plus noise.
Seven numbers to learn, whatever the number of dims, with log-normal priors (a MAP estimate, so ten networks
are enough to start). Source of the shape: additive kernels, Duvenaud et al. 2011.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.spatial.distance import cdist
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Hyperparameter, Kernel
from threadpoolctl import threadpool_limits

from archsearch.sampler.dims import Array

MARGINS = (0.1, 0.25, 0.5, 1.0, 2.0)
TYPICAL = np.array([1e-2, 1.0, 0.3, 0.3, 0.5, 1.0, 1.0])
SPREAD = np.array([2.0, 1.0, 1.5, 1.5, 1.0, 1.0, 1.0])
LEAST, MOST = 1e-8, 1e6
"""What is learnt lies between them."""
FIT_POINTS = 150
ROOT5 = np.sqrt(5.0)


class NetworkKernel(Kernel):  # type: ignore[misc]  # scikit-learn has no types
    """Covariance of the log deficits of two networks.

    Args:
        values: (7,) noise, smooth, linear, sized (variances), then the lengths over which accuracy changes
            with the dims, the shared columns and log size.
        dims: number of dims.
        columns: of the inputs, that many belong to the dims; then come the shared ones, last log size.
    """

    def __init__(self, values: Array, dims: int, columns: int) -> None:
        self.values = values
        self.dims = dims
        self.columns = columns

    @property
    def hyperparameter_values(self) -> Any:
        """For scikit-learn: the numbers to learn. It warns where one lies at its bound, so its bounds are far away."""
        return Hyperparameter("values", "numeric", np.array([[1e-300, 1e300]] * len(TYPICAL)), len(TYPICAL))

    def _parts(self, x: Array) -> tuple[Array, Array, Array]:
        at = self.columns
        return x[:, :at] / np.sqrt(self.dims), x[:, at:-1], x[:, -1:]

    def __call__(self, x: Array, y: Array | None = None, eval_gradient: bool = False) -> Any:
        noise, smooth, linear, sized, *reach = self.values
        mine = self._parts(x)
        other = mine if y is None else self._parts(y)
        apart = [cdist(a, b, "sqeuclidean") / r**2 for a, b, r in zip(mine, other, reach, strict=True)]
        r = ROOT5 * np.sqrt(sum(apart))
        decay = np.exp(-r)
        matern = smooth * (1 + r + r**2 / 3) * decay
        straight = linear * (2 * mine[0] @ other[0].T + 4 * mine[1] @ other[1].T)
        trend = sized * 4 * (mine[2] - 0.5) @ (other[2] - 0.5).T
        total = matern + straight + trend
        if y is None:
            total = total + noise * np.eye(len(x))
        if not eval_gradient:
            return total
        slope = smooth * 5 / 3 * (1 + r) * decay
        by_reach = [slope * a for a in apart]
        return total, np.dstack([noise * np.eye(len(x)), matern, straight, trend, *by_reach])

    def diag(self, x: Array) -> Array:
        """(n,) variances without noise."""
        _, smooth, linear, sized, *_ = self.values
        dims, shared, size = self._parts(x)
        straight = linear * (2 * (dims**2).sum(1) + 4 * (shared**2).sum(1))
        return np.asarray(smooth + straight + sized * 4 * (size[:, 0] - 0.5) ** 2)

    def is_stationary(self) -> bool:
        """Never: the linear parts are not."""
        return False


def one_blas_thread() -> threadpool_limits:
    """A context in which NumPy and SciPy do linear algebra in one thread.

    More of them gain nothing on matrices of some hundred rows, and where trainings keep the cores busy they wait for
    each other: proposals on an H200's machine took up to 9 s (benchmarks/RESULTS.md). It holds for libraries that are
    loaded before; importing this module loads them.
    """
    return threadpool_limits(limits=1, user_api="blas")


@dataclass(frozen=True)
class Belief:
    """Hyperparameters: kernel values, and how far above the best accuracy the ceiling is, in `scale`s."""

    values: Array
    margin: float


def scale_of(accuracy: Array) -> float:
    """Interquartile range, or what comes closest to one where half the values are equal."""
    low, high = np.percentile(accuracy, [25, 75])
    return float(high - low) or float(np.ptp(accuracy)) or 1.0


class Surrogate:
    """A Gaussian process over encoded networks.

    Args:
        inputs: (n, d), log size last.
        accuracy: (n,).
        doubt: (n,) standard deviation of each accuracy beyond the common noise, in its unit.
        belief: from `learn`.
        shape: number of dims and of their columns.
    """

    def __init__(self, inputs: Array, accuracy: Array, doubt: Array, belief: Belief, shape: tuple[int, int]) -> None:
        scale = scale_of(accuracy)
        self.ceiling = float(accuracy.max() + belief.margin * scale)
        deficit = np.log(self.ceiling - accuracy)
        self._mean, self._std = deficit.mean(), deficit.std() or 1.0
        relative = np.minimum(doubt / (self.ceiling - accuracy), 3.0)
        self._process = GaussianProcessRegressor(
            NetworkKernel(belief.values, *shape), alpha=1e-8 + (relative / self._std) ** 2, optimizer=None
        ).fit(inputs, (deficit - self._mean) / self._std)

    def predict(self, inputs: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the log deficit, (m,) each; noise left out."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Predicted variances smaller than 0")  # rounding; there is a least below
            mean, std = self._process.predict(inputs, return_std=True)
        return mean * self._std + self._mean, np.maximum(std, 1e-6) * self._std

    def typical(self, inputs: Array) -> Array:
        """The median accuracy expected, (m,)."""
        return np.asarray(self.ceiling - np.exp(self._process.predict(inputs) * self._std + self._mean))


def learn(inputs: Array, accuracy: Array, shape: tuple[int, int]) -> Belief:
    """Most probable hyperparameters.

    Args:
        inputs: (n, d), as for `Surrogate`; of many a fixed random part is used.
        accuracy: (n,).
        shape: number of dims and of their columns.
    """
    if len(accuracy) > FIT_POINTS:
        part = np.random.default_rng(0).permutation(len(accuracy))[:FIT_POINTS]
        inputs, accuracy = inputs[part], accuracy[part]
    tried = [_learn_at(margin, inputs, accuracy, shape) for margin in MARGINS]
    return max(tried, key=lambda pair: pair[0])[1]


def _learn_at(margin: float, inputs: Array, accuracy: Array, shape: tuple[int, int]) -> tuple[float, Belief]:
    gap = accuracy.max() + margin * scale_of(accuracy) - accuracy
    deficit = np.log(gap)
    std = deficit.std() or 1.0
    process = GaussianProcessRegressor(NetworkKernel(TYPICAL.copy(), *shape), alpha=1e-8, optimizer=_most_probable).fit(
        inputs, (deficit - deficit.mean()) / std
    )
    evidence = process.log_marginal_likelihood_value_ - deficit.sum() - len(gap) * np.log(std)
    return float(evidence - _surprise(process.kernel_.theta)[0]), Belief(process.kernel_.values, margin)


def _surprise(theta: Array) -> tuple[float, Array]:
    """Minus the log prior, up to a constant, and its gradient."""
    away = (theta - np.log(TYPICAL)) / SPREAD
    return float(0.5 * away @ away), away / SPREAD


def _most_probable(
    objective: Callable[[Array], tuple[float, Array]], start: Array, bounds: Array
) -> tuple[Array, float]:
    """Between `LEAST` and `MOST`; scikit-learn's bounds are none."""

    def posterior(theta: Array) -> tuple[float, Array]:
        value, slope = objective(theta)
        more, steeper = _surprise(theta)
        return value + more, slope + steeper

    inside = [(np.log(LEAST), np.log(MOST))] * len(start)
    found = minimize(posterior, start, jac=True, method="L-BFGS-B", bounds=inside, options={"maxiter": 20})
    theta = np.asarray(found.x)
    return theta, float(found.fun - _surprise(theta)[0])
