"""RAM by formula, held against figures of TensorFlow Lite Micro on real files."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import few

from archsearch.errors import SpecError
from archsearch.network.arch import Arch
from archsearch.network.budget import Budget
from archsearch.network.cost import measure
from archsearch.network.layers import Conv
from archsearch.network.ram import described, planned, ram_bytes
from archsearch.network.stage import Part, Stage
from archsearch.network.tflite_graph import graph
from archsearch.network.zoo import load

LINEAR, NIN, MLP = (Part(name) for name in ("linear", "nin", "mlp"))


def small(*stages: Stage, head: Part = LINEAR) -> Arch:
    return Arch((3, 16, 16), 10, Part("conv", (("width", 8),)), stages, head)


def stage(block: str, width: int = 8, depth: int = 1, stride: int = 1, down: str = "stride", **dims: Any) -> Stage:
    return Stage(block, width, depth, stride, down, tuple(dims.items()))


SHIPPED = Arch(
    (3, 32, 32), 10, Part("conv", (("width", 16),)),
    (Stage("basic", 24, 2), Stage("basic", 24, 2, 2), Stage("basic", 48, 1, 2)), LINEAR,
)  # fmt: skip
GATED = small(
    stage("separable", act="hardswish", residual=True), stage("separable", act="hardswish", se=0.25), head=NIN
)
MEASURED = [
    (small(stage("plain")), 6336),
    (small(stage("plain", stride=2), stage("plain", stride=2, down="max"), stage("plain", stride=2, down="avg")), 8112),
    (small(stage("basic"), stage("basic", 16, stride=2), head=MLP), 11168),
    (small(stage("preact", depth=2), stage("preact", 16, stride=2), head=MLP), 40832),
    (GATED, 29952),
    (load("lenet5").arch, 11264),
    (SHIPPED, 110832),
]
"""Arenas that tflite-micro 0.dev20261023182759 told of files by litert-torch 0.10.0, one scale a tensor, 2026-11-29.
The last is `results/cifar10-78k`'s."""
SLICED = [
    (small(stage("basic", 4), stage("basic", 12, stride=2), head=NIN), 8992),
    (small(stage("shuffle"), stage("shuffle", 16, stride=2)), 12016),
    (small(stage("glu"), stage("glu", 16, stride=2, split=True), stage("gated", 16)), 19168),
]


JOINED = small(stage("inception", 16), stage("inception", 24, stride=2), head=NIN)
"""Its files differ with their weights: what pools the joined branches may read them in another scale, and what else
reads them in that one too, or in their own, so that both are in the arena."""


def test_joined_branches_that_are_pooled_count_as_the_largest_of_their_files() -> None:
    assert max(17504, 19968) <= ram_bytes(JOINED.cost, per_channel=False) <= 1.01 * 19968


@pytest.mark.parametrize(("arch", "arena"), MEASURED)
def test_it_is_never_below_the_arena_and_at_most_3_percent_above(arch: Arch, arena: int) -> None:
    assert arena <= ram_bytes(arch.cost, per_channel=False) <= 1.01 * arena


@pytest.mark.parametrize(("arch", "arena"), SLICED)
def test_of_slices_and_shuffles_it_is_at_most_2_percent_above(arch: Arch, arena: int) -> None:
    assert arena <= ram_bytes(arch.cost, per_channel=False) <= 1.02 * arena


@pytest.mark.parametrize(("arch", "arena"), MEASURED)
def test_one_scale_a_channel_takes_more(arch: Arch, arena: int) -> None:
    assert arena <= ram_bytes(arch.cost, per_channel=False) <= ram_bytes(arch.cost)


@pytest.mark.parametrize("name", ["resnet-course-large", "lenet5"])
def test_it_holds_what_any_operator_reads_and_makes(name: str) -> None:
    arch = load(name).arch
    found = graph(arch.cost.parts, arch.input_shape)
    most = max(sum(found.sizes[i] for i in {*one.reads, one.makes}) for one in found.operators)
    assert ram_bytes(arch.cost) > most


@pytest.mark.parametrize("width", [4, 8, 24])
def test_what_describes_a_network_grows_with_its_depth(width: int) -> None:
    archs = [small(stage("basic", width, depth)) for depth in (1, 2, 3)]
    one, two, three = (described(graph(arch.cost.parts, arch.input_shape), False) for arch in archs)
    assert one < two < three


@few(100)
@given(st.lists(st.tuples(st.integers(1, 999), st.integers(0, 9), st.integers(0, 9)), min_size=1))
def test_a_plan_holds_all_that_lives_at_once(found: list[tuple[int, int, int]]) -> None:
    spans = [(size, min(ends), max(ends)) for size, *ends in found]
    most = max(sum(-(-size // 16) * 16 for size, first, last in spans if first <= step <= last) for step in range(10))
    assert most <= planned(spans) <= sum(-(-size // 16) * 16 for size, _, _ in spans)


@pytest.mark.parametrize(
    ("arch", "what"),
    [(small(stage("plain", act="gelu")), "gelu"), (small(stage("basic", 16, stride=2, skip="pad")), "Subsample")],
)
def test_what_no_file_has_shown_is_refused(arch: Arch, what: str) -> None:
    with pytest.raises(SpecError, match=what):
        ram_bytes(arch.cost)


def test_a_cost_without_parts_is_refused() -> None:
    with pytest.raises(SpecError, match="anything but architectures"):
        ram_bytes(measure(Conv(8), (3, 8, 8)))


def test_it_is_a_limit_like_the_others() -> None:
    used = ram_bytes(SHIPPED.cost)
    assert Budget(max_ram=used + 1).check(SHIPPED.cost).ok
    assert Budget(max_ram=used).check(SHIPPED.cost).broke == f"ram_bytes>={used}"
    assert Budget(max_ram=65536).to_dict() == {"max_ram": 65536, "size_dtype": "fp32"}
    assert Budget(max_ram=64000).slug == "ram64kB"
    assert Budget(max_ram=64000).words == "under 64 kB of RAM (TensorFlow Lite Micro, int8)"
