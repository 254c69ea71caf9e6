"""Predicted milliseconds: against formulas that stand in for a machine, so that what is right is known."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from scipy.stats import spearmanr

from archsearch.inference.latency_layers import BLOCKED, FLAT, Kernels, amounts
from archsearch.inference.latency_model import DOUBT, FEWEST, LatencyModel, spread
from archsearch.network.arch import Arch
from archsearch.space.domain import Domain
from archsearch.space.reader import load_space

MEASURED, FRESH = 30, 60


@pytest.fixture(scope="module")
def archs() -> list[Arch]:
    """Random networks of the default space."""
    rng, domain = random.Random(0), Domain(load_space("resnin"), (3, 32, 32), 10)
    return [domain.random(rng) for _ in range(300)]


def roofline(archs: list[Arch], seed: int, kernels: Kernels = BLOCKED) -> np.ndarray:
    """A machine whose prices differ from the usual ones, slow on narrow maps, 1% noise."""
    rng = np.random.default_rng(seed)
    found = amounts(archs, kernels)
    prices = rng.lognormal(-13, 0.7, found.shape[1] - 2) * np.tile([0.03, 0.2, 1500], (found.shape[1] - 2) // 3)
    narrow = 1 + 0.3 / (1 + np.exp(found[:, -1] / found[:, :-2:3].sum(1) - 4))
    return np.asarray(found[:, :-2] @ prices * narrow * np.exp(rng.normal(0, 0.01, len(archs))))


@pytest.mark.parametrize("kernels", [BLOCKED, FLAT])
@pytest.mark.parametrize("seed", [0, 1])
def test_thirty_measured_networks_tell_the_others(archs: list[Arch], seed: int, kernels: Kernels) -> None:
    first = spread(archs, MEASURED)
    fresh = [arch for arch in archs if arch not in first][:FRESH]
    every = roofline([*first, *fresh], seed, kernels)
    model = LatencyModel.fit(first, list(every[:MEASURED]), kernels)
    guess, doubt = model.predict(fresh)
    truth = every[MEASURED:]
    errors = np.abs(guess / truth - 1)
    assert spearmanr(guess, truth)[0] > 0.98
    assert np.median(errors) < 0.06
    assert np.mean(np.abs(np.log(guess / truth)) < 2 * doubt) > 0.8  # what is believed of the error holds
    assert model.error == pytest.approx(np.median(errors), abs=0.04)


def test_one_by_one_is_as_all_at_once(archs: list[Arch]) -> None:
    model = LatencyModel.fit(archs[:20], list(roofline(archs[:20], 0)))
    together = np.array(model.predict(archs[20:24]))
    alone = np.hstack([np.array(model.predict([arch])) for arch in archs[20:24]])
    assert together == pytest.approx(alone)


@pytest.mark.parametrize("number", [1, FEWEST - 1])
def test_from_a_few_networks_with_doubt(archs: list[Arch], number: int) -> None:
    every = roofline(archs, 0)
    model = LatencyModel.fit(archs[:number], list(every[:number]))
    guess, doubt = model.predict(archs)
    assert math.isnan(model.error)
    assert set(doubt) == {DOUBT}
    assert spearmanr(guess, every)[0] > 0.9
    assert (guess > 0).all()


def test_prices_are_not_negative(archs: list[Arch]) -> None:
    noise = np.random.default_rng(3).lognormal(0, 1, MEASURED)
    assert (LatencyModel.fit(archs[:MEASURED], list(noise)).prices >= 0).all()


def test_networks_that_are_unlike_each_other(archs: list[Arch]) -> None:
    chosen = spread(archs, MEASURED)
    assert len({arch.id for arch in chosen}) == MEASURED
    assert chosen == spread(archs, MEASURED)
    macs = [math.log(arch.cost.macs) for arch in archs]
    reach = [math.log(arch.cost.macs) for arch in chosen]
    assert max(reach) - min(reach) > 0.8 * (max(macs) - min(macs))
    assert spread(archs[:5], MEASURED) == archs[:5]
