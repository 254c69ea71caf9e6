"""Trainings that go by a metric: what is reported, what stops them, and which images leave it undefined."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from toys import CPU, toy, untouchable
from whole import normalised

from archsearch import Arch
from archsearch.data import Dataset
from archsearch.errors import InputError, TrainingFailed
from archsearch.metrics import metric_of
from archsearch.network.recipe import Recipe
from archsearch.network.stage import Part, Stage
from archsearch.training import validation
from archsearch.training.data import TrainingData
from archsearch.training.fit import Trained, fit
from archsearch.training.judging import default_metric, metric_for, metric_for_test, require_judged, validation_labels
from archsearch.training.setup import TrainingSetup
from archsearch.training.trainer import Trainer

ARCH = Arch((1, 8, 8), 2, Part("conv", (("width", 4),)), (Stage("nin", 8, stride=2),), Part("linear"))
Metrics = dict[str, float]


def rare(count: int = 120) -> Dataset:
    """Two classes, one in six of the second, brighter one."""
    data = toy(count)
    labels = (torch.arange(count) % 6 == 0).long()
    pixels = data.images.subset(torch.arange(count))
    values = torch.cat(list(pixels.chunks())) // 2 + (60 * labels)[:, None, None, None].to(torch.uint8)
    return replace(data, images=type(pixels).of(values), labels=labels)


def trained(data: TrainingData, name: str, **recipe: Any) -> tuple[Trained, list[tuple[float, Metrics]]]:
    told: list[tuple[float, Metrics]] = []
    setup = TrainingSetup(data, Recipe(**{"epochs": 3, **recipe}), metric=metric_for(name, data.dataset))
    done = fit(ARCH, setup, lambda epoch, value, metrics=None: told.append((value, dict(metrics or {}))))
    return done, told


def test_the_score_is_the_metric_of_the_validation_images() -> None:
    data = TrainingData.of(rare(), 0, CPU)
    done, told = trained(data, "balanced-accuracy")
    labels = data.validation.labels
    with torch.no_grad():
        answers = done.module(normalised(data.validation)).argmax(1)
    assert done.score == told[-1][0] == pytest.approx(balanced_accuracy_score(labels, answers))
    assert done.accuracy == done.metrics["val_accuracy"] == pytest.approx(float((answers == labels).float().mean()))
    assert list(told[-1][1]) == ["train_loss", "learning_rate", "val_loss", "val_accuracy"]


def test_ranks_are_those_of_the_outputs() -> None:
    data = TrainingData.of(rare(), 0, CPU)
    done, _ = trained(data, "macro-auroc")
    with torch.no_grad():
        shares = done.module(normalised(data.validation)).double().softmax(1)[:, 1]
    assert done.score == pytest.approx(roc_auc_score(data.validation.labels, shares))


def test_a_metric_changes_what_is_said_and_nothing_that_is_learnt() -> None:
    data = TrainingData.of(rare(), 0, CPU)
    (plain, first), (other, second) = (trained(data, name) for name in ("accuracy", "macro-f1"))
    assert [value for value, _ in first] == [metrics["val_accuracy"] for _, metrics in second]
    assert all("val_accuracy" not in metrics for _, metrics in first)
    assert [metrics["val_loss"] for _, metrics in first] == [metrics["val_loss"] for _, metrics in second]
    weights = zip(plain.module.state_dict().values(), other.module.state_dict().values(), strict=True)
    assert all(torch.equal(one, two) for one, two in weights)


def test_patience_goes_by_the_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([0.5, 0.7, 0.6, 0.6, 0.9])
    monkeypatch.setattr(validation, "_scored", lambda *_: next(values))
    _, told = trained(TrainingData.of(rare(), 0, CPU), "macro-f1", epochs=5, patience=2)
    assert [value for value, _ in told] == [0.5, 0.7, 0.6, 0.6]


def test_outputs_that_are_no_numbers_fail_before_they_are_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "accuracy_and_loss", lambda *_: (0.0, float("nan")))
    with pytest.raises(TrainingFailed, match="outputs for validation images are not finite in epoch 1"):
        trained(TrainingData.of(rare(), 0, CPU), "macro-auroc")


def test_a_trainer_says_both() -> None:
    data = TrainingData.of(rare(), 0, CPU)
    setup = TrainingSetup(data, Recipe(epochs=1), metric=metric_for("cohen-kappa", data.dataset))
    found = Trainer(setup)(ARCH, lambda *_: None)
    assert -1 <= found.score <= 1
    assert 0 <= found.metrics["val_accuracy"] <= 1


def test_what_is_maximised_where_nobody_says() -> None:
    assert default_metric(toy()) == "accuracy"
    assert default_metric(replace(toy(), labels=torch.zeros(40, 2, dtype=torch.bool))) == "macro-auroc"


def test_accuracy_is_no_metric_of_its_own() -> None:
    assert metric_for("accuracy", toy()) is None
    assert metric_for("macro-f1", toy()) == metric_of("macro-f1", ["a", "b"])
    require_judged("accuracy", replace(toy(), labels=torch.zeros(40, dtype=torch.int64)), 0)


@pytest.mark.parametrize("seed", range(4))
def test_labels_are_those_of_the_validation_images(seed: int) -> None:
    data = rare()
    assert torch.equal(validation_labels(data, seed), data.parts(seed)[1][1])
    own = replace(data, validation=(data.images.subset(torch.arange(9)), data.labels[:9]))
    assert torch.equal(validation_labels(own, seed), data.labels[:9])


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("macro-f1", "--metric macro-f1: not defined, the validation images have none of class 'b'"),
        ("recall:c", "there is no class 'c'"),
    ],
)
def test_what_validation_images_leave_undefined_is_refused(name: str, told: str) -> None:
    labels = torch.zeros(40, dtype=torch.int64)
    labels[0] = 1  # the only one of its class is trained on
    with pytest.raises(InputError, match=told):
        require_judged(name, replace(toy(), labels=labels), 0)


def test_test_labels_are_looked_at_where_they_are_known() -> None:
    data = replace(rare(), read_test=untouchable)
    assert metric_for_test("macro-f1", data) == metric_for("macro-f1", data)
    known = replace(data, test_labels=torch.zeros(7, dtype=torch.int64))
    assert metric_for_test("accuracy", known) is None
    with pytest.raises(InputError, match="the test images have none of class 'b'"):
        metric_for_test("macro-f1", known)
