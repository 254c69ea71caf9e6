"""The bytes of other formats' files: what layers are put down as, and how a sum over it is asked for."""

from __future__ import annotations

import math

import pytest

from archsearch.errors import InputError
from archsearch.network import format_size, zoo
from archsearch.network.arch import Arch
from archsearch.network.cost import measure
from archsearch.network.file_size import DTYPE_BYTES, Written
from archsearch.network.format_size import FEATURES, OPERATORS, Factors, amounts, file_bytes, weighed
from archsearch.network.format_table import FACTORS
from archsearch.network.layer_cost import LeafCost, Tensor
from archsearch.network.layers import (
    Act,
    AdaptivePool,
    Add,
    Aux,
    Conv,
    Custom,
    Dropout,
    Expr,
    Flatten,
    Linear,
    Norm,
    Pool,
    Seq,
    Shape,
    Shuffle,
    Subsample,
    Take,
    add,
    concat,
    mul,
    seq,
    shared,
)

SMALL = zoo.load("ref:resnet-course-small").arch
WRITTEN = [Written(dtype, form) for form, by in FACTORS.items() for dtype in by]


def found(expr: Expr, shape: Shape = (3, 8, 8)) -> dict[str, float]:
    """What an expression is put down as, without sizes and names."""
    return {name: amount for name, amount in amounts((("part", expr, shape),)).items() if amount and name in OPERATORS}


def test_a_map_that_is_pooled_to_a_side_that_does_not_divide_it_has_a_table_of_its_windows() -> None:
    """Of 7 pixels to 4 the windows are 2, 3, 3 and 2 wide; LiteRT's files held 576 bytes more a channel."""
    even, ragged = (dict(amounts((("part", AdaptivePool(4), (5, side, side)),))) for side in (8, 7))
    assert (even["adaptive"], even["ragged"], even["ragged_values"]) == (1, 0, 0)
    assert (ragged["adaptive"], ragged["ragged"], ragged["ragged_values"]) == (0, 1, 5 * (4 * 3) ** 2)
    assert FACTORS["litert"]["fp32"]["ragged_values"] == pytest.approx(4, rel=0.1)


def test_the_small_course_resnet() -> None:
    all_of_it = {name: amount for name, amount in amounts(SMALL.cost.parts).items() if amount}
    names = [
        "stem.0",
        "stage1.0.0.1.0",
        "stage1.0.0.1.3",
        *(f"stage{i}.0.0.{j}" for i in (2, 3) for j in ("0.0", "1.0", "1.3")),
    ]
    assert all_of_it == {
        "file": 1, "values": 77_360, "linear_values": 640, "outs": 346, "weight_digits": 57, "map_digits": 108,
        "chars": sum(len(f"network.{name}.weight") for name in [*names, "head.2"]),
        "conv": 9, "padded": 2, "linear": 1, "relu_conv": 4, "relu_sum": 3, "mean": 1, "flatten": 1, "add": 3,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("expr", "wanted"),
    [
        (seq(Conv(4), Norm(), Act()), {"conv": 1, "relu_conv": 1}),
        (seq(Conv(4), Act(), Norm()), {"conv": 1, "relu_conv": 1, "norm": 1}),
        (seq(Norm(), Act(), Conv(4)), {"norm": 1, "relu": 1, "conv": 1}),
        (seq(Conv(4), Act("hardswish")), {"conv": 1, "hardswish": 1}),
        (
            seq(Flatten(), Linear(4, bias=False), Norm(), Act("gelu")),
            {"flatten": 1, "linear": 1, "linear_norm": 1, "gelu": 1},
        ),
        (seq(add(seq(), Conv(3)), Norm()), {"add": 1, "conv": 1, "norm": 1}),
        (seq(add(seq(), seq(Norm(), Conv(3)), Conv(3)), Act()), {"add": 2, "conv": 2, "norm": 1, "relu_sum": 1}),
        (
            concat(Conv(2), Conv(2), seq(Pool("max", 3, 1, 1), Conv(1))),
            {"conv": 3, "concat": 1, "concatenated": 3, "max": 1, "pool_padded": 1},
        ),
        (mul(seq(), seq(Conv(3, 1), Act("sigmoid"))), {"mul": 1, "conv": 1, "sigmoid": 1}),
        (Conv(6, 3, 2, groups=3), {"grouped": 1, "padded": 1}),
        (Conv(6, 1, 2), {"conv": 1, "thin": 1}),
        (Conv(6, 4, 4, 0), {"conv": 1}),
        (Conv(6, 3, dilation=2), {"conv": 1}),
        (seq(Subsample(6, 2), Dropout(), Aux(seq(Flatten(), Linear(2)))), {"subsample": 1}),
        (seq(Take(1, 2), Conv(2)), {"take": 1, "conv": 1}),
        (Shuffle(3), {"shuffle": 1}),
        (shared(seq(Conv(3), Norm(), Act()), 3), {"conv": 3, "relu_conv": 3}),
        (seq(), {}),
    ],
    ids=repr,
)  # fmt: skip
def test_what_layers_are_put_down_as(expr: Expr, wanted: dict[str, int]) -> None:
    assert found(expr) == wanted


class Gate(Custom):
    """Somebody's own leaf."""

    def cost(self, shape: Shape) -> LeafCost:
        return LeafCost(shape, (Tensor("weight", (shape[0], 5)), Tensor("count", (), "counter")))


def test_somebodys_own_leaf_is_itself_and_its_tensors() -> None:
    whole = amounts((("part", Gate(), (3, 8, 8)),))
    assert (whole["custom"], whole["values"], whole["outs"]) == (2, 15, 3)


def test_a_sum_is_over_all_that_is_put_down() -> None:
    factors = {name: 0.5 + i for i, name in enumerate(FEATURES)}
    parts = zoo.load("ref:googlenet").arch.cost.parts
    wanted = sum(amount * factors[name] for name, amount in amounts(parts).items())
    assert weighed(parts, Factors(factors)) == pytest.approx(wanted)


def test_safetensors_are_as_they_were() -> None:
    for dtype in DTYPE_BYTES:
        assert file_bytes(SMALL.cost, Written(dtype)) == SMALL.cost.size_bytes(dtype)
    expr = seq(Conv(4), Flatten(), Linear(2))
    assert file_bytes(measure(expr, (3, 8, 8)), Written()) == measure(expr, (3, 8, 8)).size_bytes()


@pytest.mark.parametrize("written", WRITTEN, ids=lambda written: written.words)
def test_every_format_has_its_weights_and_something_for_every_operator(written: Written) -> None:
    factors = FACTORS[written.form][written.dtype]
    assert factors["values"] == {"fp32": 4, "fp16": 2, "int8": 1}[written.dtype]
    assert min(factors.values()) >= 0 or min(factors, key=lambda name: factors[name]) == "file"
    assert factors["custom"] >= max(factors.get(name, 0) for name in OPERATORS) > 0
    assert set(factors) <= {*FEATURES, "beyond"}
    assert 0 <= factors["beyond"] < 1
    assert {*OPERATORS} <= {*factors}
    values = amounts(SMALL.cost.parts)["values"]
    assert file_bytes(SMALL.cost, written) > factors["values"] * values + 1000


@pytest.mark.parametrize("written", WRITTEN, ids=lambda written: written.words)
def test_more_layers_and_classes_are_more_bytes(written: Written) -> None:
    deeper = zoo.load("ref:resnet20").arch
    assert file_bytes(SMALL.cost, written) < file_bytes(deeper.cost, written)
    many = SMALL.adapted(SMALL.input_shape, 100)
    assert file_bytes(SMALL.cost, written) < file_bytes(many.cost, written)


def test_layers_alone_have_no_file() -> None:
    with pytest.raises(InputError, match="the bytes of LiteRT files are counted of architectures alone"):
        file_bytes(measure(Conv(4), (3, 8, 8)), Written("int8", "litert"))


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (Written("fp32", "pt2"), "unknown size format 'pt2': use one of safetensors, onnx, litert"),
        (Written("fp16", "litert"), "LiteRT files are counted at fp32, int8, not at fp16: set --size-dtype"),
        (Written("bf16", "onnx"), "ONNX files are counted at fp32, fp16, int8, not at bf16"),
    ],
)
def test_what_cannot_be_counted_is_one_line(written: Written, words: str) -> None:
    with pytest.raises(InputError, match=words):
        format_size.check_written(written)


def test_equal_networks_have_equal_costs() -> None:
    again = Arch.from_toml(SMALL.to_toml())
    assert again.cost == SMALL.cost
    assert isinstance(SMALL.cost.parts[1][1], Seq)
    assert not math.isnan(file_bytes(again.cost, WRITTEN[0]))
    assert Add.kind == "add"
