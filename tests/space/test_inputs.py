"""The input as dims: sizes and colours drawn with the network, and what else they say."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import few

from archsearch import Arch, Budget, SearchSpace, search
from archsearch.errors import InputError, NothingFeasible, SpecError
from archsearch.evaluation import Report
from archsearch.network.layers import COLOURS, Shape
from archsearch.space import inputs, statistics
from archsearch.space.dims import Choice
from archsearch.space.domain import Domain
from archsearch.space.feasibility import check_feasible
from archsearch.space.reader import parse_space

REST = """
[stem]
type = "conv"
width = { choice = [4, 8] }
[[stage]]
block = "basic"
width = { int = [8, 24], step = 8 }
stride = 2
[head]
type = "linear"
"""
BOTH = '[input]\nsize = { choice = [8, 12] }\ncolour = { choice = ["grey", "rgb"] }\n' + REST
SPACE, PLAIN = parse_space(BOTH, "both"), parse_space(REST, "plain")


def of(table: str) -> SearchSpace:
    return parse_space(f"[input]\n{table}\n{REST}", "s")


def test_size_and_colour_are_dims_like_others() -> None:
    assert list(SPACE.dims)[:2] == ["input.size", "input.colour"]
    assert SPACE.dims["input.size"] == Choice((8, 12))
    asked: list[str] = []

    def ask(name: str, dim: object) -> object:
        asked.append(name)
        return {"input.size": 12, "input.colour": "grey", "stem.width": 4, "stage1.width": 16}[name]

    arch = SPACE.draw(ask, (3, 30, 20), 2)
    assert asked == list(SPACE.dims)
    assert arch.input_shape == (1, 12, 12)
    assert Arch.from_toml(arch.to_toml()) == arch


def test_the_same_layers_at_two_sizes_are_two_candidates_of_their_own_cost() -> None:
    small = PLAIN.random(random.Random(0), (3, 8, 8), 2)
    large = small.adapted((3, 12, 12), 2)
    assert small.expr() == large.expr()
    assert small.id != large.id
    assert small.cost.params == large.cost.params
    assert (small.cost.macs, small.cost.peak_activation_bytes("fp32")) < (
        large.cost.macs,
        large.cost.peak_activation_bytes("fp32"),
    )


@given(
    st.lists(st.integers(4, 40), min_size=1, max_size=4, unique=True),
    st.lists(st.sampled_from(sorted(COLOURS)), max_size=2, unique=True),
    st.integers(0, 1000),
)
@few(40)
def test_every_draw_has_one_of_the_shapes(sizes: list[int], colours: list[str], seed: int) -> None:
    space = of(f"size = {{ choice = {sizes} }}" + (f"\ncolour = {{ choice = {colours} }}" if colours else ""))
    space, largest = space.taking((3, 50, 50))
    domain = Domain(space, largest, 3)
    channels = [COLOURS[name] for name in colours] or [3]
    assert set(domain.shapes) == {(c, side, side) for c, side in product(channels, sizes)}
    assert largest == domain.shapes[-1] == (max(channels), max(sizes), max(sizes))
    assert (inputs.size_of(space.input), inputs.colour_of(space.input)) == (
        max(sizes),
        max(colours, key=lambda name: COLOURS[name]) if colours else None,
    )
    assert domain.random(random.Random(seed)).input_shape in domain.shapes
    assert statistics.architectures(space) == 6 * len(sizes) * max(1, len(colours))


def test_bare_values_hold_for_every_candidate_and_are_no_dims() -> None:
    space = of('size = 16\ncolour = "grey"')
    assert list(space.dims) == list(PLAIN.dims)
    assert Domain(space, (3, 30, 20), 2).shapes == ((1, 16, 16),)
    assert space.random(random.Random(0), (3, 30, 20), 2).input_shape == (1, 16, 16)
    ranged = of("size = { int = [8, 24], step = 8 }")
    assert [shape[1] for shape in Domain(ranged, (3, 24, 24), 2).shapes] == [8, 16, 24]


def test_a_table_without_the_input_changes_nothing() -> None:
    assert PLAIN.input == {}
    assert Domain(PLAIN, (3, 30, 20), 2).shapes == ((3, 30, 20),)
    arch = PLAIN.random(random.Random(0), (3, 30, 20), 2)
    assert arch.input_shape == (3, 30, 20)
    assert Domain(PLAIN, (3, 30, 20), 2).summary(arch) == arch.summary


def test_the_summary_says_what_is_searched_of_the_input() -> None:
    arch = Domain(SPACE, (3, 12, 12), 2).random(random.Random(0)).adapted((1, 12, 12), 2)
    assert Domain(SPACE, (3, 12, 12), 2).summary(arch) == f"12px grey | {arch.summary}"
    assert Domain(of("size = { choice = [8, 12] }"), (3, 12, 12), 2).summary(arch) == f"12px | {arch.summary}"
    assert Domain(of("size = 12"), (3, 12, 12), 2).summary(arch) == arch.summary


def test_sizes_go_before_those_of_the_space() -> None:
    assert SPACE.with_sizes(()) is SPACE
    assert SPACE.with_sizes((16, 32)).dims["input.size"] == Choice((16, 32))
    assert SPACE.with_sizes((16,)).input["size"] == 16
    assert next(iter(PLAIN.with_sizes((16, 32)).dims)) == "input.size"
    # In the order in which they are asked, whoever named them first.
    both = of('colour = { choice = ["grey", "rgb"] }').with_sizes((8, 9))
    assert list(both.dims)[:2] == ["input.size", "input.colour"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("size = 0", "input.size = 0: must be a whole number of pixels"),
        ("size = true", "input.size = True: must be a whole number"),
        ('size = { choice = [8, "9"] }', "input.size = '9': must be a whole number"),
        ("size = { int = [1, 64] }", "input.size: 64 values, at most 16: each is a copy of the images"),
        ("size = { float = [8.0, 9.0] }", "input.size: a float dim has no end of values"),
        ('colour = "gray"', "input.colour = 'gray': must be one of grey, rgb"),
        ('color = "grey"', "input: no key 'color' (did you mean 'colour'?)"),
        ("size = [8, 9]", "input.size: [8, 9] is neither a constant nor a dim"),
    ],
)
def test_faults_of_the_table_are_named(table: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        of(table)
    assert message in str(caught.value)


def test_the_budget_is_held_against_the_smallest_input() -> None:
    grey = SPACE.smallest(lambda arch: arch.cost.macs, (3, 12, 12), 2)[0]
    assert grey.input_shape == (1, 8, 8)
    domain = Domain(SPACE, (3, 12, 12), 2)
    check_feasible(domain, Budget(max_macs=grey.cost.macs + 1))
    with pytest.raises(NothingFeasible):
        check_feasible(domain, Budget(max_macs=grey.cost.macs))


SHAPES: list[tuple[SearchSpace, Shape | Sequence[Shape] | None, set[Shape]]] = [
    (PLAIN, (3, 9, 7), {(3, 9, 7)}),
    (PLAIN, [(3, 8, 8), (3, 12, 12)], {(3, 8, 8), (3, 12, 12)}),
    (PLAIN, [(1, 8, 8), (3, 8, 8)], {(1, 8, 8), (3, 8, 8)}),
    (SPACE, [(2, 10, 10), (2, 11, 11)], {(2, 10, 10), (2, 11, 11)}),
    (SPACE, None, {(c, side, side) for c in (1, 3) for side in (8, 12)}),
]


@pytest.mark.parametrize("sampler", ["pareto", "random"])
@pytest.mark.parametrize(("space", "wanted", "met"), SHAPES)
def test_a_search_meets_every_shape(
    space: SearchSpace, wanted: Shape | Sequence[Shape] | None, met: set[Shape], sampler: str
) -> None:
    seen = []

    def evaluate(arch: Arch, report: Report) -> float:
        seen.append(arch)
        return 1 - 1 / arch.cost.params

    found = search(
        space, evaluate=evaluate, input_shape=wanted, classes=2, budget=Budget(max_params=50_000), trials=24,
        sampler=sampler, progress=False,
    )  # fmt: skip
    assert {arch.input_shape for arch in seen} == met
    assert len({arch.id for arch in seen}) == len(seen)
    if len(met) > 1:
        assert all("px" in text or text.startswith(("grey", "rgb")) for text in found.trials.summary)


@pytest.mark.parametrize(
    ("space", "wanted", "message"),
    [
        (PLAIN, None, "space 'plain' says no input size and colour: give input_shape"),
        (of("size = 8"), None, "says no input colour"),
        (PLAIN, [(3, 8, 8), (3, 8, 9)], r"input shapes \(3, 8, 8\), \(3, 8, 9\): must be square"),
        (PLAIN, [(1, 8, 8), (3, 9, 9)], "every size once with 1 and once with 3"),
        (PLAIN, [(2, 8, 8), (3, 8, 8)], "every size once with 1 and once with 3"),
    ],
)
def test_shapes_that_are_no_dims_are_refused(space: SearchSpace, wanted: Sequence[Shape] | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        space.taking(wanted)


def test_shapes_in_words() -> None:
    assert inputs.words([(3, 8, 8)]) == "3x8x8"
    assert inputs.words([(1, 8, 8), (3, 8, 8), (3, 9, 9)]) == "1x8x8, 3x8x8 or 3x9x9"
    assert inputs.words([(1, side, side) for side in range(1, 7)]) == "1x1x1 to 1x6x6"
