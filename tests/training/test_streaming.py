"""Trainings on images that do not fit: whole, repeatable, and honest about files that are gone."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from shards import mapped
from toys import CPU, SMALL, same

from archsearch.data import Dataset, load_dataset
from archsearch.data.pixels import Pixels
from archsearch.errors import DataError
from archsearch.network.recipe import Recipe
from archsearch.nn import devices
from archsearch.retrain.plan import on_test
from archsearch.training import validation
from archsearch.training.data import TrainingData
from archsearch.training.memory import predictor
from archsearch.training.setup import TrainingSetup
from archsearch.training.trainer import Trainer

ROOM = 6_000.0
"""Bytes, of the 96,000 of the digits."""


@pytest.fixture(autouse=True)
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch at a time, so that the digits come in several windows."""
    monkeypatch.setattr("archsearch.data.loader.batches._GROUP", {"cpu": 32 * 64})


@pytest.fixture
def digits(tmp_path: Path) -> Dataset:
    """In files."""
    found = load_dataset("digits")
    return replace(found, images=mapped(tmp_path / "store", found.images.whole(), [500, 900, 97]))


def trained(data: TrainingData, **recipe: object) -> tuple[torch.nn.Module, list[float]]:
    curve: list[float] = []
    trainer = Trainer(TrainingSetup(data, Recipe(**{"epochs": 2, "batch_size": 32, **recipe}), 0))
    trainer(SMALL, lambda epoch, accuracy, metrics: curve.append(accuracy))
    return trainer.trained, curve


def test_mapped_digits_train_as_those_in_memory_to_the_last_digit(digits: Dataset) -> None:
    before = load_dataset("digits")
    one, curve = trained(TrainingData.of(digits, 0, CPU))
    two, other = trained(TrainingData.of(before, 0, CPU))
    assert curve == other
    assert same(one, two)


def test_a_streamed_training_is_the_same_twice_and_learns(digits: Dataset) -> None:
    data = TrainingData.of(digits, 0, CPU, ROOM)
    assert data.train.streamed
    assert data.validation.streamed
    one, curve = trained(data, epochs=4)
    two, again = trained(TrainingData.of(digits, 0, CPU, ROOM), epochs=4)
    assert curve == again
    assert same(one, two)
    whole = trained(TrainingData.of(digits, 0, CPU), epochs=4)[1]
    assert curve != whole
    assert curve[-1] > whole[-1] - 0.1


def test_recalibration_is_that_of_normalised_images_to_the_last_bit(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "autocast_dtype", lambda device: None)  # bfloat16 has other last bits
    data = TrainingData.of(digits, 0, CPU)
    module, _ = trained(data, epochs=1)
    measured = validation.Validation(module, data)
    shape = (1, 4, 4)
    measured.recalibrate(shape)
    found = {name: value.clone() for name, value in module.state_dict().items()}
    sample = data.train.normalised(validation._sample(data.train))
    validation.recalibrate(module, validation.scaled(sample, shape))
    assert all(torch.equal(value, found[name]) for name, value in module.state_dict().items())


def test_a_file_that_is_cut_in_a_training_ends_it_as_a_data_error(digits: Dataset) -> None:
    data = TrainingData.of(digits, 0, CPU, ROOM)
    os.truncate(digits.images.files[1], 1000)
    with pytest.raises(DataError, match="ends at byte 1,000"):
        trained(data)


def test_the_test_split_is_streamed_to_the_same_answer(digits: Dataset, tmp_path: Path) -> None:
    module, _ = trained(TrainingData.of(digits, 0, CPU))
    images, labels = digits.test()
    test = mapped(tmp_path / "test", images.whole(), [200, len(labels) - 200])
    stored = replace(digits, read_test=lambda: (test, labels))
    assert on_test(module, stored, CPU, True, ROOM) == on_test(module, digits, CPU, True)


def test_predicted_memory_has_what_lies_on_the_device(digits: Dataset) -> None:
    def bytes_of(memory: float | None) -> float:
        return predictor(TrainingData.of(digits, 0, CPU, memory), Recipe())(SMALL)

    train, held_out = (64 * len(part[1]) for part in digits.parts(0))
    assert bytes_of(1e9) - bytes_of(ROOM) == pytest.approx(train + 5 * held_out - ROOM, abs=8)


def test_validation_images_stay_where_they_fit(digits: Dataset) -> None:
    data = TrainingData.of(digits, 0, CPU, 50_000.0)
    assert (data.train.streamed, data.validation.streamed) == (True, False)


def test_all_images_of_both_parts_are_streamed(digits: Dataset) -> None:
    own = Pixels.of(load_dataset("digits").images[:50]), torch.zeros(50, dtype=torch.int64)
    data = TrainingData.whole(replace(digits, validation=own), CPU, ROOM)
    assert data.train.streamed
    assert data.train.shape[0] == 1547
