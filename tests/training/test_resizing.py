"""Progressive resizing: which epoch sees images of which size."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import SPACES, draws, few

from archsearch import build
from archsearch.network import zoo
from archsearch.network.arch import Arch
from archsearch.network.stage import Part, Stage
from archsearch.training.resizing import scaled, shapes

NETWORK = Arch((3, 32, 32), 10, Part("conv", (("width", 8),)), (Stage("basic", 8, stride=2),), Part("linear"))


def sides(arch: Arch, scale: float, epochs: int) -> list[int]:
    return [shape[-1] for shape in shapes(arch, scale, epochs)]


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [(1, [32]), (2, [24, 32]), (3, [16, 24, 32]), (5, [16, 24, 24, 32, 32]), (6, [16, 16, 24, 24, 32, 32])],
)
def test_a_third_of_the_epochs_each_and_the_last_are_whole(epochs: int, expected: list[int]) -> None:
    assert sides(NETWORK, 0.5, epochs) == expected


@given(
    side=st.integers(1, 300),
    scale=st.floats(0.01, 1.0),
    epochs=st.integers(1, 60),
)
@few(200)
def test_images_never_shrink_and_end_whole(side: int, scale: float, epochs: int) -> None:
    found = sides(NETWORK.adapted((3, side, side), 10), scale, epochs)
    assert found == sorted(found)
    assert found[-1] == side
    assert all(one == side or one % 4 == 0 for one in found)
    assert sides(NETWORK.adapted((3, side, side), 10), 1.0, epochs) == [side] * epochs


def test_oblong_images_keep_their_proportions() -> None:
    assert shapes(NETWORK.adapted((3, 64, 32), 10), 0.5, 3) == [(3, 32, 16), (3, 48, 24), (3, 64, 32)]


@pytest.mark.parametrize("name", ["lenet5", "mlp"])
def test_networks_whose_weights_depend_on_the_side_see_whole_images(name: str) -> None:
    arch = zoo.load(name).arch
    assert sides(arch, 0.5, 6) == [arch.input_shape[-1]] * 6


def test_networks_whose_maps_would_vanish_see_whole_images() -> None:
    pooled = Arch((3, 32, 32), 10, Part("none"), (Stage("nin", 8, stride=32, down="max"),), Part("linear"))
    assert sides(pooled, 0.5, 6) == [32] * 6
    assert sides(pooled.adapted((3, 64, 64), 10), 0.5, 6) == [32, 32, 48, 48, 64, 64]
    assert sides(pooled.adapted((3, 48, 48), 10), 0.5, 6) == [36, 36, 36, 36, 48, 48]


@pytest.mark.parametrize("space", SPACES)
def test_every_network_takes_the_images_that_its_epochs_have(space: str) -> None:
    for arch in draws(space, 6):
        module, shape = build(arch).eval(), shapes(arch, 0.5, 3)[0]
        with torch.no_grad():
            assert module(scaled(torch.rand(2, *arch.input_shape), shape)).shape == (2, arch.classes)


@given(level=st.floats(-3, 3), side=st.integers(4, 64), to=st.integers(1, 64))
@few(50)
def test_a_plain_image_stays_plain_in_its_memory_format(level: float, side: int, to: int) -> None:
    images = torch.full((2, 3, side, side), level).contiguous(memory_format=torch.channels_last)
    found = scaled(images, (3, to, to))
    torch.testing.assert_close(found, torch.full((2, 3, to, to), level))
    assert found.is_contiguous(memory_format=torch.channels_last)
