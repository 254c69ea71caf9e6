"""The loss: plain, weighted, adjusted; of labels and of probabilities."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import few
from torch.nn import functional
from toys import CPU, SMALL, toy

from archsearch.data.pixels import Pixels
from archsearch.errors import SpecError
from archsearch.network.recipe import Recipe
from archsearch.training.data import TrainingData
from archsearch.training.fit import fit
from archsearch.training.loss import Loss, loss_of
from archsearch.training.setup import TrainingSetup

CLASSES = 4
SEEDS = st.integers(0, 1000)
SMOOTHINGS = st.sampled_from([0.0, 0.1, 0.4])


def batch(seed: int, count: int = 24) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, labels and weights."""
    draws = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(count, CLASSES, generator=draws)
    return logits, torch.randint(CLASSES, (count,), generator=draws), 0.1 + torch.rand(CLASSES, generator=draws)


def one_hot(labels: torch.Tensor) -> torch.Tensor:
    return functional.one_hot(labels, CLASSES).float()


@few(20)
@given(SEEDS, SMOOTHINGS)
def test_without_weights_it_is_torchs_to_the_last_bit(seed: int, smoothing: float) -> None:
    logits, labels, _ = batch(seed)
    expected = functional.cross_entropy(logits, labels, label_smoothing=smoothing)
    assert torch.equal(Loss(smoothing)(logits, labels), expected)
    assert Loss().share(labels[:6], labels) == 0.25


@few(20)
@given(SEEDS)
def test_weights_are_torchs_for_plain_labels(seed: int) -> None:
    logits, labels, weights = batch(seed)
    expected = functional.cross_entropy(logits, labels, weight=weights)
    assert float(Loss(weights=weights)(logits, labels)) == pytest.approx(float(expected), rel=1e-5)


@few(30)
@given(SEEDS, SMOOTHINGS, st.floats(0.01, 100))
def test_weights_count_by_their_ratios(seed: int, smoothing: float, factor: float) -> None:
    logits, labels, weights = batch(seed)
    for targets in (labels, one_hot(labels)):
        one, two = Loss(smoothing, weights)(logits, targets), Loss(smoothing, factor * weights)(logits, targets)
        assert float(one) == pytest.approx(float(two), rel=1e-4)


@few(30)
@given(SEEDS, SMOOTHINGS, st.floats(0, 1))
def test_a_mixed_image_counts_as_both_of_its_images(seed: int, smoothing: float, share: float) -> None:
    """Numerators and weights are linear in the target, and a probability of 1 is a label."""
    logits, labels, weights = batch(seed)
    loss, other = Loss(smoothing, weights), labels.roll(1)
    mixed = share * one_hot(labels) + (1 - share) * one_hot(other)
    masses = weights[labels].sum(), weights[other].sum()
    parts = [loss(logits, some) * mass for some, mass in zip((labels, other), masses, strict=True)]
    whole = share * masses[0] + (1 - share) * masses[1]
    expected = (share * parts[0] + (1 - share) * parts[1]) / whole
    assert float(loss(logits, mixed)) == pytest.approx(float(expected), rel=1e-4)


def test_smoothing_teaches_a_large_class_no_rare_one() -> None:
    """The best answer for an image is its smoothed target, whatever the weights: torch's own weighting moves it."""
    labels, weights = torch.zeros(1, dtype=torch.int64), torch.tensor([0.1, 1.0, 1.0, 10.0])
    target = torch.tensor([[0.925, 0.025, 0.025, 0.025]])
    for targets in (labels, one_hot(labels)):
        logits = target.log().requires_grad_()
        Loss(0.1, weights)(logits, targets).backward()
        assert logits.grad is not None
        assert float(logits.grad.abs().max()) < 1e-6
    logits = target.log().requires_grad_()
    functional.cross_entropy(logits, labels, weight=weights, label_smoothing=0.1).backward()
    assert logits.grad is not None
    assert float(logits.grad.abs().max()) > 1


def test_smoothing_teaches_no_rare_class_where_logits_are_adjusted() -> None:
    """Equal logits are the best answer for images that show nothing: an even spread would ask for the rare classes."""
    sizes = torch.tensor([100, 10, 5, 5])
    labels, shift = torch.arange(CLASSES).repeat_interleave(sizes), (sizes / sizes.sum()).log()

    def pull(loss: Callable[[torch.Tensor], torch.Tensor]) -> float:
        logits = torch.zeros(len(labels), CLASSES, requires_grad=True)
        loss(logits).backward()
        assert logits.grad is not None
        return float(logits.grad.sum(0).abs().max())

    for targets in (labels, one_hot(labels)):
        assert pull(lambda logits, targets=targets: Loss(0.1, shift=shift)(logits, targets)) < 1e-6
    even = functools.partial(functional.cross_entropy, target=labels, label_smoothing=0.1)
    assert pull(lambda logits: even(logits + shift)) > 0.01


@few(30)
@given(SEEDS, SMOOTHINGS)
def test_labels_and_probabilities_agree_where_logits_are_adjusted(seed: int, smoothing: float) -> None:
    logits, labels, weights = batch(seed)
    for loss in (Loss(smoothing, None, weights.log()), Loss(smoothing, weights, weights.log())):
        assert float(loss(logits, labels)) == pytest.approx(float(loss(logits, one_hot(labels))), rel=1e-5)


@few(30)
@given(SEEDS, SMOOTHINGS, st.integers(1, 5), st.booleans())
def test_micro_batches_add_up(seed: int, smoothing: float, parts: int, soft: bool) -> None:
    logits, labels, weights = batch(seed)
    targets = one_hot(labels) if soft else labels
    for loss in (Loss(smoothing), Loss(smoothing, weights)):
        pairs = zip(logits.chunk(parts), targets.chunk(parts), strict=True)
        total = sum(float(loss(some, mine) * loss.share(mine, targets)) for some, mine in pairs)
        assert total == pytest.approx(float(loss(logits, targets)), rel=1e-4)


def test_a_batch_of_weight_zero_has_no_loss() -> None:
    loss, labels = Loss(weights=torch.tensor([0.0, 1.0])), torch.zeros(3, dtype=torch.int64)
    for targets in (labels, functional.one_hot(labels, 2).float()):
        assert float(loss(torch.randn(3, 2), targets)) == 0
        assert float(loss.share(targets, targets)) == 0


def data(sizes: tuple[int, int]) -> TrainingData:
    """Train images, so many of each of two classes."""
    labels = torch.repeat_interleave(torch.tensor(sizes))
    return TrainingData.whole(replace(toy(len(labels)), labels=labels), CPU)


def made(sizes: tuple[int, int], **values: object) -> Loss:
    found = data(sizes)
    return loss_of(TrainingSetup(found, found.settle(Recipe(**{"label_smoothing": 0.0, **values}))))


def test_a_recipe_without_weights_has_the_plain_loss() -> None:
    for loss in (made((30, 3)), made((9, 9), class_weights="balanced"), made((9, 9), logit_adjustment=1.0)):
        assert loss.weights is None
        assert loss.shift is None
    assert made((30, 3), class_weights="2,2").weights is None


def test_a_recipe_names_its_weights() -> None:
    balanced, listed = made((30, 10), class_weights="balanced"), made((30, 10), class_weights="1,2.5")
    assert balanced.weights is not None
    assert balanced.weights.tolist() == pytest.approx([2 / 3, 2])
    assert listed.weights is not None
    assert listed.weights.tolist() == pytest.approx([0.4, 1])
    extreme = made((30, 10), class_weights="1e-300,2e-300")
    assert extreme.weights is not None
    assert extreme.weights.tolist() == [0.5, 1]
    with pytest.raises(SpecError, match="class_weights lists 3 numbers, toy has 2 classes: give one per class"):
        made((30, 10), class_weights="1,2,3")


def test_probabilities_as_targets_leave_the_weights_to_the_labels() -> None:
    found = data((30, 10))
    taught = replace(found, train=found.train.with_labels(torch.full((40, 2), 0.5)))
    loss = loss_of(TrainingSetup(taught, Recipe(class_weights="balanced")))
    assert loss.smoothing == 0
    assert loss.weights is not None
    assert loss.weights.tolist() == pytest.approx([2 / 3, 2])


@pytest.mark.parametrize("tau", [0.5, 1.0, 2.0])
def test_adjusted_logits_start_from_the_prior(tau: float) -> None:
    """What is learnt with the shift is the logit without it: equal logits answer with the shares of the classes."""
    loss = made((30, 10), logit_adjustment=tau)
    shares = torch.tensor([0.75, 0.25]) ** tau
    expected = -(shares / shares.sum()).log()
    for label in (0, 1):
        assert float(loss(torch.zeros(1, 2), torch.tensor([label]))) == pytest.approx(float(expected[label]), rel=1e-5)
    logits = torch.tensor([[0.3, -1.0]])
    odds = loss(logits, torch.tensor([1])) - loss(logits, torch.tensor([0]))
    assert float(odds) == pytest.approx(1.3 + tau * math.log(3), rel=1e-5)


def test_the_loss_of_guessing() -> None:
    assert Loss().of_guessing(10) == math.log(10)
    assert Loss().of_guessing(1) == math.log(2)
    assert made((30, 10), logit_adjustment=1.0).of_guessing(2) == pytest.approx(math.log(4), rel=1e-5)


def overlapping(count: int, share: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Grey images (N, 1, 8, 8) of two classes whose brightness overlaps, and labels: such a share is of class 1."""
    draws = torch.Generator().manual_seed(seed)
    labels = (torch.arange(count) >= round(count * (1 - share))).long()
    level = 115.0 + 30 * labels + 20 * torch.randn(count, generator=draws)
    images = level.view(-1, 1, 1, 1) + 5 * torch.randn(count, 1, 8, 8, generator=draws)
    return images.clamp(0, 255).to(torch.uint8), labels


@pytest.fixture(scope="module")
def imbalanced() -> TrainingData:
    """20 train images of one class for each of the other, and as many validation images of both."""
    images, labels = overlapping(1050, 1 / 21, 0)
    held_out, truth = overlapping(400, 0.5, 1)
    dataset = replace(toy(), images=Pixels.of(images), labels=labels, validation=(Pixels.of(held_out), truth))
    return TrainingData.of(dataset, 0, CPU)


def rare_recall(data: TrainingData, **values: object) -> float:
    recipe = Recipe(**{"epochs": 4, "batch_size": 64, "label_smoothing": 0.0, **values})
    arch = replace(SMALL, classes=2)
    module = fit(arch, TrainingSetup(data, recipe), lambda *_: None).module
    (images, labels), *_ = data.validation.batches(400)
    with torch.no_grad():
        return float((module(images).argmax(1)[labels == 1] == 1).float().mean())


@pytest.mark.parametrize(
    "treatment",
    [
        {"class_weights": "balanced"},
        {"class_weights": "1,20", "mixup": 0.2},
        {"balanced_batches": 1},
        {"logit_adjustment": 1.0},
    ],
)
def test_every_treatment_finds_more_of_the_rare_class(imbalanced: TrainingData, treatment: dict[str, object]) -> None:
    plain, treated = rare_recall(imbalanced), rare_recall(imbalanced, **treatment)
    assert treated > plain + 0.15


def test_treatments_that_are_off_change_no_bit(imbalanced: TrainingData) -> None:
    off = rare_recall(imbalanced, class_weights="none", balanced_batches=0, logit_adjustment=0.0)
    assert off == rare_recall(imbalanced)
