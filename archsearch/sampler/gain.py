"""Expected hypervolume improvement when one objective is known exactly.

A candidate of known log size s adds, if its accuracy turns out as y, the area

    gain(y) = integral over t from s to T of max(0, y - f(t)) dt,

where f(t) is the best accuracy known at log size t or below (the reference accuracy where there is none)
and T the reference log size. f is a staircase, so the expected gain is a sum over its steps: width times the
one-dimensional expected improvement over the step's height. Nothing is sampled.

The surrogate's belief is that the deficit `ceiling - y` is log-normal (see `surrogate`); its expected
improvement is the value of a put option on the deficit (Black and Scholes 1973 have the integral).
Source of the one-dimensional form: Jones et al. 1998; of the sum over strips: Emmerich et al. 2011.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from archsearch.sampler.dims import Array


def expected_improvement(mean: Array, std: Array, deficit: Array) -> Array:
    """E[max(0, d - D)] for log D normal.

    Args:
        mean: of log D; any shape.
        std: of log D, positive, broadcast against `mean`.
        deficit: the level d to beat, positive, broadcast likewise.

    Returns:
        In the unit of d, of the broadcast shape.
    """
    z = (np.log(deficit) - mean) / std
    gain = deficit * ndtr(z) - np.exp(mean + 0.5 * std**2) * ndtr(z - std)
    return np.asarray(np.maximum(gain, 0.0))


def staircase(log_size: ArrayLike, accuracy: ArrayLike, corner: tuple[float, float]) -> tuple[Array, Array]:
    """Steps of the best accuracy by log size.

    Args:
        log_size, accuracy: (n,) of what is known.
        corner: the reference (log size, accuracy).

    Returns:
        edges (m + 1,), rising, from minus infinity to the corner's log size; heights (m,), rising, the first
        being the corner's accuracy.
    """
    order = np.lexsort((-np.asarray(accuracy), np.asarray(log_size)))
    edges, heights = [-np.inf], [corner[1]]
    for at in order:
        size, level = np.asarray(log_size)[at], np.asarray(accuracy)[at]
        if size < corner[0] and level > heights[-1]:
            edges.append(float(size))
            heights.append(float(level))
    return np.array([*edges, corner[0]]), np.array(heights)


def top(steps: tuple[Array, Array]) -> tuple[Array, Array]:
    """The staircase of one who asks for the best accuracy alone: its highest step, from minus infinity on."""
    edges, heights = steps
    return np.array([-np.inf, edges[-1]]), heights[-1:]


def expected_gain(log_size: Array, mean: Array, std: Array, ceiling: float, steps: tuple[Array, Array]) -> Array:
    """Expected hypervolume improvement of candidates over (accuracy, log size).

    Args:
        log_size: (n,), exact.
        mean, std: (n,) of the log deficit, `log(ceiling - accuracy)`.
        ceiling: above every accuracy.
        steps: from `staircase`.

    Returns:
        (n,), at least 0.
    """
    edges, heights = steps
    widths = np.maximum(edges[None, 1:] - np.maximum(edges[None, :-1], log_size[:, None]), 0.0)
    gains = expected_improvement(mean[:, None], std[:, None], (ceiling - heights)[None, :])
    return np.asarray((widths * gains).sum(1))
