"""What the parent and its workers say to each other, and the counts of all of them together."""

from __future__ import annotations

import pickle
from dataclasses import replace
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest
import torch

from archsearch import Arch, Budget
from archsearch.data import load_dataset
from archsearch.errors import StopTraining, StudyError, TrainingFailed
from archsearch.evaluation import Evaluation
from archsearch.space.reader import load_space
from archsearch.study.observers import Counts
from archsearch.study.records import Reject
from archsearch.training.data import TrainingData
from archsearch.training.memory import PROCESS_BYTES, training_bytes, workers_that_fit
from archsearch.training.setup import TrainingSetup
from archsearch.workers import jobs
from archsearch.workers.run import configure
from archsearch.workers.supervisor import Tally
from archsearch.workers.worker import Messages, difference, estimate, guarded


def reject(arch: str, broke: str = "params>=10") -> Reject:
    return Reject(arch, 11, 12, 13, broke)


def test_counts_of_several_workers_are_sums_and_a_reject_is_one() -> None:
    tally = Tally(Counts(checked=5, over_budget=2, broke={"params": 2}), ["known"])
    new = tally.add(Counts(checked=4, over_budget=2, broke={"params": 2, "macs": 1}), [
        reject("a" * 12, "params>=10; macs>=3"), reject("b" * 12),
    ])  # fmt: skip
    assert [row.arch for row in new] == ["a" * 12, "b" * 12]
    new = tally.add(Counts(checked=4, over_budget=3, duplicates=1, broke={"params": 3, "macs": 1}), [
        reject("a" * 12, "params>=10; macs>=3"), reject("c" * 12), reject("known"),
    ])  # fmt: skip
    assert [row.arch for row in new] == ["c" * 12]
    assert tally.counts == Counts(checked=13, over_budget=5, duplicates=3, broke={"params": 5, "macs": 1})


def test_rejects_without_a_network_have_no_id_to_be_known_by() -> None:
    tally = Tally(Counts(), [])
    nothing = Reject("", None, None, None, "no network: too small")
    delta = Counts(checked=1, over_budget=1, broke={"no network": 1})
    assert tally.add(delta, [nothing]) == tally.add(delta, [nothing]) == [nothing]
    assert tally.counts.over_budget == 2


def test_a_difference_of_counts_adds_up_again() -> None:
    old = Counts(checked=5, over_budget=2, duplicates=1, trained=1, broke={"params": 2})
    new = Counts(checked=9, over_budget=4, duplicates=1, trained=2, failed=1, broke={"params": 3, "macs": 1})
    tally = Tally(old, [])
    tally.add(difference(new, old), [])
    assert (tally.counts.checked, tally.counts.over_budget, tally.counts.broke) == (9, 4, {"params": 3, "macs": 1})


ARCH: Any = None


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("a\nb"), "ValueError: a"),
        (KeyError("x"), "KeyError: 'x'"),
        (MemoryError(), "MemoryError: "),
        (AssertionError("no"), "AssertionError: no"),
    ],
)
def test_every_error_of_a_training_is_a_failed_one(error: Exception, reason: str) -> None:
    def evaluate(arch: Arch, report: Any) -> float:
        raise error

    with pytest.raises(TrainingFailed) as caught:
        guarded(evaluate)(ARCH, lambda *_: None)
    assert str(caught.value) == reason


@pytest.mark.parametrize("error", [StopTraining("rung"), StudyError("database"), ValueError("ours"), OSError("pipe")])
def test_errors_of_the_search_itself_go_through(error: Exception) -> None:
    def evaluate(arch: Arch, report: Any) -> float:
        report(1, 0.5)
        return 1.0

    def report(epoch: int, accuracy: float, metrics: object = None) -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        guarded(evaluate)(ARCH, report)
    assert caught.value is error


def test_a_guarded_evaluation_hands_on_what_was_measured() -> None:
    found = Evaluation(0.75, {"step_seconds": 1.5})
    assert guarded(lambda arch, report: found)(ARCH, lambda *_: None) is found
    assert guarded(lambda arch, report: 0.5)(ARCH, lambda *_: None) == 0.5


def test_a_training_that_breaks_keeps_what_was_measured() -> None:
    def evaluate(arch: Arch, report: Any) -> float:
        raise ValueError("no")

    found = Evaluation(float("nan"), {"step_seconds": 1.5}, before=2.0)
    with pytest.raises(TrainingFailed) as caught:
        guarded(evaluate, lambda: found)(ARCH, lambda *_: None)
    assert caught.value.evaluation is found
    assert pickle.loads(pickle.dumps(caught.value)).evaluation.usage == found.usage
    with pytest.raises(TrainingFailed) as caught:
        guarded(evaluate)(ARCH, lambda *_: None)
    assert caught.value.evaluation.usage == {}


def test_errors_on_purpose_survive_the_way_to_the_parent() -> None:
    for error in (StudyError("one line"), TrainingFailed("x"), OSError(28, "No space left on device", "f")):
        assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_predicted_memory_grows_with_everything_that_takes_some() -> None:
    import random

    space = load_space("resnin")
    rng = random.Random(0)
    archs = sorted((space.random(rng, (3, 32, 32), 10) for _ in range(5)), key=lambda arch: arch.cost.params)
    small, large = archs[0], archs[-1]
    assert PROCESS_BYTES < training_bytes(small, 1) < training_bytes(small, 128) < training_bytes(small, 128, 1e9)
    assert training_bytes(large, 1) - PROCESS_BYTES >= 16 * large.cost.params
    assert training_bytes(small, 256) - training_bytes(small, 128) >= 128 * 2 * small.cost.peak


@pytest.mark.parametrize(
    ("predicted", "free", "cores", "workers"),
    [([1e9, 3e9], 10e9, 16, 4), ([1e9], 1e12, 16, 16), ([9e9], 8e9, 16, 1), ([1e9], 5e9, 2, 2)],
)
def test_as_many_workers_as_fit_and_no_more_than_cores(
    predicted: list[float], free: float, cores: int, workers: int
) -> None:
    assert workers_that_fit(predicted, free, cores) == workers


def test_auto_takes_four_workers_on_a_gpu_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "cores", lambda: 16)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (1e12, 1e12))
    data = TrainingData.of(load_dataset("digits"), 0, torch.device("cpu"))
    asked = configure(Budget(max_params=1e5), data.dataset), data, torch.device("cuda")
    assert jobs.workers_of(0, *asked) == 4
    assert jobs.workers_of(9, *asked) == 9


def test_the_estimate_is_made_for_a_candidate_inside_the_budget() -> None:
    config = configure(Budget(max_params=1e5, max_macs=1e6), load_dataset("digits"))
    arch = jobs.median_candidate(config)
    assert arch is not None
    assert config.budget.check(arch.cost).ok
    hopeless = configure(Budget(max_params=5), load_dataset("digits"))
    assert jobs.median_candidate(hopeless) is None


def test_only_the_first_worker_makes_it() -> None:
    job = jobs.Job("sqlite://", "s", Path(), "digits", Path(), "cpu", references=True)
    assert [each.estimates for each in jobs.jobs_of(job, 3)] == [True, False, False]


def test_a_network_that_cannot_be_trained_has_no_estimate() -> None:
    data = TrainingData.of(load_dataset("digits"), 0, torch.device("cpu"))
    config = configure(Budget(max_params=1e5), data.dataset)
    mine, its = Pipe()
    messages = Messages(its)
    setup = TrainingSetup(data, config.recipe.with_values({"cutout": 100}))
    estimate(config, setup, messages)
    assert not mine.poll()
    estimate(config, replace(setup, recipe=config.recipe), messages)
    kind, arch, seconds = mine.recv()
    assert kind == "estimate"
    assert arch == jobs.median_candidate(config)
    assert seconds > 0
