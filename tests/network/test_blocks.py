"""The registry and its oldest families; the contract over everything registered stands in tests/contracts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from strategies import bare, macs_by_hooks
from torch import nn

from archsearch.errors import SpecError
from archsearch.network.arch import Arch
from archsearch.network.blocks import block, expand, head, lookup, names, registry, stem
from archsearch.network.blocks.common import conv, scaled, shortcut, squeeze_excite
from archsearch.network.blocks.grouped import divisor
from archsearch.network.blocks.registry import is_a
from archsearch.network.cost import measure
from archsearch.network.layer_cost import LeafCost, Tensor
from archsearch.network.layers import Conv, Custom, Expr, Linear, Shape, add, seq
from archsearch.network.stage import Part, Stage
from archsearch.nn.build import build

SHAPE = (6, 8, 8)


@pytest.fixture
def scratch(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A registry whose additions are forgotten."""
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    yield
    expand.cache_clear()


def check_contract(expr: Expr, shape: Shape, out: Shape | None = None) -> None:
    """The cost of an expression is that of its module, which runs and learns."""
    cost, module = measure(expr, shape), bare(expr, shape)
    assert out in (None, cost.out)
    assert cost.params == sum(p.numel() for p in module.parameters())
    assert cost.buffers == sum(b.numel() for b in module.buffers())
    assert cost.macs == macs_by_hooks(module, shape)
    images = torch.rand(4, *shape, requires_grad=True)
    output = module.train()(images)
    output.square().sum().backward()
    assert output.shape == (4, *cost.out)
    assert images.grad is not None


# single blocks


def test_a_block_without_change_of_shape_has_no_projection() -> None:
    same, wider = (expand("block", "basic", (16, width, 1), ()) for width in (16, 24))
    assert measure(same, (16, 8, 8)).params == 2 * (9 * 16 * 16 + 2 * 16)
    assert measure(wider, (16, 8, 8)).params == 9 * 16 * 24 + 9 * 24 * 24 + 16 * 24 + 3 * 2 * 24
    assert shortcut(16, 16, 1) == seq()
    assert shortcut(16, 16, 2) != seq()


def test_a_nin_block_is_a_spatial_and_then_1x1_convolutions() -> None:
    kernels = [
        leaf.kernel
        for leaf in expand("block", "nin", (3, 8, 1), (("kernel", 5), ("points", 3))).parts
        if isinstance(leaf, Conv)
    ]
    assert kernels == [5, 1, 1, 1]


@pytest.mark.parametrize(("overlap", "kernel", "padding"), [(False, 4, 0), (True, 7, 3)])
def test_a_patch_is_one_vector(overlap: bool, kernel: int, padding: int) -> None:
    expr = expand("stem", "patch", (3,), (("width", 8), ("overlap", overlap)))
    assert expr.parts[0] == Conv(8, kernel, 4, padding)
    assert {side: measure(expr, (3, side, side)).out for side in (64, 96, 224)} == {
        64: (8, 16, 16), 96: (8, 24, 24), 224: (8, 56, 56),
    }  # fmt: skip


def test_a_hidden_layer_stands_between_pooling_and_classes() -> None:
    def params(*dims: tuple[str, Any]) -> int:
        return measure(expand("head", "linear", ((6, 4, 4), 5), dims), (6, 4, 4)).params

    assert params() == 6 * 5 + 5
    assert params(("hidden", 9)) == (6 * 9 + 9) + (9 * 5 + 5)
    assert params(("hidden", 9), ("norm", True)) == (6 * 9 + 2 * 9) + (9 * 5 + 5)


def params(name: str, c_in: int, width: int, stride: int = 1, **dims: Any) -> int:
    """Of a block without norms, on a map of 8 x 8 pixels."""
    expr = expand("block", name, (c_in, width, stride), (("norm", False), *dims.items()))
    return measure(expr, (c_in, 8, 8)).params


def test_a_gated_block_is_two_depthwise_kernels_and_a_matrix() -> None:
    assert params("gated", 8, 12) == 2 * 8 * (9 + 1) + 8 * 12 + 12
    assert params("gated", 8, 12, kernel=5, dilation=1) == 2 * 8 * (25 + 1) + 8 * 12 + 12


@pytest.mark.parametrize(("c_in", "first", "each"), [(48, 12, 12), (11, 5, 2), (4, 1, 1)])
def test_a_split_block_has_three_kernels_and_one_part_that_goes_by(c_in: int, first: int, each: int) -> None:
    mixing = 2 * (c_in * 24 + 24) + 24 * 12 + 12
    assert params("glu", c_in, 12, expand=2.0) == 50 * c_in + mixing
    assert params("glu", c_in, 12, expand=2.0, split=True) == each * (10 + 50 + 50) + mixing
    assert params("glu", c_in, 12, 2, expand=2.0, split=True) == 10 * first + each * (10 + 50 + 50) + mixing


def test_three_channels_are_not_split() -> None:
    assert params("glu", 3, 8, split=True) == params("glu", 3, 8)


def test_groups_are_as_many_as_divide_the_channels() -> None:
    assert params("shuffle", 16, 16, groups=4) == 2 * (16 * 4 * 9 + 16)
    assert params("shuffle", 16, 16, groups=1) == params("basic", 16, 16)
    assert [divisor(8, 12, 18), divisor(5, 12), divisor(10**9, 7, 13)] == [6, 4, 1]
    with pytest.raises(SpecError, match="groups = 0: must be at least 1"):
        divisor(0, 8)


@pytest.mark.parametrize(("channels", "weights"), [(80, 80), (64, 320), (63, 630)])
def test_a_class_reads_its_share_of_the_channels(channels: int, weights: int) -> None:
    expr = expand("head", "grouped", ((channels, 4, 4), 10), ())
    assert measure(expr, (channels, 4, 4)).params == weights + 10


@pytest.mark.parametrize("name", ["nin", "resnin"])
def test_nin_blocks_end_with_a_gate(name: str) -> None:
    def params(*dims: tuple[str, Any]) -> int:
        return measure(expand("block", name, (8, 8, 1), dims), (8, 6, 6)).params

    assert params(("se", 0.25)) - params() == 8 * 2 + 2 + 2 * 8 + 8
    assert params(("se", 0.0)) == params()


@pytest.mark.parametrize("name", ["nin", "resnin"])
@pytest.mark.parametrize("points", [0, -1, 101, 10**9])
def test_points_are_bounded(name: str, points: int) -> None:
    with pytest.raises(SpecError, match=f"points = {points}"):
        expand("block", name, (3, 8, 1), (("points", points),))


@pytest.mark.parametrize(("width", "ratio", "inner"), [(64, 0.25, 16), (2, 0.25, 1), (1, 1e-9, 1), (8, 6.0, 48)])
def test_inner_widths(width: int, ratio: float, inner: int) -> None:
    assert scaled(width, ratio) == inner


@pytest.mark.parametrize("ratio", [0, -0.5, 1e308, float("inf"), float("nan")])
def test_ratios_are_positive_and_finite(ratio: float) -> None:
    with pytest.raises(SpecError, match="ratio = "):
        scaled(8, ratio)


def test_squeeze_and_excite_keeps_the_contract() -> None:
    check_contract(seq(conv(6), squeeze_excite(6, 0.25)), SHAPE, SHAPE)


# a user's own


@dataclass(frozen=True, slots=True)
class Scale(Custom):
    """One learned factor a channel, times `start` at the beginning; one buffer."""

    start: float = 1.0

    def cost(self, shape: Shape) -> LeafCost:
        size = (shape[0], 1, 1)
        return LeafCost(shape, (Tensor("factor", size), Tensor("seen", (2,), "buffer")))

    def build(self, shape: Shape) -> nn.Module:
        return ScaleModule(shape[0], self.start)


class ScaleModule(nn.Module):
    def __init__(self, channels: int, start: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.full((channels, 1, 1), start))
        self.register_buffer("seen", torch.zeros(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factor


@pytest.mark.usefixtures("scratch")
def test_a_users_block_with_a_leaf_of_its_own_is_counted_built_and_read_from_a_file() -> None:
    @block("scaled_conv")
    def scaled_conv(c_in: int, width: int, stride: int, *, start: float = 0.5) -> Expr:
        return seq(Conv(width, 3, stride), Scale(start))

    arch = Arch((3, 8, 8), 10, Part("conv"), (Stage("scaled_conv", 8, 2, 2, dims=(("start", 2.0),)),), Part("linear"))
    assert Arch.from_toml(arch.to_toml()) == arch
    check_contract(arch.expr(), (3, 8, 8), (10,))
    module = build(arch)
    assert arch.cost.params == sum(p.numel() for p in module.parameters())
    assert [layer.factor[0].item() for layer in module.modules() if isinstance(layer, ScaleModule)] == [2.0, 2.0]
    assert "scaled_conv" in names("block")
    assert arch.id != Arch.from_toml(arch.to_toml().replace("start = 2.0", "start = 3.0")).id
    with pytest.raises(SpecError, match="start = 'a': block 'scaled_conv' takes a finite number here"):
        Arch.from_toml(arch.to_toml().replace("start = 2.0", "start = 'a'"))


@pytest.mark.usefixtures("scratch")
@pytest.mark.parametrize(("kind", "register"), [("stem", stem), ("block", block), ("head", head)])
def test_a_name_that_another_module_has_is_refused(kind: str, register: Any) -> None:
    name = names(kind)[0]
    before = lookup(kind, name)

    def mine(c_in: int) -> Expr:
        return seq()

    with pytest.raises(ValueError, match=f"{kind} '{name}' is registered by archsearch.network.blocks"):
        register(name)(mine)
    assert lookup(kind, name) is before


@pytest.mark.usefixtures("scratch")
def test_a_module_may_register_its_own_name_again() -> None:
    for out in (4, 5):

        @block("again")
        def again(c_in: int, width: int, stride: int, *, out: int = out) -> Expr:
            return seq(Conv(out))

        assert measure(expand("block", "again", (3, 8, 1), ()), (3, 8, 8)).out[0] == out


@pytest.mark.usefixtures("scratch")
def test_installed_packages_add_blocks_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    class Point:
        module = "pytest"

        def load(self) -> None:
            block("installed")(lambda c_in, width, stride: seq(Conv(width, 3, stride)))

    registry._load_entry_points.cache_clear()
    monkeypatch.setattr(registry, "_installed", {})
    monkeypatch.setattr(registry, "entry_points", lambda group: [Point()] if group == "archsearch.blocks" else [])
    assert expand("block", "installed", (3, 8, 2), ()) == seq(Conv(8, 3, 2))
    assert "installed" in names("block")
    assert registry.installed() == {"pytest": pytest.__file__}


def test_expansion_is_cached_and_kinds_are_apart() -> None:
    assert expand("block", "basic", (8, 8, 1), ()) is expand("block", "basic", (8, 8, 1), ())
    assert lookup("block", "nin").build is not lookup("head", "nin").build
    assert add(seq(), Linear(3)) != expand("head", "linear", (SHAPE, 3), ())


@pytest.mark.parametrize(
    ("kind", "name", "hint"),
    [
        ("block", "resnln", "did you mean 'resnin'"),
        ("stem", "cnov", "did you mean 'conv'"),
        ("head", "zzz", "there are .*linear.*nin"),
    ],
)
def test_an_unknown_name_comes_with_the_nearest_one(kind: str, name: str, hint: str) -> None:
    with pytest.raises(SpecError, match=f"there is no {kind} '{name}' .*{hint}"):
        lookup(kind, name)


@pytest.mark.parametrize(
    ("value", "wanted", "answer"),
    [
        (1, int, True), (1, float, True), (1.0, float, True), (1.0, int, False), (True, bool, True), (True, int, False),
        (1, bool, False), (True, float, False), ("1", int, False), ("relu", str, True), (float("nan"), float, False),
        (float("inf"), float, False), ([1], int, False), (None, str, False),
    ],
)  # fmt: skip
def test_types_of_toml_values(value: object, wanted: type, answer: bool) -> None:
    assert is_a(value, wanted) is answer
