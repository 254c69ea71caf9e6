"""How long a training takes: the arithmetic with a clock of our own, and that nothing is changed by measuring."""

import itertools
from types import SimpleNamespace

import pytest
import torch

from archsearch.data import load_dataset
from archsearch.network.arch import Arch
from archsearch.network.recipe import Recipe
from archsearch.training import estimate
from archsearch.training.data import TrainingData
from archsearch.training.fit import fit
from archsearch.training.setup import TrainingSetup

ARCH = """
input = [1, 8, 8]
classes = 10
stem = { type = "conv", width = 4 }
head = { type = "linear" }
[[stage]]
block = "basic"
width = 4
depth = 1
"""


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return TrainingData.of(load_dataset("digits"), 0, torch.device("cpu"))


def setup_of(data: TrainingData, **recipe: object) -> TrainingSetup:
    return TrainingSetup(data, Recipe().with_values({"batch_size": 100, **recipe}))


def clock(monkeypatch: pytest.MonkeyPatch, step: float) -> list[float]:
    """Every look at the clock finds it `step` later."""
    looks: list[float] = []
    times = itertools.count(step=step)
    monkeypatch.setattr(estimate, "time", SimpleNamespace(perf_counter=lambda: looks.append(0) or next(times)))
    return looks


@pytest.mark.parametrize(("scale", "work"), [(1.0, 6), (0.5, 2 * (1 / 4 + 9 / 16 + 1))])
def test_steps_and_evaluations_of_all_epochs_are_counted(
    data: TrainingData, monkeypatch: pytest.MonkeyPatch, scale: float, work: float
) -> None:
    clock(monkeypatch, 0.4)  # a step of eight images takes 0.4 s: enough to believe it
    monkeypatch.setattr(estimate, "shapes", lambda *_: [(1, 4, 4)] * 2 + [(1, 6, 6)] * 2 + [(1, 8, 8)] * 2
                        if scale < 1 else [(1, 8, 8)] * 6)  # fmt: skip
    seconds = estimate.training_seconds(Arch.from_toml(ARCH), setup_of(data, epochs=6))
    images = len(data.train) + (len(data.validation) + len(data.train) // 4) / 3
    assert seconds == pytest.approx(work * images * 0.4 / 8)


@pytest.mark.parametrize(("step", "steps"), [(0.4, 1), (0.01, 3)])
def test_larger_batches_are_tried_while_a_step_is_fast(
    data: TrainingData, monkeypatch: pytest.MonkeyPatch, step: float, steps: int
) -> None:
    looks = clock(monkeypatch, step)
    estimate.training_seconds(Arch.from_toml(ARCH), setup_of(data, epochs=1))
    assert len(looks) == 2 * steps


def test_a_training_is_the_same_after_it(data: TrainingData) -> None:
    arch, setup, reports = Arch.from_toml(ARCH), setup_of(data, epochs=2), []
    for before in (lambda: None, lambda: estimate.training_seconds(arch, setup)):
        before()
        fit(arch, setup, lambda epoch, accuracy, metrics=None: reports.append((epoch, accuracy)))
    assert reports[:2] == reports[2:]


def test_a_training_costs_by_its_work_on_a_cpu_and_elsewhere_nobody_knows() -> None:
    small = Arch.from_toml(ARCH)
    large = Arch.from_toml(ARCH.replace("width = 4", "width = 64"))
    cost = estimate.training_cost(torch.device("cpu"))
    assert cost is not None
    assert cost(large) - cost(small) == large.cost.macs - small.cost.macs > 0
    assert cost(small) > 10 * small.cost.macs  # of the smallest, most is what every image takes
    assert estimate.training_cost(torch.device("cuda")) is None
