"""What changes from epoch to epoch: mixing that grows, labels that are smoothed no more, slow weights."""

from __future__ import annotations

import pytest
import torch
from toys import CPU, SMALL, same, toy

from archsearch.data import Augmentation
from archsearch.network.recipe import Recipe
from archsearch.nn.build import build
from archsearch.nn.devices import Stopwatch
from archsearch.training.data import TrainingData
from archsearch.training.epochs import Epochs, grown, is_over
from archsearch.training.fit import fit
from archsearch.training.setup import TrainingSetup

TWO = SMALL.adapted((1, 8, 8), 2)
MIXED = Augmentation(mixup=0.8, cutmix=0.4)


def test_alphas_grow_to_their_values_and_stay() -> None:
    recipe = Recipe(epochs=10, mix_growth=0.5)
    found = [grown(MIXED, recipe, number) for number in range(1, 11)]
    assert [one.mixup for one in found] == pytest.approx([0.16, 0.32, 0.48, 0.64] + 6 * [0.8])
    assert [one.cutmix for one in found] == pytest.approx([0.08, 0.16, 0.24, 0.32] + 6 * [0.4])


def test_without_growth_or_mixing_the_augmentation_is_the_same() -> None:
    assert grown(MIXED, Recipe(epochs=10), 1) is MIXED
    plain = Augmentation(crop=1)
    assert grown(plain, Recipe(epochs=10, mix_growth=1.0), 1) is plain


def test_smoothing_ends_with_its_share_of_the_epochs() -> None:
    half = Recipe(epochs=4, smoothing_until=0.5)
    assert [is_over(half, number) for number in (1, 2, 3, 4)] == [False, False, True, True]
    assert not is_over(Recipe(epochs=4), 4)
    assert is_over(Recipe(epochs=4, smoothing_until=0.0), 1)


def trained(recipe: Recipe) -> torch.nn.Module:
    data = TrainingData.of(toy(120), 0, CPU)
    return fit(TWO, TrainingSetup(data, recipe, 0, threads=1), lambda *_: None).module


def test_labels_are_smoothed_in_the_first_epochs_alone() -> None:
    recipe = Recipe(epochs=2, batch_size=32, crop=0, flip=0, smoothing_until=0.5)
    data = TrainingData.of(toy(120), 0, CPU)
    setup = TrainingSetup(data, data.settle(recipe), 0, threads=1)
    epochs = Epochs(build(SMALL), setup, torch.Generator().manual_seed(0), Stopwatch(CPU))
    seen = []
    for number in (1, 2):
        epochs(number, (1, 8, 8))
        seen.append(epochs.loss.smoothing)
    assert seen == [0.1, 0.0]


@pytest.mark.parametrize("values", [{"lookahead": 2}, {"mixup": 0.4, "mix_growth": 1.0}, {"smoothing_until": 0.5}])
def test_each_changes_the_training_and_off_is_the_plain_one(values: dict[str, int | float]) -> None:
    recipe = Recipe(epochs=2, batch_size=32, lr=0.1)
    plain = {name: value for name, value in values.items() if name == "mixup"}
    off = {"lookahead": 0, "mix_growth": 0.0, "smoothing_until": 1.0}
    one, two = (trained(recipe.with_values({**plain, **more})) for more in ({}, off))
    assert same(one, two)
    assert not same(one, trained(recipe.with_values(values)))
