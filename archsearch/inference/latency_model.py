"""How long networks take that nobody has measured, from the layers of those that somebody has.

Belief: milliseconds are a sum over layers. A layer costs something for every multiplication, for every value that it
reads or writes, and for itself; how much goes by its kind. These prices are not negative and lie near what processors
usually ask, up to one factor for all (a MAP estimate, so a few networks are enough to start). What a sum cannot say,
such as narrow maps that a kernel is slow on, is left to a Gaussian process on the log of the ratio.
Source of the shape: rooflines, Williams et al. 2009; sums over operators, nn-Meter (Zhang et al. 2021).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve
from scipy.optimize import nnls
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from archsearch.network.arch import Arch
from archsearch.network.cost import Parts, measure
from archsearch.network.layer_cost import leaf_cost
from archsearch.network.layers import (
    Act,
    AdaptivePool,
    Add,
    Again,
    Aux,
    Combinator,
    Concat,
    Conv,
    Expr,
    Flatten,
    Leaf,
    Linear,
    Mul,
    Norm,
    Pool,
    Seq,
    Shape,
    Shared,
    Subsample,
    Take,
)

Array = NDArray[np.float64]
FEWEST = 5
"""Networks from which on their ratios are learnt from, too."""
DOUBT = 0.5
"""Standard deviation of a log before that."""
_FOLDS, _LEAST_DOUBT = 10, 0.02
_TRUST = 0.05
"""How far measured networks may be from the sum, as a share, where a price is twice the usual one."""
_BLOCK, _ALIGNED = 16, 4
"""Channels that kernels compute at once, and of which a multiple can be laid out in such blocks."""


class _Price(NamedTuple):
    """What is usual, in nanoseconds: for a multiplication, a value read or written, and a layer."""

    work: float
    moved: float
    once: float


_USUAL = {
    "conv1": _Price(0.03, 0.2, 1500),
    "conv3": _Price(0.03, 0.2, 1500),
    "conv5": _Price(0.03, 0.2, 1500),
    "conv": _Price(0.03, 0.2, 1500),
    "depthwise3": _Price(0.15, 0.2, 1500),
    "depthwise5": _Price(0.15, 0.2, 1500),
    "depthwise": _Price(0.15, 0.2, 1500),
    "grouped": _Price(0.1, 0.2, 1500),
    "thin": _Price(0.05, 0.2, 1500),
    "plain": _Price(0.06, 0.2, 1500),
    "plain depthwise": _Price(0.5, 0.2, 1500),
    "linear": _Price(0.06, 0.2, 1500),
    "norm": _Price(0.0, 0.1, 500),
    "cheap": _Price(0.0, 0.02, 50),
    "dear": _Price(0.0, 0.5, 1500),
    "pool": _Price(0.3, 0.2, 1500),
    "mean": _Price(0.0, 0.2, 1500),
    "add": _Price(0.0, 0.15, 1500),
    "mul": _Price(0.0, 0.15, 1500),
    "concat": _Price(0.0, 0.15, 1500),
    "reorder": _Price(0.0, 0.15, 1500),
    "other": _Price(0.1, 0.2, 3000),
}
"""By kinds of layers.

`cheap` and `dear` are activations: the first hide in what is before, as a sum does. Convolutions work on maps that are
laid out in blocks of channels. `thin` ones read fewer channels than a block, `plain` ones a number that makes no
blocks; both want the usual layout. `reorder` is the way from one to the other. Source: ONNX Runtime's NCHWc kernels.
"""
_PLACE = {name: 3 * i for i, name in enumerate(_USUAL)}
_PRICES = np.array([price for kind in _USUAL.values() for price in kind])
_SUMS = len(_PRICES)
_WIDTHS = 2
"""Behind the amounts: sums of log input and output channels, weighed by multiplications."""
_DEPTHWISE = [_PLACE[name] for name in ("depthwise3", "depthwise5", "depthwise")]
_DENSE = [_PLACE[name] for name in ("conv1", "conv3", "conv5", "conv", "grouped", "linear")]
_ODD = [_PLACE[name] for name in ("thin", "plain", "plain depthwise")]


def amounts(archs: Sequence[Arch]) -> Array:
    """(n, amounts): what the networks' layers are, summed up. Raises SpecError."""
    return np.array([_whole(arch.cost.parts) for arch in archs]).reshape(len(archs), _SUMS + _WIDTHS)


def described(found: Array) -> Array:
    """(n, 8) logs by which networks differ: work of three sorts, values moved, layers, dear activations, widths."""
    work, moved, once = found[:, 0:_SUMS:3], found[:, 1:_SUMS:3], found[:, 2:_SUMS:3]
    dense, depthwise, odd = (found[:, kinds].sum(1) for kinds in (_DENSE, _DEPTHWISE, _ODD))
    widths = found[:, _SUMS:] / np.maximum(work.sum(1), 1)[:, None]
    logs = np.log1p(np.stack([dense, depthwise, odd, moved.sum(1), once.sum(1), found[:, _PLACE["dear"] + 1]], 1))
    return np.hstack([logs, widths])


def _whole(parts: Parts) -> Array:
    total = np.zeros(_SUMS + _WIDTHS)
    for number, (_, expr, shape) in enumerate(parts):
        total += _amounts(expr, shape, number > 0 and len(shape) == 3)
    return total


@lru_cache(maxsize=1 << 14)
def _amounts(expr: Expr, shape: Shape, blocked: bool) -> Array:
    """Of one part; candidates of a space have most parts in common. `blocked`: the layout of what it is given."""
    total = np.zeros(_SUMS + _WIDTHS)
    for kind, work, moved, widths in _layers(expr, shape, _Map(blocked)):
        at = _PLACE[kind]
        total[at : at + 3] += work, moved, 1
        total[_SUMS:] += np.array(widths) * work
    return total


class _Map(NamedTuple):
    """How a map comes: in blocks of channels, and straight from a convolution or linear layer."""

    blocked: bool
    behind_conv: bool = False


_Row = tuple[str, float, float, tuple[float, float]]
_Rows = Generator[_Row, None, _Map]
_NO_WIDTHS = (0.0, 0.0)
_ALWAYS = ("relu", "leaky_relu")
_DEAR = ("silu", "gelu", "tanh", "sigmoid")


def _layers(expr: Expr, shape: Shape, given: _Map) -> _Rows:
    """Every layer that is left when the network ships: kind, work, values moved, log channels in and out."""
    if isinstance(expr, Leaf):
        return (yield from _leaf(expr, shape, given))
    if isinstance(expr, Seq | Shared):
        for part in expr.parts:
            given = yield from _layers(part, shape, given)
            shape = measure(part, shape).out
        return given
    if isinstance(expr, Combinator) and not isinstance(expr, Aux):
        return (yield from _joined(expr, shape, given))
    return given


def _joined(expr: Combinator, shape: Shape, given: _Map) -> _Rows:
    if isinstance(expr, Mul) and Seq(()) in expr.parts:
        given = yield from _reordered(shape, given, False)
    outs, found = [measure(part, shape).out for part in expr.parts], list[_Map]()
    for part in expr.parts:
        found.append((yield from _layers(part, shape, _Map(given.blocked))))
    blocked = all(one.blocked for one in found) and not isinstance(expr, Mul)
    if isinstance(expr, Concat):
        blocked = blocked and all(out[0] % _BLOCK == 0 for out in outs)
    for out, one in zip(outs, found, strict=True):
        yield from _reordered(out, one, blocked)
    kind = "add" if isinstance(expr, Add) else "concat" if isinstance(expr, Concat) else "mul"
    hidden = kind == "add" and blocked and any(one.behind_conv for one in found)
    moved = sum(prod(out) for out in (*outs, measure(expr, shape).out))
    yield "cheap" if hidden else kind, 0, moved, _NO_WIDTHS
    return _Map(blocked, hidden)


def _reordered(shape: Shape, given: _Map, blocked: bool) -> _Rows:
    """Nothing where a map has the layout already, or is none."""
    if given.blocked != blocked and len(shape) == 3:
        yield "reorder", 0, 2 * prod(shape), _NO_WIDTHS
    return _Map(blocked and len(shape) == 3)


def _leaf(leaf: Leaf, shape: Shape, given: _Map) -> _Rows:
    leaf = leaf.of if isinstance(leaf, Again) else leaf
    found = leaf_cost(leaf, shape)
    if isinstance(leaf, Conv):
        return (yield from _conv(leaf, shape, given))
    if found.view or (isinstance(leaf, Norm) and given.behind_conv):
        if isinstance(leaf, Flatten):
            yield from _reordered(shape, given, False)
            return _Map(False)
        return given
    moved = _moved(leaf, shape)
    if isinstance(leaf, Act):
        hidden = leaf.name in _ALWAYS or (leaf.name not in _DEAR and given.behind_conv and given.blocked)
        yield "cheap" if hidden else "dear", 0, moved, _NO_WIDTHS
        return _Map(given.blocked)
    if isinstance(leaf, Pool):
        yield "pool", prod(found.out) * leaf.kernel**2, moved, _NO_WIDTHS
        return _Map(given.blocked)
    if isinstance(leaf, Norm):
        yield "norm", found.macs, moved, _NO_WIDTHS
        return _Map(given.blocked)
    yield from _reordered(shape, given, False)
    if isinstance(leaf, Linear):
        yield "linear", found.macs, moved, (math.log(shape[0]), math.log(leaf.out))
        return _Map(False, True)
    yield "mean" if isinstance(leaf, AdaptivePool | Subsample | Take) else "other", found.macs, moved, _NO_WIDTHS
    return _Map(False)


def _moved(leaf: Leaf, shape: Shape) -> int:
    found = leaf_cost(leaf, shape)
    return prod(shape) + prod(found.out) + sum(prod(one.shape) for one in found.tensors if one.kind == "param")


def _conv(leaf: Conv, shape: Shape, given: _Map) -> _Rows:
    kind = _kind(leaf, shape)
    plain = kind.startswith("plain")
    yield from _reordered(shape, given, not plain and kind != "thin")
    padded = 1.0 if plain else -(-leaf.out // _BLOCK) * _BLOCK / leaf.out
    widths = math.log(shape[0] / leaf.groups), math.log(leaf.out)
    yield kind, leaf_cost(leaf, shape).macs * padded, _moved(leaf, shape), widths
    return _Map(not plain, True)


def _kind(leaf: Conv, shape: Shape) -> str:
    if leaf.groups == shape[0] and leaf.groups > 1:
        if leaf.out % _ALIGNED:
            return "plain depthwise"
        return f"depthwise{leaf.kernel}" if leaf.kernel in (3, 5) else "depthwise"
    if leaf.groups > 1:
        return "grouped"
    if shape[0] < _BLOCK:
        return "thin"
    if shape[0] % _ALIGNED:
        return "plain"
    return f"conv{leaf.kernel}" if leaf.kernel in (1, 3, 5) else "conv"


@dataclass(frozen=True)
class LatencyModel:
    """Milliseconds of networks by their layers; `fit` makes one.

    `error`: the median of relative errors, each of a network that was left out; nan for fewer than `FEWEST`.
    """

    prices: Array
    error: float = math.nan
    scaled: tuple[Array, Array] | None = None
    process: Any = None

    @classmethod
    def fit(cls, archs: Sequence[Arch], milliseconds: Sequence[float]) -> LatencyModel:
        """Learn from measured networks, at least one."""
        found, known = amounts(archs), np.asarray(milliseconds, float)
        prices = _prices(found[:, :_SUMS], known)
        if len(known) < FEWEST:
            return cls(prices)
        ratios = np.log(known / _left_out(found[:, :_SUMS], known))
        inputs = described(found)
        middle, width = inputs.mean(0), np.where(inputs.std(0) > 1e-9, inputs.std(0), 1.0)
        kernel = ConstantKernel(0.01, (1e-6, 1.0)) * RBF(2.0, (0.3, 30.0)) + WhiteKernel(1e-3, (1e-5, 0.1))
        process = GaussianProcessRegressor(kernel, alpha=1e-9)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a length at its bound serves too
            process.fit((inputs - middle) / width, ratios)
        inverse = cho_solve((process.L_, True), np.eye(len(known)))
        error = float(np.median(np.abs(np.expm1(process.alpha_ / inverse.diagonal()))))
        return cls(prices, error, (middle, width), process)

    def predict(self, archs: Sequence[Arch]) -> tuple[Array, Array]:
        """Milliseconds, and the standard deviation of their log, (n,) each. Raises SpecError."""
        found = amounts(archs)
        total = found[:, :_SUMS] @ self.prices
        if self.scaled is None:
            return total, np.full(len(archs), DOUBT)
        middle, width = self.scaled
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Predicted variances smaller than 0")  # rounding; there is a least below
            mean, std = self.process.predict((described(found) - middle) / width, return_std=True)
        return total * np.exp(mean), np.maximum(std, _LEAST_DOUBT)


def _prices(found: Array, known: Array) -> Array:
    """Milliseconds for one of every amount: near the usual ones times a factor, and none below zero."""
    usual = found @ _PRICES
    factor = float(np.exp(np.median(np.log(known / usual))))
    prior = np.maximum(factor * _PRICES, 1e-12)
    # Relative errors, and relative distances from the prior: unknowns are shares of the usual prices.
    rows = np.vstack([found * prior / known[:, None], _TRUST * np.eye(len(prior))])
    wanted = np.concatenate([np.ones(len(known)), np.full(len(prior), _TRUST)])
    shares, _ = nnls(rows, wanted)
    return np.asarray(shares * prior)


def _left_out(found: Array, known: Array) -> Array:
    """What the sum says of every network where it was learnt from others."""
    guessed = np.empty(len(known))
    for fold in range(min(_FOLDS, len(known))):
        out = np.arange(len(known)) % _FOLDS == fold
        guessed[out] = found[out] @ _prices(found[~out], known[~out])
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
