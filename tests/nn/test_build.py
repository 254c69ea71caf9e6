"""The modules: joins, auxiliary classifiers, and the strided 1x1 convolution that goes round a library's bug."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import SPACES, draws
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from archsearch.errors import SpecError
from archsearch.network.arch import Arch
from archsearch.network.layers import (
    ACTIVATIONS,
    Act,
    AdaptivePool,
    Aux,
    Combinator,
    Conv,
    Dropout,
    Expr,
    Flatten,
    Linear,
    Norm,
    Pool,
    add,
    concat,
    mul,
    seq,
)
from archsearch.network.stage import Part, Stage
from archsearch.nn.batchnorm import BatchNorm2d
from archsearch.nn.build import AuxHead, ThinConv2d, WideConv2d, build, build_expr, untied
from archsearch.nn.depthwise import DilatedConv2d

AUX = seq(AdaptivePool(1), Flatten(), Linear(5))


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# single layers


@pytest.mark.parametrize(
    ("leaf", "shape", "same"),
    [
        (Conv(8), (4, 6, 6), nn.Conv2d(4, 8, 3, padding=1, bias=False)),
        (Conv(8, 5, 2, bias=True), (4, 6, 6), nn.Conv2d(4, 8, 5, 2, 2)),
        (Conv(8, 3, 1, 0, 2, 4), (4, 6, 6), DilatedConv2d(4, 8, 3, dilation=2, groups=4, bias=False)),
        (Norm(1e-3), (4, 6, 6), BatchNorm2d(4, eps=1e-3)),
        (Norm(), (4,), nn.BatchNorm1d(4)),
        (Pool(), (4, 6, 6), nn.MaxPool2d(2)),
        (Pool("max", 3, 2, 1), (4, 6, 6), nn.MaxPool2d(3, 2, 1)),
        (Pool("avg", 3, 2, 1, True), (4, 6, 6), nn.AvgPool2d(3, 2, 1, ceil_mode=True)),
        (AdaptivePool(2), (4, 6, 6), nn.AdaptiveAvgPool2d(2)),
        (Flatten(), (4, 6, 6), nn.Flatten()),
        (Linear(3), (4,), nn.Linear(4, 3)),
        (Linear(3, bias=False), (4,), nn.Linear(4, 3, bias=False)),
        (Dropout(0.25), (4,), nn.Dropout(0.25)),
    ],
)
def test_a_leaf_builds_torchs_layer(leaf: Expr, shape: tuple[int, ...], same: nn.Module) -> None:
    module = build_expr(leaf, shape)
    assert (type(module), repr(module)) == (type(same), repr(same))
    same.load_state_dict(module.state_dict())
    x = images(3, *shape)
    assert torch.equal(module.eval()(x), same.eval()(x))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_is_torchs(name: str) -> None:
    x = images(2, 3, 4, 4)
    expected = getattr(torch.nn.functional, name)(x)
    assert torch.equal(build_expr(Act(name), (3, 4, 4))(x), expected)


# joins


def pieces(join: Combinator, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The output of a join and of its branches."""
    module = build_expr(join, tuple(x.shape[1:])).eval()
    with torch.no_grad():
        return module(x), [branch(x) for branch in module.children()]


@pytest.mark.parametrize("number", [2, 3, 4])
def test_joins_compute_what_they_say(number: int) -> None:
    x = images(2, 3, 5, 5)
    branches = [seq(), Conv(3), seq(Conv(4), Norm(), Conv(3)), Act("tanh")][:number]
    total, parts = pieces(add(*branches), x)
    torch.testing.assert_close(total, torch.stack(parts).sum(0))
    product, parts = pieces(mul(*branches), x)
    torch.testing.assert_close(product, torch.stack(parts).prod(0))
    joined, parts = pieces(concat(*branches), x)
    assert torch.equal(joined, torch.cat(parts, 1))


def test_a_gate_scales_every_channel() -> None:
    x = images(2, 3, 5, 5)
    output, (same, gate) = pieces(mul(seq(), seq(AdaptivePool(1), Conv(3, 1), Act("sigmoid"))), x)
    assert torch.equal(same, x)
    assert gate.shape == (2, 3, 1, 1)
    assert torch.equal(output, x * gate)


def test_the_input_of_a_join_is_left_alone() -> None:
    x = images(2, 3, 5, 5)
    before = x.clone()
    pieces(add(seq(), Act("relu"), Norm()), x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("thing", [None, "conv", Combinator((seq(), seq()))])
def test_what_is_no_expression_is_refused(thing: Any) -> None:
    with pytest.raises(SpecError, match="no expression over layer specs"):
        build_expr(thing, (3, 8, 8))


# whole networks


@pytest.mark.parametrize("space", SPACES)
def test_parts_are_named_as_the_architecture_names_them(space: str) -> None:
    arch = next(draws(space, 1, seed=11))
    module = build(arch)
    assert [name for name, _ in module.named_children()] == [name for name, _ in arch.parts()]


def test_blocks_that_repeat_do_not_share_weights() -> None:
    arch = Arch((3, 8, 8), 10, Part("none"), (Stage("basic", 8, 3),), Part("linear"))
    kernels = [layer.weight for layer in build(arch).modules() if isinstance(layer, nn.Conv2d)]
    assert len({kernel.data_ptr() for kernel in kernels}) == len(kernels) == 7


SHARED = Arch((3, 8, 8), 4, Part("none"), (Stage("separable", 8, 4, shared=True),), Part("linear"))


def test_shared_blocks_have_kernels_once_and_norms_of_their_own() -> None:
    module = build(SHARED)
    state = module.state_dict()
    assert sum(value.numel() for value in module.parameters()) == SHARED.cost.params
    assert sum(name.startswith("stage1.1.0.") for name in state) == 2 + 2 * 5
    assert sum(name.startswith("stage1.1.1.") for name in state) == 2 * 5
    images = torch.rand(2, 3, 8, 8)
    other = copy.deepcopy(module)
    assert torch.equal(module(images), other(images))
    with torch.no_grad():
        module.get_parameter("stage1.1.0.0.weight").zero_()
    changed = module.get_submodule("stage1.1.2")(torch.rand(2, 8, 8, 8))
    assert torch.equal(changed, changed[:1].expand_as(changed))
    assert not torch.equal(module(images), other(images))


def test_untied_copies_answer_alike_and_share_nothing() -> None:
    module = build(SHARED).eval()
    found = untied(module)
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(found(images), module(images))
    kernels = [layer.weight for layer in found.modules() if isinstance(layer, nn.Conv2d)]
    assert len({kernel.data_ptr() for kernel in kernels}) == len(kernels) == 8
    assert untied(found) is found


def test_what_makes_no_network_is_not_built() -> None:
    with pytest.raises(SpecError, match="stage1: convolution kernel = 0"):
        build(Arch((3, 8, 8), 10, Part("none"), (Stage("basic", 8, dims=(("kernel", 0),)),), Part("linear")))


# auxiliary classifiers


def test_an_auxiliary_classifier_answers_in_training_and_changes_nothing() -> None:
    module = build_expr(seq(Conv(4), Aux(AUX, 0.4), Norm()), (3, 6, 6))
    plain = copy.deepcopy(module)
    plain[1] = nn.Identity()
    x = images(2, 3, 6, 6)
    aux = module[1]
    assert isinstance(aux, AuxHead)
    assert torch.equal(module.train()(x), plain.train()(x))
    assert aux.weight == 0.4
    assert aux.logits is not None
    assert aux.logits.shape == (2, 5)
    assert torch.equal(module.eval()(x), plain.eval()(x))
    assert aux.logits is None


def test_a_stages_auxiliary_classifier_is_behind_its_last_block() -> None:
    arch = Arch((3, 8, 8), 5, Part("none"), (Stage("basic", 8, 2), Stage("basic", 8)), Part("linear"))
    extended = replace(arch, stages=(replace(arch.stages[0], aux="linear", aux_weight=0.2), arch.stages[1]))
    module = build(extended)
    assert isinstance(module.get_submodule("stage1")[-1], AuxHead)
    deployed = {name for name in module.state_dict() if not name.startswith("stage1.2.")}
    assert deployed == set(build(arch).state_dict())
    assert (extended.cost.params, extended.cost.aux_params) == (arch.cost.params, 8 * 5 + 5)
    assert extended.id != arch.id
    assert Arch.from_toml(extended.to_toml()) == extended


# the strided 1x1 convolution of few channels


@dataclass(frozen=True)
class Case:
    channels: int
    out: int
    stride: int
    height: int
    width: int
    bias: bool


CASES = [
    Case(channels, out, stride, height, width, bias)
    for channels in (1, 3, 7)
    for out in (1, 4, 16)
    for stride, height, width, bias in ((2, 8, 8, False), (2, 7, 9, True), (3, 8, 5, False), (4, 3, 3, True))
]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_thin_strided_1x1_convolution_is_exact(case: Case, layout: torch.memory_format) -> None:
    shape = (case.channels, case.height, case.width)
    module = build_expr(Conv(case.out, 1, case.stride, bias=case.bias), shape)
    assert isinstance(module, ThinConv2d)
    module = module.to(memory_format=layout)
    x = images(4, *shape).to(memory_format=layout).requires_grad_()
    output = module(x)
    upstream = images(*output.shape, seed=1)
    output.backward(upstream)

    # The same in double precision as a plain sum over channels of the pixels that are read.
    weight = module.weight.detach().double().requires_grad_()
    inputs = x.detach().double().requires_grad_()
    read = inputs[:, :, :: case.stride, :: case.stride]
    expected = torch.einsum("oi,nihw->nohw", weight[:, :, 0, 0], read)
    if case.bias:
        expected = expected + module.bias.detach().double()[:, None, None]
    expected.backward(upstream.double())

    rows, columns = (-(-size // case.stride) for size in (case.height, case.width))
    assert output.shape == (4, case.out, rows, columns)
    torch.testing.assert_close(output.double(), expected.detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(x.grad.double(), inputs.grad, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(module.weight.grad.double(), weight.grad, rtol=1e-5, atol=1e-5)
    if case.bias:
        torch.testing.assert_close(module.bias.grad, upstream.sum((0, 2, 3)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("conv", [Conv(4, 1), Conv(4, 3, 2), Conv(4, 1, 2, padding=1), Conv(6, 1, 2, groups=3)])
def test_other_convolutions_are_torchs_own(conv: Conv) -> None:
    assert type(build_expr(conv, (6, 8, 8))) is nn.Conv2d
    assert type(build_expr(Conv(4, 1, 2), (8, 8, 8))) is nn.Conv2d
    assert type(build_expr(Conv(4, 1, 2), (7, 8, 8))) is ThinConv2d
    assert type(build_expr(Conv(6, dilation=2), (6, 8, 8))) is nn.Conv2d
    assert type(build_expr(Conv(6, dilation=2, groups=3), (6, 8, 8))) is DilatedConv2d


@given(
    radius=st.integers(1, 3),
    height=st.integers(1, 4),
    width=st.integers(1, 4),
    stride=st.integers(1, 2),
    groups=st.sampled_from([1, 2, 4]),
    training=st.booleans(),
)
def test_a_kernel_wider_than_its_map_is_exact(
    radius: int, height: int, width: int, stride: int, groups: int, training: bool
) -> None:
    conv = Conv(4, 2 * radius + 1, stride, groups=groups, bias=True)
    module = build_expr(conv, (4, height, width)).double().train(training)
    assert isinstance(module, WideConv2d) == (radius > max(height, width) - 1)
    plain = nn.Conv2d(4, 4, 2 * radius + 1, stride, radius, groups=groups).double()
    plain.load_state_dict(module.state_dict())
    found = []
    for part in (module, plain):
        x = images(3, 4, height, width).double().requires_grad_()
        output = part(x)
        output.backward(images(*output.shape, seed=1).double())
        found.append([output, x.grad, part.weight.grad, part.bias.grad])
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two)


def test_a_wide_kernel_computes_less_in_training() -> None:
    module = build_expr(Conv(4, 5), (4, 2, 2))
    x = images(3, 4, 2, 2)
    flops = []
    for mode in (True, False):
        with FlopCounterMode(display=False) as counter:
            module.train(mode)(x)
        flops.append(counter.get_total_flops())
    assert flops[0] * 25 == flops[1] * 9
