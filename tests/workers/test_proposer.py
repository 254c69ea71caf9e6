"""Where samplers draw: every sampler answers within the dims, repeats itself, and takes a history."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from archsearch import Arch, Budget
from archsearch.errors import InputError
from archsearch.sampler.space import Space
from archsearch.space.dims import Choice, Float, Int
from archsearch.space.domain import Domain
from archsearch.space.reader import parse_space
from archsearch.study.observers import Counts
from archsearch.study.records import Record, distribution
from archsearch.workers.ledger import Ledger
from archsearch.workers.proposer import SAMPLERS, Draft, _Sizes

SPACE = parse_space(
    """
    [stem]
    type = "conv"
    width = { int = [4, 12], step = 2 }
    [[stage]]
    block = { choice = ["basic", "nin"] }
    width = { int = [2, 64], log = true }
    [stage.nin]
    points = { int = [1, 3] }
    [head]
    type = "linear"
    [train]
    lr = { float = [0.01, 1.0], log = true }
    """,
    "mixed",
)
SHAPE, CLASSES = (1, 8, 8), 10


def make(sampler: str, seed: int = 0, history: Any = (), limit: float = 1e9) -> Draft:
    budget = Budget(max_params=limit)
    return Draft(sampler, seed, list(history), Domain(SPACE, SHAPE, CLASSES), Ledger(budget, Counts(), set()))


def ask(draft: Draft) -> tuple[Any, Arch]:
    draw, answer = draft.ask()
    return draw, SPACE.draw(answer, SHAPE, CLASSES)


def finish(draft: Draft, draw: Any, arch: Arch, accuracy: float = 0.5, state: str = "complete") -> None:
    cost = arch.cost
    draft.finish(draw, Record(arch.id, accuracy, cost.params, cost.size_bytes("fp32"), cost.macs, 1, 2, 0.1, -1, 0,
                              arch.summary, state, "", [[1, accuracy], [2, accuracy]]))  # fmt: skip


def several(draft: Draft, count: int = 13) -> list[str]:
    """Ids of a few draws, some of which are finished, stopped, rejected or dropped."""
    found = []
    for i in range(count):
        draw, arch = ask(draft)
        found.append(arch.id)
        if i % 4 == 1 and not draft.judges:
            draft.reject(draw, arch.cost.params, 0.5)
        elif i % 4 == 2:
            draft.drop(draw)
        else:
            finish(draft, draw, arch, int(arch.id[:3], 16) / 4096, "stopped" if i % 4 == 3 else "complete")
    return found


def test_the_contracts_samplers() -> None:
    assert set(SAMPLERS) == {"pareto", "tpe", "nsga2", "random"}


def test_an_unknown_sampler_is_named_with_what_there_is() -> None:
    with pytest.raises(InputError, match="unknown sampler 'magic': use one of pareto, tpe, nsga2, random"):
        make("magic")


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_answers_lie_in_the_dims_and_only_active_ones_are_asked(sampler: str) -> None:
    draft = make(sampler)
    for _ in range(6):
        draw, arch = ask(draft)
        assert ("stage1.nin.points" in draw.params) == (draw.params["stage1.block"] == "nin")
        assert set(draw.params) == set(draw.distributions)
        for name, value in draw.params.items():
            assert draw.distributions[name] == distribution(SPACE.dims[name])
            assert draw.distributions[name]._contains(draw.distributions[name].to_internal_repr(value))
        finish(draft, draw, arch)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_same_seed_draws_the_same(sampler: str) -> None:
    assert several(make(sampler, 4)) == several(make(sampler, 4))


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_another_seed_and_a_longer_history_draw_otherwise(sampler: str) -> None:
    draft = make(sampler, 4)
    first = several(draft)
    assert several(make(sampler, 5)) != first
    history = [trial for trial in draft._study.get_trials() if trial.state.is_finished()]
    resumed = several(make(sampler, 4, history), 5)
    assert resumed != first[:5]


def test_random_draws_repeat_themselves() -> None:
    def draws(seed: int) -> list[str]:
        draft = make("random", seed)
        return [SPACE.draw(draft.ask_random()[1], SHAPE, CLASSES).id for _ in range(5)]

    assert draws(1) == draws(1)
    assert draws(1) != draws(2)


def test_pareto_proposes_nothing_over_budget_and_nothing_twice() -> None:
    draft = make("pareto", limit=1500)
    rng = random.Random(0)
    seen = set()
    for _ in range(8):
        draw, arch = ask(draft)
        assert arch.cost.params < 1500
        assert arch.id not in seen
        seen.add(arch.id)
        finish(draft, draw, arch, rng.random())


def test_pareto_knows_the_work_of_what_fits_and_of_what_does_not() -> None:
    budget = Budget(max_params=2_000)
    asked: list[str] = []

    def training_cost(arch: Arch) -> float:
        asked.append(arch.id)
        return 7.0 + arch.cost.macs

    sizes = _Sizes(Domain(SPACE, SHAPE, CLASSES), Ledger(budget, Counts(), set()), training_cost)
    space = Space({name: distribution(dim) for name, dim in SPACE.dims.items()})
    fits = []
    for seed in range(40):
        params = space.draw(np.random.default_rng(seed))
        cost = sizes.domain.arch(params).cost
        fits.append(budget.check(cost).ok)
        if fits[-1]:
            assert sizes.cost(params) == cost.params
        assert sizes.macs(params) == cost.macs
        before = len(asked)
        assert sizes.training_cost(params) == 7 + cost.macs
        assert len(asked) == before + (not fits[-1])  # of what fits it is known already
    assert 0 < sum(fits) < 40


def test_a_rejected_draw_teaches_a_stock_sampler() -> None:
    """A sampler that is told of excesses asks for smaller widths than one that is not."""

    def widths(limit: float) -> float:
        draft, later = make("tpe", 0), []
        for i in range(26):
            draw, arch = ask(draft)
            if arch.cost.params >= limit:
                draft.reject(draw, arch.cost.params, arch.cost.params / limit - 1)
            else:
                finish(draft, draw, arch, 0.5 + arch.cost.params / 1e6)
            if i >= 16:
                later.append(int(draw.params["stage1.width"]))
        return sum(later) / len(later)

    assert widths(800) < widths(1e9)


def test_distributions() -> None:
    assert distribution(Int(2, 8, step=2)).step == 2
    assert distribution(Int(2, 8, log=True)).log
    assert distribution(Float(0.1, 1.0, log=True)).high == 1.0
    assert distribution(Choice(("a", 1, True))).choices == ("a", 1, True)
