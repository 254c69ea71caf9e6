"""ParetoSampler in the ways of Optuna's own: saved, copied, partly fixed, and at the end of a space."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections import Counter
from typing import Any

import optuna
import pytest
from optuna.distributions import IntDistribution
from optuna.samplers import BaseSampler, PartialFixedSampler
from optuna.trial import TrialState

from archsearch.errors import NothingFeasible, SpaceExhausted
from archsearch.sampler import ParetoSampler

optuna.logging.set_verbosity(optuna.logging.ERROR)
DIMS = {"a": IntDistribution(1, 4), "b": IntDistribution(1, 4)}
FIT = 12
"""Pairs of 1 to 4 with a product below 9."""


def cost(params: dict[str, Any]) -> float:
    return float(params["a"] * params["b"])


def score(trial: optuna.Trial) -> tuple[float, float]:
    a, b = trial.suggest_int("a", 1, 4), trial.suggest_int("b", 1, 4)
    return a / 10 - b / 30, a * b


def sampler(**options: Any) -> ParetoSampler:
    return ParetoSampler(DIMS, cost, 9, start=3, **options)


def study_with(used: BaseSampler) -> optuna.Study:
    return optuna.create_study(directions=["maximize", "minimize"], sampler=used)


def fixed(values: dict[str, Any], inner: BaseSampler) -> PartialFixedSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return PartialFixedSampler(values, inner)


def distinct(study: optuna.Study) -> set[tuple[Any, ...]]:
    return {tuple(sorted(trial.params.items())) for trial in study.trials if trial.params}


@pytest.mark.parametrize("again", [lambda s: pickle.loads(pickle.dumps(s)), copy.deepcopy], ids=["pickle", "copy"])
def test_a_copy_proposes_what_the_sampler_would(again: Any) -> None:
    used = sampler()
    study, twin = study_with(used), study_with(used)
    study.optimize(score, n_trials=5)
    twin.add_trials(study.trials)
    study.sampler, twin.sampler = again(used), again(again(used))
    for one in (study, twin):
        one.optimize(score, n_trials=3)
    assert [trial.params for trial in study.trials] == [trial.params for trial in twin.trials]
    assert len(distinct(study)) == 8


def test_what_is_fixed_is_proposed_for() -> None:
    """Each value of `b` that fits beside the fixed `a`, once; the sampler's dims stay whole."""
    used = sampler()
    study = study_with(used)
    study.optimize(score, n_trials=4)
    before = distinct(study)
    study.sampler = fixed({"a": 2}, used)
    study.optimize(score, n_trials=50)
    assert distinct(study) - before == {(("a", 2), ("b", b)) for b in range(1, 5)} - before
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE}
    study.sampler = used
    study.optimize(score, n_trials=50)
    assert len(study.trials) == len(distinct(study)) == FIT


def test_what_is_fixed_and_what_is_enqueued() -> None:
    study = study_with(fixed({"a": 2}, sampler()))
    study.enqueue_trial({"b": 3})
    study.optimize(score, n_trials=1)
    assert study.trials[0].params == {"a": 2, "b": 3}


def test_fixed_values_that_fit_no_budget() -> None:
    study = study_with(fixed({"a": 4}, ParetoSampler(DIMS, cost, 4, start=3)))
    with pytest.raises(NothingFeasible, match="smallest cost found is 4"):
        study.ask(DIMS)


@pytest.mark.parametrize("given", [None, [{"a": 1, "b": 2}, {"a": 2, "b": 2}, {"a": 2, "b": 4}]])
def test_a_fixed_dim_among_given_candidates(given: list[dict[str, int]] | None) -> None:
    study = study_with(fixed({"a": 2}, sampler(candidates=given)))
    study.optimize(score, n_trials=50)
    wanted = range(1, 5) if given is None else (2, 4)
    assert distinct(study) == {(("a", 2), ("b", b)) for b in wanted}


def test_an_exhausted_space_ends_optimize() -> None:
    study = study_with(sampler())
    study.optimize(score, n_trials=100)
    assert len(study.trials) == len(distinct(study)) == FIT
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE}


@pytest.mark.parametrize("jobs", [2, 8])
def test_an_exhausted_space_ends_optimize_with_threads(jobs: int) -> None:
    study = study_with(sampler())
    study.optimize(score, n_trials=100, n_jobs=jobs)
    found = Counter(trial.state for trial in study.trials)
    assert found.pop(TrialState.COMPLETE) == len(distinct(study)) == FIT
    assert found.keys() <= {TrialState.PRUNED}
    assert found.total() < jobs


def test_a_space_that_was_never_listed_ends_too() -> None:
    """10,000 candidates, of which five fit."""
    dims = {f"d{i}": IntDistribution(0, 9) for i in range(4)}
    study = study_with(ParetoSampler(dims, lambda params: 1 + sum(params.values()), 3, start=3))
    study.optimize(lambda trial: (-sum(trial.suggest_int(name, 0, 9) for name in dims), 1.0), n_trials=50)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 5


def test_what_is_enqueued_is_trained_before_the_end() -> None:
    study = study_with(sampler())
    study.optimize(score, n_trials=FIT - 1)
    study.enqueue_trial({"a": 4, "b": 4})
    study.enqueue_trial({"a": 3, "b": 4})
    study.optimize(score, n_trials=50)
    assert len(distinct(study)) == FIT + 2


def test_asked_for_more_than_there_is() -> None:
    study = study_with(sampler())
    study.optimize(score, n_trials=100)
    with pytest.raises(SpaceExhausted):
        study.ask(DIMS)
    study.optimize(score, n_trials=5)
    assert [trial.state for trial in study.trials[FIT:]] == [TrialState.FAIL, TrialState.PRUNED]
