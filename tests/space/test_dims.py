"""Dims from their TOML values."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import few

from archsearch.space.dims import Choice, Float, Int, parse_dim

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("value", [3, 0.5, "basic", True, False, -1, ""])
def test_a_bare_value_is_a_constant(value: object) -> None:
    assert parse_dim(value) is value


@pytest.mark.parametrize(
    ("spec", "dim"),
    [
        ({"int": [1, 4]}, Int(1, 4)),
        ({"int": [16, 256], "step": 16}, Int(16, 256, 16)),
        ({"int": [8, 512], "log": True}, Int(8, 512, log=True)),
        ({"int": [3, 3]}, Int(3, 3)),
        ({"int": [-3, 3]}, Int(-3, 3)),
        ({"float": [1e-4, 1.0], "log": True}, Float(1e-4, 1.0, True)),
        ({"float": [0, 1]}, Float(0.0, 1.0)),
        ({"choice": ["basic", "nin"]}, Choice(("basic", "nin"))),
        ({"choice": [1, True, 0.5, "a"]}, Choice((1, True, 0.5, "a"))),
    ],
)
def test_dims(spec: object, dim: object) -> None:
    assert parse_dim(spec) == dim


@pytest.mark.parametrize(
    ("dim", "values"),
    [
        (Int(1, 4), [1, 2, 3, 4]), (Int(16, 64, 16), [16, 32, 48, 64]), (Int(2, 2), [2]), (Choice((5, 3)), [5, 3]),
    ],
)  # fmt: skip
def test_every_value_of_a_dim(dim: Int | Choice, values: list[int]) -> None:
    assert list(dim.values) == values


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (NAN, "no finite number"),
        (INF, "no finite number"),
        ([1, 2], "neither a constant nor a dim"),
        (None, "neither a constant nor a dim"),
        ({}, "exactly one of int, float, choice"),
        ({"itn": [1, 2]}, "did you mean 'int'"),
        ({"int": [1, 2], "choice": [1]}, "exactly one"),
        ({"int": [1, 2], "setp": 1}, "no key 'setp' .did you mean 'step'"),
        ({"float": [1, 2], "step": 1}, "a dim of float has no key 'step'"),
        ({"choice": [1], "log": True}, "a dim of choice has no key 'log'"),
        ({"int": 3}, "must be .low, high."),
        ({"int": [1]}, "must be .low, high."),
        ({"int": [1, 2, 3]}, "must be .low, high."),
        ({"int": [1.0, 2]}, "must be .low, high."),
        ({"int": [True, 2]}, "must be .low, high."),
        ({"int": ["1", "2"]}, "must be .low, high."),
        ({"int": [4, 1]}, "low must not be above high"),
        ({"float": [0.5, 0.1]}, "low must not be above high"),
        ({"float": [NAN, 1.0]}, "low must not be above high"),
        ({"float": [0.0, INF]}, "finite"),
        ({"int": [1, 10**30]}, "finite"),
        ({"int": [0, 4], "log": True}, "low must be above zero"),
        ({"float": [-1.0, 4], "log": True}, "low must be above zero"),
        ({"int": [1, 4], "log": 1}, "must be true or false"),
        ({"int": [1, 4], "step": 0}, "step = 0"),
        ({"int": [1, 4], "step": 1.5}, "step = 1.5"),
        ({"int": [1, 4], "step": True}, "step = True"),
        ({"int": [1, 4], "step": 2}, "not a whole number of steps of 2"),
        ({"int": [1, 5], "step": 2, "log": True}, "not together with log"),
        ({"choice": []}, "must be a list of values"),
        ({"choice": "basic"}, "must be a list of values"),
        ({"choice": [1, [2]]}, "numbers, strings or booleans"),
        ({"choice": [1, 2, 1]}, "has a value twice"),
        ({"choice": ["a", "a"]}, "has a value twice"),
    ],
)
def test_mistakes_are_named_in_one_line(spec: object, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        parse_dim(spec)
    assert "\n" not in str(caught.value)


_scalar = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
_anything = st.recursive(
    _scalar,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_specs: st.SearchStrategy[Any] = st.dictionaries(
    st.sampled_from(["int", "float", "choice", "step", "log", "x"]),
    _anything | st.lists(st.integers() | st.floats(), min_size=2, max_size=2) | st.booleans(),
    max_size=3,
)


@few(200)
@given(_specs | _anything)
def test_anything_is_a_dim_a_constant_or_a_value_error(spec: Any) -> None:
    try:
        dim = parse_dim(spec)
    except ValueError:
        return
    assert isinstance(dim, Int | Float | Choice | bool | int | float | str)
    if isinstance(dim, Int | Float):
        assert -(2**53) < dim.low <= dim.high < 2**53
