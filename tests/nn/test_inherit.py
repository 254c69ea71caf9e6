"""What a trained network hands on: functions stay where they can, shares are told, colours fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from archsearch.network.arch import Arch
from archsearch.network.kin import kinship
from archsearch.network.stage import Part, Stage
from archsearch.nn.build import build
from archsearch.nn.inherit import embedded, inherit
from archsearch.training.optim import initialise

STEM, HEAD = Part("conv", (("width", 8),)), Part("linear")
PARENT = Arch((3, 8, 8), 5, STEM, (Stage("basic", 8), Stage("resnin", 12, 1, 2)), HEAD)
IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def network(arch: Arch, seed: int = 9) -> nn.Sequential:
    torch.manual_seed(seed)
    module = build(arch)
    initialise(module)
    return module.eval()


def trained(arch: Arch) -> nn.Sequential:
    """With norms of which none is the identity."""
    module = network(arch, 3)
    for value in module.state_dict().values():
        if value.ndim == 1:
            value.copy_(torch.rand(value.shape) + 0.5)
    return module


def child(arch: Arch, parent: Arch = PARENT) -> nn.Sequential:
    module = network(arch)
    share = inherit(module, arch, parent, trained(parent).state_dict())
    assert share == kinship(arch, parent).share
    return module


@pytest.fixture(autouse=True)
def _no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield


def stages(first: Stage, second: Stage = PARENT.stages[1], **more: object) -> Arch:
    return replace(PARENT, stages=(first, second), **more)


WIDE = Part("conv", (("width", 16),))


@pytest.mark.parametrize(
    "arch",
    [
        PARENT,
        stages(Stage("basic", 8, 3)),
        stages(Stage("basic", 8), Stage("resnin", 12, 2, 2)),
        stages(Stage("basic", 8), Stage("resnin", 16, 1, 2)),
        stages(Stage("basic", 8, dims=(("kernel", 5),))),
        stages(Stage("basic", 16, 2), Stage("resnin", 20, 2, 2, dims=(("kernel", 5),)), stem=WIDE),
        replace(PARENT, head=Part("nin")),
    ],
    ids=lambda arch: arch.summary,
)
def test_a_larger_network_begins_with_the_same_function(arch: Arch) -> None:
    assert torch.allclose(child(arch)(IMAGES), trained(PARENT)(IMAGES), atol=1e-5)


def test_an_equal_network_is_equal_bit_for_bit() -> None:
    assert torch.equal(child(PARENT)(IMAGES), trained(PARENT)(IMAGES))


def test_inverted_blocks_begin_as_the_identity_too() -> None:
    parent = stages(Stage("inverted", 8))
    deeper = stages(Stage("inverted", 8, 3))
    assert torch.allclose(child(deeper, parent)(IMAGES), trained(parent)(IMAGES), atol=1e-5)


def test_a_stem_for_grey_images_becomes_one_for_colour() -> None:
    grey = replace(PARENT, input_shape=(1, 8, 8))
    images = IMAGES[:, :1]
    found = child(PARENT, grey)(images.expand(-1, 3, -1, -1))
    assert torch.allclose(found, trained(grey)(images), atol=1e-5)


def test_new_plain_layers_pass_their_input_on() -> None:
    parent, deeper = (replace(PARENT, stages=(Stage("plain", 8, depth),)) for depth in (1, 2))
    new = child(deeper, parent).state_dict()["stage1.1.0.weight"]
    assert torch.equal(new[:, :, 1, 1], torch.eye(8))
    assert new.square().sum() == 8


def test_what_a_file_does_not_have_is_not_taken() -> None:
    module = network(PARENT)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    inherit(module, PARENT, PARENT, {})
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_kernels_lie_about_their_centres() -> None:
    small, large = torch.arange(9.0).reshape(1, 1, 3, 3), torch.ones(2, 2, 5, 5)
    found = embedded(small, large)
    assert torch.equal(found[0, 0, 1:4, 1:4], small[0, 0])
    assert found[0].sum() == small.sum()
    assert torch.equal(found[1], large[1])
    assert torch.equal(embedded(found, torch.ones(1, 1, 3, 3)), small)


@settings(max_examples=30, deadline=None)
@given(
    block=st.sampled_from(["basic", "resnin", "nin", "inverted", "separable", "preact", "inception"]),
    other=st.sampled_from(["basic", "resnin", "nin", "inverted", "separable", "preact", "inception"]),
    width=st.sampled_from([8, 10, 12]),
    depth=st.integers(1, 3),
    kernel=st.sampled_from([3, 5]),
    head=st.sampled_from(["linear", "nin"]),
)
def test_any_network_inherits_from_any_other(
    block: str, other: str, width: int, depth: int, kernel: int, head: str
) -> None:
    arch = stages(Stage(block, width, depth, dims=(("kernel", kernel),)), head=Part(head))
    found = child(arch, stages(Stage(other, 8)))
    assert torch.isfinite(found(IMAGES)).all()
