"""A limit on what is measured: what a budget says of it, and what it leaves to the clock."""

from __future__ import annotations

import pytest

from archsearch.errors import InputError
from archsearch.network import zoo
from archsearch.network.budget import Budget
from archsearch.network.limits import LATENCY, LIMITS, measures
from archsearch.network.timing import Timing

COST = zoo.load("lenet5").arch.cost


def test_a_cost_alone_says_nothing_of_milliseconds() -> None:
    budget = Budget(max_params=1e6, max_latency=5)
    assert [check.name for check in budget.check(COST).limits] == ["params"]
    assert budget.check(COST).ok
    assert [limit.option for limit, _ in budget.exact] == ["max_params"]
    assert LATENCY not in measures(COST, budget.written)


@pytest.mark.parametrize(("value", "broke"), [(4.999, ""), (5.0, "latency_ms>=5"), (float("inf"), "latency_ms>=5")])
def test_what_is_measured_joins_the_verdict(value: float, broke: str) -> None:
    verdict = Budget(max_params=1e6, max_latency=5).check(COST, {LATENCY: value})
    assert [check.name for check in verdict.limits] == ["params", "latency_ms"]
    assert (verdict.ok, verdict.broke) == (not broke, broke)
    assert (verdict.excess >= 0) == bool(broke)


def test_words_and_names() -> None:
    budget = Budget(max_params=5e6, max_latency=0.8, timing=Timing("litert", "int8", 2, "ssh pi m {file}"))
    assert budget.slug == "params5M-latency0.8ms-litert-int8-2threads-elsewhere"
    words = "under 5,000,000 parameters and 0.8 ms (LiteRT, int8, 2 threads, by ssh pi m {file})"
    assert budget.words == words
    assert Budget(max_latency=5).slug == "latency5ms"
    assert Budget(max_latency=5).words == "under 5 ms (ONNX Runtime, fp32, 1 thread)"
    assert Budget(max_latency=5).edges == {}


def test_plain_values_and_back() -> None:
    budget = Budget(max_latency=5, timing=Timing(machine="some machine"))
    assert budget.to_dict()["timing"]["machine"] == "some machine"
    assert Budget(**budget.to_dict()) == budget
    assert Budget(max_params=5, timing=Timing("litert")) == Budget(max_params=5)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"runtime": "tensorrt"}, "unknown runtime 'tensorrt': use one of onnxruntime, litert, executorch"),
        ({"runtime": "executorch", "precision": "fp16"}, "executorch files are written at fp32, int8, not at 'fp16'"),
        ({"threads": 0}, "threads = 0: must be at least 1"),
    ],
)
def test_what_is_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Budget(max_latency=5, timing=values)


def test_no_cost_tells_milliseconds() -> None:
    limit = next(limit for limit in LIMITS if limit.measured)
    with pytest.raises(InputError, match="measured: no cost tells them"):
        limit.of(COST, Budget().written)
    assert limit.words(0.3141) == "0.314 ms"
