"""Networks of several input shapes in one search: each sees the same pictures at its own shape."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from toys import CPU, SMALL, toy, untouchable
from whole import levels

from archsearch.data import Dataset, load_dataset
from archsearch.data.dataset import resize, resized
from archsearch.data.pixels import Pixels
from archsearch.data.transforms.colours import coloured
from archsearch.errors import DataError
from archsearch.network.layers import Shape
from archsearch.network.recipe import Recipe
from archsearch.nn import weights
from archsearch.training.data import TrainingData
from archsearch.training.estimate import training_seconds
from archsearch.training.memory import predictor
from archsearch.training.setup import TrainingSetup
from archsearch.training.shapes import Shapes
from archsearch.training.trainer import Trainer

BASE = (3, 12, 12)


@pytest.fixture
def digits() -> Dataset:
    return replace(load_dataset("digits", image_size=12, colour="rgb"), read_test=untouchable)


class Loader:
    """Images at a shape, and which were asked for."""

    def __init__(self, base: Dataset) -> None:
        self.base, self.asked = base, list[Shape]()

    def __call__(self, shape: Shape) -> Dataset:
        self.asked.append(shape)
        return load_dataset("digits", image_size=shape[1], colour="grey" if shape[0] == 1 else "rgb")


def setup_of(base: Dataset, loader: Loader) -> TrainingSetup:
    data = TrainingData.of(base, 0, CPU)
    return TrainingSetup(data, Recipe(epochs=1), shapes=Shapes(data, loader, 0))


def test_a_shape_is_loaded_when_a_network_takes_it_and_kept(digits: Dataset, tmp_path: Path) -> None:
    loader = Loader(digits)
    trainer = Trainer(setup_of(digits, loader))
    own, grey = (SMALL.adapted(shape, 10) for shape in (BASE, (1, 8, 8)))
    alone = Trainer(setup_of(load_dataset("digits", colour="grey"), loader))
    for arch in (own, grey, grey):
        found = trainer(arch, lambda epoch, accuracy, metrics=None: None)
        assert found.score > 0.12  # better than one in ten
    assert loader.asked == [(1, 8, 8)]
    # The same as where there is no other size.
    assert alone(grey, lambda epoch, accuracy, metrics=None: None).score == found.score
    trainer.save(tmp_path / "a.safetensors", grey)
    info = weights.read(tmp_path / "a.safetensors").info
    assert info["colour"] == "grey"
    assert info["normalisation"]["mean"] == list(load_dataset("digits").normalisation[0])


def test_parts_are_the_same_images_at_every_shape(digits: Dataset) -> None:
    base = TrainingData.of(digits, 3, CPU)
    other = Shapes(base, Loader(digits), 3)((1, 8, 8))
    whole = load_dataset("digits")
    for large, small in ((base.train, other.train), (base.validation, other.validation)):
        assert torch.equal(large.labels, small.labels)
        assert torch.equal(levels(large)[:, :1], resize(Pixels.of(levels(small)), 12)[:])
    assert len(other.train) + len(other.validation) == len(whole.labels)


def test_other_images_are_refused() -> None:
    base = toy(side=8)
    data = TrainingData.of(base, 0, CPU)
    fewer = replace(base, images=base.images.subset(torch.arange(1, len(base.images))), labels=base.labels[1:])
    renamed = replace(base, classes=("a", "c"))
    for wrong in (fewer, renamed):
        with pytest.raises(DataError, match="toy: the images have changed since this search began"):
            Shapes(data, lambda shape, wrong=wrong: resized(wrong, 4), 0)((1, 4, 4))
    assert Shapes(data, lambda shape: resized(base, 4), 0)((1, 4, 4)).dataset.input_shape == (1, 4, 4)


def test_recipe_and_estimate_are_of_the_networks_own_shape(digits: Dataset) -> None:
    large = load_dataset("digits", image_size=32, colour="rgb")
    setup = setup_of(large, Loader(large))
    small, whole = (SMALL.adapted(shape, 10) for shape in ((1, 8, 8), (3, 32, 32)))
    assert (setup.recipe_of(small).crop, setup.recipe_of(whole).crop) == (0, 4)
    assert (setup.recipe_of(small).initial_scale, setup.recipe_of(whole).initial_scale) == (1.0, 0.5)
    assert training_seconds(small, setup) > 0


def test_memory_is_predicted_with_every_copy_of_the_images() -> None:
    base = coloured(toy(side=8), "rgb")
    data, arch = TrainingData.of(base, 0, CPU), SMALL.adapted((3, 8, 8), 2)
    one, same = predictor(data, Recipe()), predictor(data, Recipe(), shapes=[(3, 8, 8)])
    two = predictor(data, Recipe(), shapes=[(1, 4, 4), (3, 8, 8)])
    assert one(arch) == same(arch)
    extra = (len(data.train) + 5 * len(data.validation)) * 16
    assert two(arch) - one(arch) == pytest.approx(extra, abs=1)
