"""What is int8 in a file, and what is not, as files of litert-torch showed."""

from __future__ import annotations

from typing import Any

import pytest

from archsearch.network.arch import Arch
from archsearch.network.stage import Part, Stage
from archsearch.network.tflite_graph import Graph, graph
from archsearch.network.zoo import load


def kinds(arch: Arch) -> list[str]:
    return [operator.kind for operator in _graph(arch).operators]


def _graph(arch: Arch) -> Graph:
    return graph(arch.cost.parts, arch.input_shape)


def _small(block: str, **dims: Any) -> Arch:
    stages = (Stage(block, 8, 1, dims=tuple(dims.items())),)
    return Arch((3, 16, 16), 10, Part("conv", (("width", 8),)), stages, Part("linear"))


FIRST, LAST = ["transpose", "mul", "sub", "conv"], ["mean", "linear"]


def test_norms_and_relus_are_folded_into_convolutions() -> None:
    assert kinds(_small("plain")) == [*FIRST, "conv", *LAST]


def test_a_sum_behind_a_hardswish_is_fp32() -> None:
    found = kinds(_small("separable", act="hardswish", residual=True))
    branch = ["dequantize", "depthwise", "hardswish", "conv", "dequantize", "hardswish_fp32", "add_fp32", "quantize"]
    assert found == [*FIRST, *branch, *LAST]


def test_a_sum_with_a_relu_is_int8() -> None:
    assert kinds(_small("basic")) == [*FIRST, "conv", "conv", "add", *LAST]


def test_silu_is_two_operators_in_fp32() -> None:
    assert kinds(_small("plain", act="silu"))[5:9] == ["dequantize", "logistic_fp32", "mul_fp32", "quantize"]


def test_pooling_behind_tanh_leaves_both_int8() -> None:
    found = kinds(load("lenet5").arch)
    assert found[:7] == ["reshape", "mul", "sub", "depthwise", "tanh", "avg", "conv"]
    assert not any(kind.endswith("_fp32") for kind in found)


def test_values_of_fp32_are_four_bytes() -> None:
    found = _graph(_small("plain", act="silu"))
    sizes = {operator.kind: found.sizes[operator.makes] for operator in found.operators}
    assert sizes["mul_fp32"] == 4 * sizes["quantize"] == 4 * 8 * 16 * 16


def test_every_slice_that_is_joined_is_of_a_copy_in_its_scale() -> None:
    found = kinds(_small("glu", split=True))
    first = found.index("slice")
    assert found[4:first] == ["quantize"] * 4
    assert found[first : first + 3] == ["slice", "slice", "depthwise"]
    assert found[found.index("concat") + 1] == "conv"


def test_a_sum_of_which_slices_are_taken_is_int8_and_so_is_the_next() -> None:
    stages = (Stage("glu", 16, 3, dims=(("split", True),)),)
    found = kinds(Arch((3, 16, 16), 10, Part("conv", (("width", 16),)), stages, Part("linear")))
    assert found.count("add") == 3
    assert not any(kind.endswith("_fp32") for kind in found)


@pytest.mark.parametrize(("readers", "copies"), [(("pools",), 2), (("all",), 2), (("none",), 0), (("all", "none"), 1)])
def test_joined_branches_that_are_pooled_are_copied_or_not(readers: tuple[str, ...], copies: int) -> None:
    stages = (Stage("inception", 16, 3),)
    arch = Arch((3, 16, 16), 10, Part("conv", (("width", 8),)), stages, Part("linear"))
    assert [one.kind for one in graph(arch.cost.parts, arch.input_shape, readers).operators].count("quantize") == copies


def test_pools_read_joined_branches_in_another_scale_than_convolutions() -> None:
    stages = (Stage("inception", 16), Stage("inception", 24, stride=2))
    found = _graph(Arch((3, 16, 16), 10, Part("conv", (("width", 8),)), stages, Part("linear")))
    joined = next(one for one in found.operators if one.kind == "concat").makes
    copy = next(one for one in found.operators if one.reads == (joined,) and one.kind == "quantize").makes
    readers = {value: [one.kind for one in found.operators if value in one.reads] for value in (joined, copy)}
    assert readers == {joined: ["quantize", "conv", "conv", "conv"], copy: ["pad"]}


def test_the_last_convolution_of_a_grouped_head_is_flattened() -> None:
    stages = (Stage("basic", 20),)
    arch = Arch((3, 16, 16), 10, Part("conv", (("width", 8),)), stages, Part("grouped"))
    assert kinds(arch)[-3:] == ["mean", "conv", "reshape"]
