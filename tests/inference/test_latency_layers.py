"""What of a network takes time, in kernels that work on blocks of channels and in others."""

from __future__ import annotations

import numpy as np
import pytest

from archsearch.inference import latency_layers
from archsearch.inference.latency_layers import BLOCKED, FLAT, Kernels, amounts, kernels_of
from archsearch.network.arch import Arch
from archsearch.network.layers import ACTIVATIONS, Act, Add, Conv, Expr, Norm, Seq, seq
from archsearch.network.stage import Part, Stage
from archsearch.network.timing import RUNTIMES

SHAPE = (3, 8, 8)


def network(block: str = "basic", depth: int = 1, width: int = 8) -> Arch:
    stage = Stage(block, width, depth)
    return Arch(SHAPE, 4, Part("conv", (("width", 8),)), (stage,), Part("linear"))


def kinds(expr: Expr, flat: bool) -> list[str]:
    found = latency_layers._layers(expr, SHAPE, latency_layers._Map(False))
    return [kind for layer in found if (kind := layer.flat if flat else layer.kind)]


@pytest.mark.parametrize("kernels", [BLOCKED, FLAT])
def test_amounts_are_sums_over_layers(kernels: Kernels) -> None:
    one, two, three = (amounts([network(depth=depth)], kernels)[0] for depth in (1, 2, 3))
    assert three - two == pytest.approx(two - one)
    assert two.sum() > one.sum()


@pytest.mark.parametrize("flat", [False, True])
def test_every_activation_is_cheap_or_dear(flat: bool) -> None:
    found = {name: kinds(seq(Conv(8), Act(name)), flat) for name in ACTIVATIONS}
    assert {first for first, *_ in found.values()} == {"conv3" if flat else "thin"}
    assert {last for *_, last in found.values()} == {"cheap", "dear"}
    assert found["relu"][-1] == "cheap"


def test_without_blocks_nothing_is_laid_out_anew_and_no_width_is_odd() -> None:
    for width in (8, 18, 32):
        block = seq(Conv(width, kernel=3, padding=1), Norm(), Add((Seq(()), seq(Conv(width, kernel=1), Norm()))))
        assert kinds(block, flat=True) == ["conv3", "conv1", "add"]
    assert kinds(seq(Conv(18, kernel=3, padding=1), Conv(8)), flat=False) == ["thin", "reorder", "plain"]


def test_work_is_counted_in_whole_blocks_of_outputs() -> None:
    (layer,) = latency_layers._layers(Conv(18, kernel=1), SHAPE, latency_layers._Map(False))
    assert layer.work[1] == 3 * 32 * 8 * 8


def test_every_runtime_has_prices_for_what_its_networks_have() -> None:
    archs = [network(block, 2) for block in ("basic", "inverted", "nin", "separable", "shuffle")]
    for runtime in RUNTIMES:
        kernels = kernels_of(runtime)
        found = amounts(archs, kernels)[:, : latency_layers.SUMS]
        assert (kernels.prices.reshape(-1, 3).sum(1)[(found.sum(0) > 0).reshape(-1, 3).any(1)] > 0).all()
        assert (found @ kernels.prices > 0).all()
    assert np.array_equal(kernels_of("litert").prices, kernels_of("executorch").prices)
