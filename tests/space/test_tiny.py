"""The space for under 100,000 parameters: what its draws are like, and the published network's form that lies in it."""

from __future__ import annotations

import pytest

from archsearch import Budget
from archsearch.network.arch import Arch
from archsearch.network.stage import Part, Stage
from archsearch.space import load_space, statistics

TINY = load_space("tiny")
SPLIT = (("kernel", 7), ("split", True))


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 16, 16)])
def test_most_draws_are_inside_the_budget(shape: tuple[int, int, int]) -> None:
    found = statistics.share(TINY, Budget(max_params=78_043, max_macs=60e6), shape, 10, 300)
    assert found.broken == 0
    assert found.share > 0.6


def test_ram_is_known_of_every_draw() -> None:
    found = statistics.share(TINY, Budget(max_ram=10**9), (3, 32, 32), 10, 200)
    assert (found.broken, found.share) == (0, 1.0)


def test_the_published_form_fits() -> None:
    """Three split blocks at 32 pixels and three at 16, as github.com/xvel/cifar10-tiniest, whose have 97,530."""
    stages = (Stage("glu", 48, 3, dims=SPLIT), Stage("glu", 80, 3, 2, dims=SPLIT))
    arch = Arch((3, 32, 32), 10, Part("conv", (("width", 48),)), stages, Part("linear"))
    assert 85_000 < arch.cost.params < 97_531
    assert arch.cost.macs < 60e6
    answers = {
        "stem.width": 48, "stage1.depth": 3, "stage1.block": "glu", "stage1.width": 48, "stage1.shared": False,
        "stage1.glu.kernel": 7, "stage1.glu.split": True, "stage2.depth": 3, "stage2.block": "glu", "stage2.width": 80,
        "stage2.shared": False, "stage2.se": 0.0, "stage2.glu.kernel": 7, "stage2.glu.split": True, "stage3.depth": 0,
        "head.type": "linear",
    }  # fmt: skip
    drawn = TINY.draw(lambda name, dim: answers[name], (3, 32, 32), 10)
    assert drawn.cost.params == arch.cost.params
