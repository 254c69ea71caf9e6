"""Several labels per image: the loss, what validation measures, and what files say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from chest import NAMES, chest_arrays
from torch import nn
from torch.nn import functional

from archsearch.data import Augmentation, Dataset, DeviceData, epoch
from archsearch.data.pixels import Pixels
from archsearch.errors import SpecError
from archsearch.metrics.thresholds import best_thresholds
from archsearch.network.arch import Arch
from archsearch.network.recipe import Recipe
from archsearch.network.stage import Part, Stage
from archsearch.nn import weights
from archsearch.nn.build import build
from archsearch.training.data import TrainingData
from archsearch.training.fit import fit
from archsearch.training.loss import loss_of
from archsearch.training.setup import TrainingSetup
from archsearch.training.several import SeveralLoss, about, right_answers
from archsearch.training.step import Step
from archsearch.training.validation import accuracy_and_loss

CPU = torch.device("cpu")
ARCH = Arch((1, 28, 28), 14, Part("conv", (("width", 8),)), (Stage("basic", 12, 1, 2),), Part("linear"))


def dataset(train: int = 300, other: int = 60) -> Dataset:
    arrays = chest_arrays(train, other)
    images, labels = ({part: arrays[f"{part}_{kind}"] for part in ("train", "val")} for kind in ("images", "labels"))
    pixels = {part: Pixels.of(torch.from_numpy(some[:, None])) for part, some in images.items()}
    flags = {part: torch.from_numpy(some.astype(bool)) for part, some in labels.items()}
    own = pixels["val"], flags["val"]
    return Dataset("made", NAMES, pixels["train"], flags["train"], own, False, lambda: own)


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return TrainingData.of(dataset(), 0, CPU)


def some(count: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 5, generator=generator), torch.rand(count, 5, generator=generator) < 0.3


def test_the_loss_is_a_sum_over_labels() -> None:
    logits, labels = some()
    each = functional.binary_cross_entropy_with_logits(logits, labels.float(), reduction="none")
    assert SeveralLoss()(logits, labels) == pytest.approx(float(each.sum(1).mean()), rel=1e-6)
    assert SeveralLoss()(logits, labels.float()) == SeveralLoss()(logits, labels)
    assert SeveralLoss().of_guessing(5) == pytest.approx(float(SeveralLoss()(torch.zeros(1, 5), labels[:1])))
    heavy = torch.tensor([1.0, 2, 3, 4, 5])
    weighed = SeveralLoss(weights=heavy)(logits, labels)
    assert weighed == pytest.approx(float((each * heavy).sum(1).mean()), rel=1e-6)
    balanced = SeveralLoss(positives=heavy)(logits, labels)
    assert balanced == pytest.approx(float((each * torch.where(labels, heavy, 1.0)).sum(1).mean()), rel=1e-6)
    worst = SeveralLoss(heavy, heavy)
    assert worst.of_guessing(5) == pytest.approx(float(worst(torch.zeros(1, 5), torch.ones(1, 5))), rel=1e-6)


@pytest.mark.parametrize("positives", [None, torch.tensor([1.0, 5, 2, 3, 9])])
def test_micro_batches_add_up(positives: torch.Tensor | None) -> None:
    """Also where they are of unequal size."""
    logits, labels = some(13)
    loss = SeveralLoss(positives)
    parts = zip(logits.chunk(4), labels.chunk(4), strict=True)
    added = sum(float(loss(mine, theirs)) * loss.share(theirs, labels) for mine, theirs in parts)
    assert added == pytest.approx(float(loss(logits, labels)), rel=1e-6)


def test_a_step_learns_bool_labels_and_shares() -> None:
    logits, _ = some(40)
    for targets in (logits > 0, (logits > 0).float()):
        torch.manual_seed(0)
        module = nn.Linear(5, 5)
        step = Step(module, torch.optim.SGD(module.parameters(), lr=0.5), SeveralLoss(), CPU)
        losses = [float(step(logits, targets)) for _ in range(30)]
        assert losses[-1] < 0.7 * losses[0]


def test_the_recipes_loss(data: TrainingData) -> None:
    setup = TrainingSetup(data, data.settle(Recipe()))
    plain = loss_of(setup)
    assert isinstance(plain, SeveralLoss)
    assert (plain.positives, plain.weights) == (None, None)
    assert setup.recipe.label_smoothing == 0.0
    balanced = loss_of(replace(setup, recipe=setup.recipe.with_values({"class_weights": "balanced"})))
    counts = data.train.labels.sum(0)
    assert isinstance(balanced, SeveralLoss)
    assert balanced.positives is not None
    assert torch.allclose(balanced.positives, (300 - counts) / counts)
    listed = ",".join(map(str, range(1, 15)))
    weighed = loss_of(replace(setup, recipe=setup.recipe.with_values({"class_weights": listed})))
    assert isinstance(weighed, SeveralLoss)
    assert weighed.weights is not None
    assert weighed.weights.tolist() == list(range(1, 15))


@pytest.mark.parametrize("values", [{"balanced_batches": 1}, {"logit_adjustment": 1.0}])
def test_what_several_labels_do_not_have(data: TrainingData, values: dict[str, float]) -> None:
    with pytest.raises(SpecError, match=f"{next(iter(values))}: made has several labels per image: use class_weights"):
        data.settle(Recipe(**values))


def test_mixed_targets_are_shares_of_both_images(data: TrainingData) -> None:
    generator = torch.Generator().manual_seed(0)
    batches = epoch(data.train, 50, generator=generator, augmentation=Augmentation(mixup=0.5), classes=14)
    targets = torch.cat([targets for _, targets in batches])
    assert targets.dtype == torch.float32
    assert targets.min() >= 0
    assert targets.max() <= 1
    assert 0 < ((targets > 0) & (targets < 1)).float().mean() < 1
    assert float(targets.sum()) == pytest.approx(float(data.train.labels.sum()), rel=0.02)


def test_streamed_images_keep_their_labels() -> None:
    """Batches of a stream have the labels that the same images have in memory."""
    whole = dataset(120, 20)
    data = DeviceData(whole.images, whole.labels, whole.normalisation, CPU, room=20_000)
    assert data.streamed
    wanted = {
        image.numpy().tobytes(): labels.tolist() for image, labels in zip(whole.images[:], whole.labels, strict=True)
    }
    levels = torch.cat([images for images, _ in data.batches(32)])
    labels = torch.cat([labels for _, labels in data.batches(32)])
    mean, std = whole.normalisation[0][0], whole.normalisation[1][0]
    pixels = ((levels * std + mean) * 255).round().to(torch.uint8)
    assert all(wanted[one.numpy().tobytes()] == mine.tolist() for one, mine in zip(pixels, labels, strict=True))


def test_a_training_learns_and_is_measured(data: TrainingData) -> None:
    reports: list[tuple[float, dict[str, float]]] = []
    setup = TrainingSetup(data, Recipe(epochs=6, batch_size=32, initial_scale=1.0, crop=0, lr=0.2))
    trained = fit(ARCH, setup, lambda epoch, value, metrics=None: reports.append((value, dict(metrics or {}))))
    assert reports[-1][1]["train_loss"] < reports[0][1]["train_loss"]
    accuracy, loss = accuracy_and_loss(trained.module, data.validation)
    with torch.no_grad():
        logits = torch.cat([trained.module(images) for images, _ in data.validation.batches(100)])
    labels = data.validation.labels
    assert accuracy == pytest.approx(float(((logits > 0) == labels).float().mean()), abs=1e-6)
    assert int(right_answers(logits, labels)) == round(accuracy * labels.numel())
    entropy = functional.binary_cross_entropy_with_logits(logits, labels.float(), reduction="none")
    assert loss == pytest.approx(float(entropy.sum(1).mean()), rel=1e-3)
    assert accuracy > float((~labels).float().mean()) - 0.02
    said = about(trained.module, data.validation)
    assert said == {"labels": "several", "thresholds": list(best_thresholds(logits, labels))}


def test_thresholds_need_room_and_numbers(data: TrainingData) -> None:
    class Wide(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.full((len(images), 401), 0.5)

    class Broken(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.full((len(images), 14), np.nan)

    assert about(Wide(), data.validation) == {"labels": "several"}
    assert about(Broken(), data.validation) == {"labels": "several"}
    nothing = DeviceData(
        data.dataset.images.subset(torch.arange(0)), data.train.labels[:0], data.dataset.normalisation, CPU
    )
    assert about(Broken(), nothing) == {"labels": "several"}


def test_a_file_with_thresholds_is_not_larger_than_was_said(tmp_path: Path) -> None:
    """Of as many classes as have any, with names of twelve letters."""
    wide = Arch((3, 32, 32), 400, Part("conv", (("width", 8),)), (Stage("basic", 12, 1, 2),) * 3, Part("linear"))
    module = build(wide)
    names = [f"finding {number:04}" for number in range(400)]
    info = {"classes": names, "labels": "several", "thresholds": [0.0001234] * 400, "recipe": Recipe().to_dict()}
    path = weights.save(tmp_path / "w.safetensors", module, wide, info)
    assert path.stat().st_size <= wide.cost.size_bytes("fp32")
    found = weights.read(path).info
    assert (found["classes"], found["thresholds"]) == (names, [0.0001234] * 400)
