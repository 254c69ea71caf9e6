"""What networks have in common: relatives across blocks, shares, what begins as the identity."""

from __future__ import annotations

from dataclasses import replace

import pytest

from archsearch.network import Custom, Expr, LeafCost, Shape, Tensor, add, conv, seq
from archsearch.network.arch import Arch
from archsearch.network.blocks import expand
from archsearch.network.kin import begins_as_identity, kinship, layers_of
from archsearch.network.layers import Act
from archsearch.network.stage import Part, Stage
from archsearch.nn.build import build

STEM, HEAD = Part("conv", (("width", 8),)), Part("linear")
BASIC = Arch((1, 8, 8), 3, STEM, (Stage("basic", 8, 2), Stage("resnin", 12, 1, 2)), HEAD)


@pytest.mark.parametrize(
    "stage",
    [
        Stage("basic", 8, 2, dims=(("se", 0.25),)),
        Stage("inception", 8, 2, aux="linear"),
        Stage("inverted", 8, 1, 2),
        Stage("preact", 12, 1, 2, "max"),
        Stage("separable", 8, 2, dims=(("residual", True),)),
    ],
)
def test_layers_name_every_parameter_of_the_module_once(stage: Stage) -> None:
    arch = replace(BASIC, stages=(stage,))
    layers = layers_of(arch)
    assert len({layer.key for layer in layers}) == len(layers)
    state = {name: tuple(value.shape) for name, value in build(arch).state_dict().items()}
    found = {f"{layer.path}.{tensor.name}": tensor.shape for layer in layers for tensor in layer.tensors}
    assert found == {name: shape for name, shape in state.items() if ".head." not in name}


def test_an_equal_network_has_everything_in_common() -> None:
    kin = kinship(BASIC, BASIC)
    assert (kin.share, kin.nearness, kin.new_blocks) == (1.0, 1.0, set())


def test_a_deeper_one_has_a_new_block_and_is_as_near_both_ways() -> None:
    deeper = replace(BASIC, stages=(Stage("basic", 8, 3), BASIC.stages[1]))
    kin, back = kinship(deeper, BASIC), kinship(BASIC, deeper)
    assert kin.new_blocks == {"stage1.2"}
    assert kin.nearness == back.nearness == kin.share == BASIC.cost.params / deeper.cost.params
    assert back.share == 1.0


def pairs(block: str, other: str) -> set[tuple[str, str]]:
    """Roles of the layers that two blocks share."""
    child, parent = (replace(BASIC, stages=(Stage(name, 8),)) for name in (block, other))
    found = kinship(child, parent).pairs
    return {(mine.path, theirs.path) for mine, theirs in found if theirs and mine.block == "stage1.0"}


@pytest.mark.parametrize(
    ("block", "other", "convolutions"),
    [
        ("basic", "resnin", {("stage1.0.0.1.0", "stage1.0.0.1.0"), ("stage1.0.0.1.3", "stage1.0.0.1.3")}),
        ("basic", "nin", {("stage1.0.0.1.0", "stage1.0.0"), ("stage1.0.0.1.3", "stage1.0.3")}),
        ("inverted", "separable", {("stage1.0.1.3", "stage1.0.0"), ("stage1.0.1.6", "stage1.0.3")}),
        ("bottleneck", "preact", set()),
        ("inverted", "basic", set()),
    ],
)
def test_relatives_in_other_blocks_are_what_registrations_say(
    block: str, other: str, convolutions: set[tuple[str, str]]
) -> None:
    found = pairs(block, other)
    assert convolutions <= found
    assert bool(found) == bool(convolutions)


def test_a_head_of_the_other_kind_is_a_relative() -> None:
    nin = replace(BASIC, head=Part("nin"))
    assert kinship(nin, BASIC).share == 1.0
    hidden = replace(BASIC, head=Part("linear", (("hidden", 16),)))
    classes = [theirs.path for mine, theirs in kinship(hidden, BASIC).pairs if mine.block == "head" and theirs]
    assert classes == ["head.2"]


def expression(name: str, **dims: object) -> Expr:
    return expand("block", name, (8, 8, 1), tuple(dims.items()))


class Own(Custom):
    """A layer of which nothing is known."""

    def cost(self, shape: Shape) -> LeafCost:
        return LeafCost(shape, (Tensor("weight", (3,)),))


@pytest.mark.parametrize(
    ("expr", "does"),
    [
        (expression("basic"), True),
        (expression("basic", se=0.25), True),
        (expression("basic", act="tanh"), False),
        (expression("inverted", act="hardswish"), True),
        (expression("separable", residual=True, act="sigmoid"), False),
        (expression("separable"), False),
        (expression("nin"), False),
        (expression("preact"), True),
        (add(seq(), seq(conv(8), Own())), False),
        (add(seq(), seq()), False),
        (seq(Act("relu")), False),
    ],
)
def test_what_begins_as_the_identity(expr: Expr, does: bool) -> None:
    assert begins_as_identity(expr) == does
