"""The space of photos: what its draws are like, and the networks of the textbook that lie in it."""

from __future__ import annotations

import random
import time

import pytest

from archsearch import Budget, SearchSpace
from archsearch.network.arch import Arch
from archsearch.space import load_space, statistics
from archsearch.space.dims import Choice

PHOTOS = load_space("photos")
MOBILENET = {
    "stem.type": "conv", "stem.width": 8, "stage1.depth": 0,
    "stage2.block": "inverted", "stage2.width": 8, "stage2.depth": 1, "stage2.inverted.expand": 2.0,
    "stage3.block": "inverted", "stage3.width": 16, "stage3.depth": 2, "stage3.inverted.expand": 4.0,
    "stage4.stride": 2, "stage5.stride": 2,
    "stage4.block": "inverted", "stage4.width": 24, "stage4.depth": 4, "stage4.inverted.expand": 6.0,
    "stage4.inverted.kernel": 5, "stage4.se": 0.25,
    "stage5.block": "inverted", "stage5.width": 48, "stage5.depth": 3, "stage5.inverted.expand": 6.0,
    "stage5.kernel": 5, "stage5.se": 0.25, "stage6.depth": 1, "stage6.width": 256, "head.hidden": 256,
}  # fmt: skip
EFFICIENTNET = {
    "stem.type": "conv", "stem.width": 16,
    "stage1.block": "inverted", "stage1.width": 8, "stage1.depth": 1, "stage1.inverted.expand": 1.0,
    "stage2.block": "inverted", "stage2.width": 16, "stage2.depth": 2, "stage2.inverted.expand": 6.0,
    "stage3.block": "inverted", "stage3.width": 24, "stage3.depth": 2, "stage3.inverted.expand": 6.0,
    "stage3.inverted.kernel": 5, "stage3.se": 0.0625,
    "stage4.stride": 2, "stage5.stride": 2,
    "stage4.block": "inverted", "stage4.width": 48, "stage4.depth": 4, "stage4.inverted.expand": 6.0,
    "stage4.inverted.kernel": 5, "stage4.se": 0.0625,
    "stage5.block": "inverted", "stage5.width": 96, "stage5.depth": 3, "stage5.inverted.expand": 6.0,
    "stage5.kernel": 5, "stage5.se": 0.0625, "stage6.depth": 1, "stage6.width": 512, "head.hidden": 0,
}  # fmt: skip


def network(space: SearchSpace, dims: dict[str, object], side: int) -> Arch:
    """The candidate of some dims, all others at their first value. Every dim given is one of the space's."""
    left = dict(dims)

    def ask(name: str, dim: object) -> object:
        assert isinstance(dim, Choice) or hasattr(dim, "values")
        answer = left.pop(name, dim.values[0])
        assert answer in dim.values, name
        return answer

    arch = space.draw(ask, (3, side, side), 10)
    assert left == {}
    return arch


@pytest.mark.parametrize(
    ("side", "limits", "least"),
    [
        (96, {"max_size": 1e6, "max_macs": 20e6}, 0.4),
        (96, {"max_size": 1e6, "max_macs": 60e6}, 0.5),
        (128, {"max_size": 1e6, "max_macs": 20e6}, 0.3),
        (224, {"max_size": 6e6, "max_macs": 300e6}, 0.8),
        (224, {"max_params": 5e6}, 0.95),
        (64, {"max_size": 100e3, "max_macs": 5e6}, 0.002),
    ],
)
def test_draws_inside_a_budget(side: int, limits: dict[str, float], least: float) -> None:
    found = statistics.share(PHOTOS, Budget(**limits), (3, side, side), 10, 1000)
    assert found.broken == 0
    assert found.share >= least


@pytest.mark.parametrize(
    ("dims", "params", "macs"),
    [(MOBILENET, (250e3, 450e3), (15e6, 30e6)), (EFFICIENTNET, (500e3, 800e3), (60e6, 120e6))],
    ids=["mobilenet-v3-small-x0.5", "efficientnet-b0-x0.5"],
)
def test_networks_of_the_textbook_lie_inside(
    dims: dict[str, object], params: tuple[float, float], macs: tuple[float, float]
) -> None:
    """About as the originals: strides, blocks, expansions, depths, the last 1x1 convolution, the hidden layer."""
    cost = network(PHOTOS, dims, 224).cost
    assert params[0] < cost.params < params[1]
    assert macs[0] < cost.macs < macs[1]


def test_widths_are_eights_and_maps_shrink() -> None:
    rng = random.Random(0)
    for _ in range(200):
        arch = PHOTOS.random(rng, (3, 96, 96), 6)
        assert all(stage.width % 8 == 0 for stage in arch.stages)
        sides = [found.out[1] for name, _, found in arch.unroll() if name != "head"]
        assert sides == sorted(sides, reverse=True)
        assert sides[0] in (24, 48)


def test_candidates_are_counted_fast() -> None:
    """Some 2,000 a second on one core when nothing else runs: a proposal asks for hundreds of costs."""
    rng, start = random.Random(1), time.process_time()
    for _ in range(500):
        assert PHOTOS.random(rng, (3, 96, 96), 6).cost.params
    assert 500 / (time.process_time() - start) > 200
