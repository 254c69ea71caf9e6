"""A limit that lies idle: said where it is true, and only there."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch import Budget
from archsearch.network.arch import Arch
from archsearch.network.layers import Shape
from archsearch.space.balance import BINDS, IDLE, idle_limit
from archsearch.space.domain import Domain
from archsearch.space.reader import load_space, parse_space

SMALL = parse_space(
    """[stem]
type = "conv"
width = { choice = [4, 16, 32] }
[[stage]]
block = "basic"
width = { choice = [4, 16, 64] }
stride = { choice = [1, 2, 4] }
[head]
type = "linear"
hidden = { choice = [0, 16, 256] }
""",
    "small",
)
SHAPE: Shape = (3, 16, 16)
DOMAIN = Domain(SMALL, SHAPE, 5)
EVERY: list[Arch] = [
    DOMAIN.arch(dict(zip(SMALL.dims, values, strict=True)))
    for values in itertools.product(*(dim.values for dim in SMALL.dims.values()))
]


def at(side: int, space: str = "resnin") -> Domain:
    return Domain(load_space(space), (3, side, side), 6)


@pytest.mark.parametrize("side", [96, 128])
def test_work_binds_and_bytes_lie_idle(side: int) -> None:
    """The default space of small images on photos: its last stage works at a quarter of their side."""
    found = idle_limit(at(side), Budget(max_size=1e6, max_macs=20e6))
    assert found is not None
    assert (found.binds.option, found.idle.option) == ("max_macs", "max_size")
    assert found.use < 0.2
    assert found.words.startswith(f"the limit of 20M MACs binds, {100 * (1 - found.use):.0f}% of --max-size lies idle:")
    assert found.words.endswith("raise --max-macs, take smaller images (--image-size) or another --space")
    assert "\n" not in found.words
    assert idle_limit(at(side, "photos"), Budget(max_size=1e6, max_macs=20e6)) is None


def test_bytes_bind_and_work_lies_idle() -> None:
    found = idle_limit(at(32), Budget(max_params=2000, max_macs=100e6))
    assert found is not None
    assert (found.binds.option, found.idle.option) == ("max_params", "max_macs")
    assert "take larger images" in found.words


@pytest.mark.parametrize(
    "limits",
    [
        {},
        {"max_size": 1e6},
        {"max_macs": 20e6},
        {"max_macs": 20e6, "min_params": 1000},
        {"max_params": 5e6, "max_size": 1e6},  # both are the weights
        {"max_size": 1e6, "max_macs": 600e6},
        {"max_size": 1e12, "max_macs": 20e6},  # the space has no such network at all
    ],
)
def test_nothing_to_say(limits: dict[str, float]) -> None:
    assert idle_limit(at(96), Budget(**limits)) is None


def test_what_is_said_is_said_again() -> None:
    budget = Budget(max_size=1e6, max_macs=20e6)
    assert idle_limit(at(96), budget) == idle_limit(at(96), budget)


limits = st.floats(3, 7.5).map(lambda power: 10**power)


@settings(max_examples=25)
@given(size=limits, macs=limits)
def test_every_network_of_a_small_space_agrees(size: float, macs: float) -> None:
    budget = Budget(max_size=size, max_macs=macs)
    inside = [arch.cost for arch in EVERY if budget.check(arch.cost).ok]
    uses = [(cost.size_bytes("fp32") / size, cost.macs / macs) for cost in inside]
    found = idle_limit(DOMAIN, budget)
    if any(min(use) >= IDLE for use in uses) or not uses:
        assert found is None
    if found is not None:
        which = 0 if found.idle.option == "max_size" else 1
        most = max(uses, key=lambda use: use[which])
        assert most[which] == found.use < IDLE
        assert most[1 - which] >= BINDS
