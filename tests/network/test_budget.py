"""Limits and verdicts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import few

from archsearch.errors import InputError
from archsearch.network.budget import Budget, plain
from archsearch.network.cost import Cost, measure
from archsearch.network.file_size import FileContents, Written
from archsearch.network.format_size import file_bytes
from archsearch.network.layers import Conv, Flatten, Linear, seq
from archsearch.network.zoo import load

COST = measure(seq(Conv(8), Flatten(), Linear(10)), (3, 8, 8))
LIMITS = {
    "max_params": ("params", COST.params),
    "max_size": ("size_bytes", COST.size_bytes()),
    "max_macs": ("macs", COST.macs),
    "max_activation": ("peak_activation_bytes", COST.peak_activation_bytes()),
}


@pytest.mark.parametrize(("option", "name", "value"), [(key, *found) for key, found in LIMITS.items()])
@pytest.mark.parametrize(("more", "ok"), [(-1, False), (0, False), (0.5, True), (1, True)])
def test_every_limit_is_strict(option: str, name: str, value: int, more: float, ok: bool) -> None:
    verdict = Budget(**{option: value + more}).check(COST)
    assert verdict.ok is ok
    assert [(check.name, check.value, check.limit) for check in verdict.limits] == [(name, value, value + more)]
    assert verdict.broke == ("" if ok else f"{name}>={plain(value + more)}")
    assert (verdict.excess < 0) is ok


def test_a_verdict_names_every_broken_limit_in_the_tables_words() -> None:
    cost = Cost((10,), params=6_000_000, contents=FileContents(tensors=1))
    assert Budget(max_params=5e6, max_size=6e6, max_macs=1).check(cost).broke == "params>=5000000; size_bytes>=6000000"


def test_no_limit_fits_everything() -> None:
    verdict = Budget().check(COST)
    assert (verdict.ok, verdict.broke, verdict.limits, verdict.excess) == (True, "", (), -1.0)


@few(100)
@given(st.integers(1, 10**9), st.integers(1, 10**9))
def test_excess_is_the_largest_share_over_a_limit(params: int, macs: int) -> None:
    verdict = Budget(max_params=params, max_macs=macs).check(COST)
    assert verdict.excess == pytest.approx(max(COST.params / params, COST.macs / macs) - 1)
    assert verdict.ok == (verdict.excess < 0)


@pytest.mark.parametrize(("more", "ok"), [(-1, True), (-0.5, True), (0, False), (1, False)])
def test_a_lower_limit_is_strict_too(more: float, ok: bool) -> None:
    limit = COST.params + more
    verdict = Budget(min_params=limit).check(COST)
    assert verdict.ok is ok
    assert verdict.broke == ("" if ok else f"params<={plain(limit)}")
    assert (verdict.excess < 0) is ok
    both = Budget(max_params=COST.params + 5, min_params=limit)
    assert both.check(COST).ok is ok
    assert [check.lower for check in both.check(COST).limits] == [False, True]


@pytest.mark.parametrize("most", [1000, 999])
def test_limits_that_exclude_each_other_are_bad_input(most: int) -> None:
    with pytest.raises(InputError, match=rf"min_params = 1000: must be under max_params, {most}"):
        Budget(max_params=most, min_params=1000)


def test_a_study_carries_the_limits_that_are_set() -> None:
    assert Budget(max_params=5).to_dict() == {"max_params": 5, "size_dtype": "fp32"}
    assert Budget(max_params=5, max_size=None) == Budget(max_params=5)
    for budget in (Budget(max_params=5), Budget(min_params=5, max_macs=7)):
        assert Budget(**budget.to_dict()) == budget


@pytest.mark.parametrize("dtype", ["fp16", "bf16", "int8"])
def test_bytes_are_counted_at_the_size_dtype(dtype: str) -> None:
    verdict = Budget(max_size=1, max_activation=1, size_dtype=dtype).check(COST)
    assert [check.value for check in verdict.limits] == [COST.size_bytes(dtype), COST.peak_activation_bytes(dtype)]


@pytest.mark.parametrize("option", [*LIMITS, "min_params"])
@pytest.mark.parametrize("value", [0, -5, float("nan"), float("inf"), "5e6", True, []])
def test_what_is_no_limit_is_bad_input(option: str, value: object) -> None:
    with pytest.raises(InputError, match=f"{option} = .*must be a number above zero"):
        Budget(**{option: value})


def test_an_unknown_dtype_is_bad_input() -> None:
    with pytest.raises(InputError, match="'fp64'"):
        Budget(size_dtype="fp64")


@pytest.mark.parametrize(
    ("budget", "slug"),
    [
        (Budget(), "unlimited"),
        (Budget(max_params=5e6, max_size=6e6), "params5M-size6MB"),
        (Budget(max_macs=1.5e9, max_activation=2**20), "macs1.5G-act1048.576kB"),
        (Budget(max_params=78_043), "params78.043k"),
        (Budget(max_params=10), "params10"),
        (Budget(max_params=0.5), "params0.5"),
        (Budget(max_size=1e6, size_dtype="int8"), "size1MB-int8"),
        (Budget(max_params=5e6, min_params=1e6), "params5M-above1M"),
        (Budget(max_size=1e5, size_dtype="int8", size_format="litert"), "size100kB-litert-int8"),
        (Budget(max_size=1e5, size_format="onnx"), "size100kB-onnx"),
    ],
)
def test_slugs(budget: Budget, slug: str) -> None:
    assert budget.slug == slug


@few(200)
@given(st.integers(1, 10**13), st.integers(1, 10**13))
def test_different_limits_have_different_slugs_without_slashes(one: int, other: int) -> None:
    first, second = Budget(max_params=one).slug, Budget(max_params=other).slug
    assert (first == second) == (one == other)
    assert "/" not in first


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        (Budget(), "without a limit"),
        (Budget(max_params=5e6, max_size=6e6), "under 5,000,000 parameters and 6 MB (fp32)"),
        (
            Budget(max_macs=1e8, max_activation=1e6, size_dtype="int8"),
            "under 100,000,000 MACs and 1 MB of activations (int8)",
        ),
        (Budget(max_params=5e6, min_params=1e6), "under 5,000,000 parameters, above 1,000,000 parameters"),
        (Budget(min_params=1e6), "above 1,000,000 parameters"),
        (Budget(max_size=1e5, size_dtype="int8", size_format="litert"), "under 100 kB (LiteRT, int8)"),
        (
            Budget(max_size=1e5, max_activation=1e6, size_dtype="int8", size_format="onnx"),
            "under 100 kB (ONNX, int8) and 1 MB of activations (int8)",
        ),
    ],
)
def test_words(budget: Budget, words: str) -> None:
    assert budget.words == words


@pytest.mark.parametrize(("limit", "text"), [(5e6, "5000000"), (10, "10"), (0.5, "0.5"), (1e3 + 0.25, "1000.25")])
def test_plain_numbers(limit: float, text: str) -> None:
    assert plain(limit) == text


def test_bytes_are_counted_in_the_size_format() -> None:
    arch = load("ref:resnet-course-small").arch
    for dtype in ("fp32", "int8"):
        budget = Budget(max_size=1e5, size_dtype=dtype, size_format="litert")
        (check,) = budget.check(arch.cost).limits
        assert check.value == file_bytes(arch.cost, Written(dtype, "litert"))
        assert (check.name, check.ok) == ("size_bytes", dtype == "int8")
        assert Budget(**budget.to_dict()) == budget != Budget(max_size=1e5, size_dtype=dtype)
        at, label = next(iter(budget.edges.items()))
        assert (at, label) == (1e5 / {"fp32": 4, "int8": 1}[dtype], f"100 kB at LiteRT, {dtype}")
    assert "size_format" not in Budget(max_size=1e5).to_dict()


def test_a_format_that_has_no_such_precision_is_bad_input() -> None:
    with pytest.raises(InputError, match="ncnn files are counted at fp32, fp16, not at int8"):
        Budget(max_size=1e5, size_dtype="int8", size_format="ncnn")
    with pytest.raises(InputError, match="unknown size format 'tflite'"):
        Budget(size_format="tflite")
