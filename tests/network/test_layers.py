"""Expressions: equality, canonical lists, splicing."""

from __future__ import annotations

import json
import pickle
from dataclasses import FrozenInstanceError, dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import expressions, few, leaves

from archsearch.network.layers import (
    Act,
    AdaptivePool,
    Aux,
    Conv,
    Custom,
    Expr,
    Flatten,
    Leaf,
    Linear,
    Norm,
    Pool,
    Seq,
    add,
    canonical,
    concat,
    mul,
    seq,
)

trees = expressions((3, 6, 6))


@few(30)
@given(trees, trees, trees)
def test_seq_is_associative(a: Expr, b: Expr, c: Expr) -> None:
    assert seq(seq(a, b), c) == seq(a, seq(b, c)) == seq(a, b, c)
    assert hash(seq(seq(a, b), c)) == hash(seq(a, seq(b, c)))
    assert canonical(seq(seq(a, b), c)) == canonical(seq(a, seq(b, c))) == canonical(Seq((a, Seq((b, Seq((c,)))))))


@few(30)
@given(trees)
def test_the_empty_sequence_is_neutral(a: Expr) -> None:
    assert seq(a, seq()) == seq(seq(), a) == seq(a)
    assert canonical(Seq((Seq(()), a))) == canonical(a)


@few(30)
@given(trees, trees)
def test_expressions_are_equal_where_their_canonical_lists_are(a: Expr, b: Expr) -> None:
    assert (seq(a) == seq(b)) == (json.dumps(canonical(a)) == json.dumps(canonical(b)))


@few(30)
@given(trees)
def test_canonical_lists_are_json_and_hold_every_leaf(a: Expr) -> None:
    text = json.dumps(canonical(a))
    assert json.loads(text) == json.loads(json.dumps(canonical(a)))
    assert all(f'"{type(leaf).__name__}"' in text for leaf in leaves(a))


LEAVES = [
    (Conv(4), Conv(5)),
    (Conv(4), Conv(4, 5)),
    (Conv(4), Conv(4, 3, 2)),
    (Conv(4), Conv(4, padding=0)),
    (Conv(4), Conv(4, dilation=2, padding=1)),
    (Conv(4), Conv(4, groups=2)),
    (Conv(4), Conv(4, bias=True)),
    (Norm(), Norm(1e-3)),
    (Act(), Act("silu")),
    (Pool(), Pool("avg")),
    (Pool(), Pool("max", 3)),
    (Pool(), Pool(stride=1)),
    (Pool(), Pool(padding=1)),
    (Pool(), Pool(ceil=True)),
    (AdaptivePool(), AdaptivePool(2)),
    (Flatten(), Norm()),
    (Linear(4), Linear(4, bias=False)),
    (add(Conv(4), seq()), add(seq(), Conv(4))),
    (add(seq(), Norm()), mul(seq(), Norm())),
    (add(seq(), Norm()), concat(seq(), Norm())),
    (add(seq(), Norm()), seq(Norm())),
    (Aux(Linear(2)), Aux(Linear(2), 0.4)),
    (Aux(Linear(2)), Aux(Linear(3))),
]


@pytest.mark.parametrize(("one", "other"), LEAVES)
def test_any_difference_shows(one: Expr, other: Expr) -> None:
    assert one != other
    assert canonical(one) != canonical(other)
    assert canonical(seq(Conv(8), add(seq(), one))) != canonical(seq(Conv(8), add(seq(), other)))


def test_defaults_are_spelled_out() -> None:
    assert Conv(4, 5) == Conv(4, 5, padding=2)
    assert Conv(4, 3, dilation=2) == Conv(4, 3, dilation=2, padding=2)
    assert Pool("max", 3) == Pool("max", 3, stride=3)
    assert canonical(Pool()) == canonical(Pool(stride=2))


def test_auxiliary_classifiers_are_told_in_the_canonical_form() -> None:
    expr = seq(Conv(4), Aux(seq(Flatten(), Linear(2))), add(Norm(), seq(Act(), Pool())), Flatten())
    assert "aux" in json.dumps(canonical(expr))


def test_expressions_survive_pickling_and_print_readably() -> None:
    expr = seq(Conv(4), add(seq(), Norm()))
    assert pickle.loads(pickle.dumps(expr)) == expr
    assert repr(expr).startswith("seq(Conv(out=4")
    assert "add(seq(), Norm(eps=1e-05))" in repr(expr)


def test_leaves_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Conv(4).out = 5


def test_what_is_no_expression_has_no_canonical_list() -> None:
    with pytest.raises(TypeError, match="no expression"):
        canonical("conv")


@dataclass(frozen=True, slots=True)
class Half(Custom):
    factor: float = 0.5


def test_a_custom_leaf_must_bring_cost_and_build() -> None:
    assert canonical(Half(0.25)) == ["Half", 0.25]
    assert isinstance(Half(), Leaf)
    for method in (Half().cost, Half().build):
        with pytest.raises(NotImplementedError, match="Half must define"):
            method((3, 8, 8))


@few(30)
@given(st.lists(trees, min_size=2, max_size=3))
def test_joins_keep_the_order_of_their_branches(parts: list[Expr]) -> None:
    assert concat(*parts).parts == tuple(parts)
    assert (concat(*parts) == concat(*reversed(parts))) == (parts == parts[::-1])
