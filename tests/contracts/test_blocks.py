"""One contract over everything registered: count equals module, shapes agree, passes run, state reloads."""

from __future__ import annotations

import ctypes.util
import itertools
import os
import subprocess
import sys

import pytest
import torch

from archsearch.errors import SpecError
from archsearch.network.blocks import expand, lookup, names
from archsearch.network.blocks.common import conv
from archsearch.network.cost import measure
from archsearch.network.layer_cost import LeafCost, Tensor
from archsearch.network.layers import (
    ACTIVATIONS,
    Act,
    AdaptivePool,
    Aux,
    Conv,
    Custom,
    Dropout,
    Flatten,
    Linear,
    Norm,
    Pool,
    Shape,
    Shuffle,
    Subsample,
    Take,
    add,
    concat,
    seq,
    shared,
)
from archsearch.nn.build import build_expr
from archsearch.testing import check_block, check_expr, check_head, check_stem

CHECKS = {"stem": check_stem, "block": check_block, "head": check_head}
# Values of a dim, besides its default, that every builder with such a dim is checked with.
VARIANTS: dict[str, list[object]] = {
    "kernel": [1, 5, 7],
    "dilation": [2],
    "se": [0.25],
    "act": ["hardswish", "tanh", "leaky_relu", "gelu", "silu"],
    "norm": [False, True],
    "dropout": [0.2],
    "ratio": [0.5],
    "skip": ["pad"],
    "points": [1, 3],
    "expand": [1.0, 2.5, 6.0],
    "residual": [True],
    "share": [0.25, 0.7],
    "reduce": [0.25],
    "pool": ["avg"],
    "kind": ["avg"],
    "ceil": [True],
    "hidden": [0, 16],
    "hidden2": [9],
    "hidden3": [5],
    "size": [1, 2, 4, 7],
    "drop_first": [True],
    "preact": [True],
    "padding": [0, 1],
    "bias": [True],
    "width": [6],
    "stride": [2],
    "overlap": [True],
    "groups": [1, 3],
    "split": [True],
}


def registered() -> list[tuple[str, str]]:
    return [(kind, name) for kind in CHECKS for name in names(kind)]


@pytest.mark.parametrize(("kind", "name"), registered())
def test_defaults_keep_the_contract(kind: str, name: str) -> None:
    CHECKS[kind](name)


def variants() -> list[tuple[str, str, str, object]]:
    cases = []
    for kind, name in registered():
        for dim, (wanted, default) in lookup(kind, name).dims.items():
            values = [True] if wanted is bool and dim == "pool" else [2] if wanted is int and dim == "pool" else None
            for value in values or VARIANTS.get(dim, []):
                if value != default:
                    cases.append((kind, name, dim, value))
    return cases


@pytest.mark.parametrize(("kind", "name", "dim", "value"), variants())
def test_every_option_keeps_the_contract(kind: str, name: str, dim: str, value: object) -> None:
    CHECKS[kind](name, **{dim: value})


def test_options_combine() -> None:
    for act, norm, se in itertools.product(("relu", "hardswish"), (True, False), (0.0, 0.5)):
        for name in ("plain", "basic", "bottleneck", "preact", "separable", "inverted"):
            check_block(name, act=act, norm=norm, se=se, kernel=5, dilation=2, shapes=[(6, 9, 9)], widths=[6, 10])


WEIRD: dict[type, list[object]] = {
    int: [-(2**62), -2, -1, 0, 1, 2, 3, 64, 10**6, 2**62],
    float: [float("nan"), float("inf"), float("-inf"), -1.0, 0.0, 1e-300, 0.3, 1.0, 99.0, 1e300, 2],
    str: ["", "relu", "max", "nothing"],
    bool: [True, False],
}


@pytest.mark.parametrize(("kind", "name"), registered())
def test_strange_values_are_a_network_or_a_clean_error(kind: str, name: str) -> None:
    for dim, (wanted, _) in lookup(kind, name).dims.items():
        for value, shape in itertools.product(WEIRD[wanted], [(3, 8, 8), (6, 1, 2), (5,)]):
            args = {"stem": (shape[0],), "block": (shape[0], 6, 2), "head": (shape, 5)}[kind]
            try:
                expr = expand(kind, name, args, ((dim, value),))
                cost = measure(expr, shape)
            except SpecError:
                continue
            if cost.params + cost.aux_params < 10**7 and max(cost.out) < 10**5:
                with torch.device("meta"):
                    assert build_expr(expr, shape)(torch.zeros(2, *shape)).shape == (2, *cost.out)


LEAVES = [
    *(Act(name) for name in ACTIVATIONS),
    Conv(5),
    Conv(6, 4, 2, 0, bias=True),
    Conv(8, 3, 1, dilation=2, groups=4),
    Norm(),
    Norm(1e-3),
    Pool("max", 3, 2, 1),
    Pool("avg", 3, 2, 1, ceil=True),
    Pool("max", 3, 2, ceil=True),
    AdaptivePool(3),
    Subsample(4),
    Subsample(9, 2),
    Subsample(9, 3),
    Take(0, 4),
    Take(1, 2),
    Shuffle(2),
    Flatten(),
    Dropout(0.5),
    shared(seq(Conv(4), Norm(), Act("relu")), 3),
    shared(add(seq(), Conv(4, 1, bias=True)), 2),
    seq(Flatten(), Linear(3)),
    seq(Flatten(), Linear(3, bias=False), Norm()),
]


@pytest.mark.parametrize("leaf", LEAVES, ids=repr)
@pytest.mark.parametrize("shape", [(4, 8, 8), (4, 7, 9)])
def test_leaves_keep_the_contract(leaf: object, shape: Shape) -> None:
    check_expr(leaf, shape)


def test_auxiliary_classifiers_are_counted_apart() -> None:
    head = seq(AdaptivePool(1), Flatten(), Linear(5))
    plain = seq(Conv(4), Norm(), Conv(6))
    found = check_expr(seq(Conv(4), Norm(), Aux(head), Conv(6)), (3, 8, 8))
    alone = check_expr(plain, (3, 8, 8))
    assert found._replace(aux_params=0)[:8] == alone[:8]
    assert found.aux_params == 4 * 5 + 5


def test_subsampling_is_he_et_al_s_option_a() -> None:
    images = torch.arange(2 * 2 * 3 * 5.0).reshape(2, 2, 3, 5)
    out = build_expr(Subsample(5, 2), (2, 3, 5))(images)
    assert torch.equal(out[:, :2], images[:, :, ::2, ::2])
    assert torch.equal(out[:, 2:], torch.zeros(2, 3, 2, 3))
    with pytest.raises(SpecError, match="cannot go from 8 to 4"):
        measure(Subsample(4, 2), (8, 8, 8))


class Wrong(Custom):
    """Says it has no parameters."""

    def cost(self, shape: Shape) -> LeafCost:
        return LeafCost(shape)

    def build(self, shape: Shape) -> torch.nn.Module:
        return torch.nn.BatchNorm2d(shape[0])


class Unused(Custom):
    """Has a parameter that no gradient reaches."""

    def cost(self, shape: Shape) -> LeafCost:
        return LeafCost(shape, (Tensor("weight", (3,)),))

    def build(self, shape: Shape) -> torch.nn.Module:
        module = torch.nn.Identity()
        module.register_parameter("weight", torch.nn.Parameter(torch.zeros(3)))
        return module


@pytest.mark.parametrize(("leaf", "says"), [(Wrong(), "16 parameters, counted 0"), (Unused(), "no gradient reaches")])
def test_a_broken_leaf_is_found(leaf: Custom, says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        check_expr(leaf, (8, 4, 4))


def test_an_unknown_block_is_named() -> None:
    with pytest.raises(SpecError, match="did you mean 'inverted'"):
        check_block("invertd")


def test_a_block_that_refuses_everything_is_found() -> None:
    with pytest.raises(AssertionError, match="refuses every"):
        check_block("plain", act="nothing")


STRESS = """
import itertools, torch
from archsearch.network.blocks import expand
from archsearch.network.cost import measure
from archsearch.errors import SpecError
from archsearch.nn.build import build_expr
torch.set_num_threads(1)
blocks = [("separable", ()), ("separable", (("dilation", 2), ("kernel", 5))), ("inverted", (("expand", 1.5),)),
          ("inverted", (("se", 0.5), ("kernel", 7))), ("pointwise", ()), ("inception", ()), ("plain", (("kernel", 1),)),
          ("glu", (("split", True),)), ("gated", ()), ("shuffle", ()),
          ("plain", (("dilation", 3),)), ("bottleneck", ()), ("preact", ()), ("basic", (("skip", "pad"),))]
for (name, dims), c, width, stride, side in itertools.product(
        blocks, (1, 2, 3, 5, 7, 9), (4, 5, 7), (1, 2), (5, 8)):
    try:
        expr = expand("block", name, (c, width, stride), dims)
        measure(expr, (c, side, side))
    except SpecError:
        continue
    for form in (torch.contiguous_format, torch.channels_last):
        module = build_expr(expr, (c, side, side)).to(memory_format=form)
        module(torch.randn(5, c, side, side).to(memory_format=form)).sum().backward()
print("done")
"""


def test_no_block_corrupts_memory() -> None:
    """oneDNN has written past its buffers before (see modules.ThinConv2d); glibc's debug library notices."""
    library = ctypes.util.find_library("c_malloc_debug")
    checked = {"LD_PRELOAD": library, "MALLOC_CHECK_": "3"} if library else {}
    found = subprocess.run(
        [sys.executable, "-c", STRESS],
        env={**os.environ, "OMP_NUM_THREADS": "1", **checked},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.returncode, found.stdout.strip()) == (0, "done"), found.stderr


def test_concat_and_add_of_aux_free_branches() -> None:
    check_expr(concat(conv(3, 1), conv(5, 3), seq(Pool("max", 3, 1, 1), conv(2, 1))), (4, 6, 6))
    check_expr(add(seq(), conv(4), seq(Norm())), (4, 6, 6))
