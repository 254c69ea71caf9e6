"""Plans of retrainings: how many epochs fit into a time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from commands import small_npz

from archsearch.data import load_dataset
from archsearch.errors import InputError
from archsearch.network import zoo
from archsearch.network.recipe import Recipe
from archsearch.nn import weights
from archsearch.retrain import plan as module
from archsearch.retrain.plan import Pace, Plan, epochs_within, finished, pace, retrain
from archsearch.training.data import TrainingData
from archsearch.training.setup import TrainingSetup


@pytest.mark.parametrize(
    ("seconds", "paces", "seeds", "epochs"),
    [
        (100, [Pace(2, 0)], 1, 45),  # a tenth to spare
        (100, [Pace(2, 10)], 1, 40),
        (300, [Pace(2, 10)], 3, 40),
        (100, [Pace(2, 10), Pace(3, 5)], 1, 15),  # the same number for both
        (10, [Pace(9.1, 0)], 1, 0),
        (10, [Pace(1, 20)], 1, 0),
    ],
)
def test_epochs_that_fit(seconds: float, paces: list[Pace], seeds: int, epochs: int) -> None:
    assert epochs_within(seconds, paces, seeds) == epochs


@pytest.mark.parametrize(("most", "steps"), [(0.0, 2), (1e9, 3)])
def test_an_epoch_is_all_images_at_the_pace_of_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: float, steps: int
) -> None:
    """60 images in batches of 4 are 15 steps; so many were timed at each of three sizes."""
    small_npz(tmp_path / "x.npz")
    monkeypatch.chdir(tmp_path)
    dataset = load_dataset("npz:x.npz")
    data = TrainingData.whole(dataset, torch.device("cpu"))
    plan = Plan(TrainingSetup(data, Recipe(batch_size=4), overrides={"epochs": 9, "lr": 8.0}), tmp_path)
    arch = zoo.load("mlp").arch.adapted(dataset.input_shape, len(dataset.classes))
    asked, short = [], module._short

    def counting(plan: Plan, arch: object, steps: int) -> tuple[Pace, float]:
        asked.append(steps)
        return short(plan, arch, steps)

    monkeypatch.setattr(module, "_short", counting)
    monkeypatch.setattr(module, "_TIMED_STEPS", 3)
    found = pace(plan, arch, most)
    assert asked == [1, steps]
    assert 0 < found.epoch < 60
    assert 0 <= found.start < 60
    one, busy = short(plan, arch, steps)
    assert one.epoch == pytest.approx(busy / 3 * len(plan.data.train) / (4 * steps))
    assert not list(tmp_path.glob("**/weights"))


def test_a_training_from_before_a_key_is_one_without(tmp_path: Path) -> None:
    small_npz(tmp_path / "x.npz")
    data = TrainingData.whole(load_dataset(f"npz:{tmp_path / 'x.npz'}"), torch.device("cpu"))
    plan = Plan(TrainingSetup(data, Recipe(epochs=1)), tmp_path)
    arch = zoo.load("mlp").arch.adapted((1, 8, 8), 2)
    row = retrain(plan, arch, 0, lambda *values: None)
    file = weights.read(plan.path(arch, 0))
    recipe = {name: value for name, value in file.info["recipe"].items() if name not in ("resized_crop", "noise")}
    weights.save(plan.path(arch, 0), weights.load_module(plan.path(arch, 0)), arch, {**file.info, "recipe": recipe})
    found = finished(plan, arch, 0)
    assert found is not None
    assert found.test_accuracy == row.test_accuracy
    other = Plan(TrainingSetup(data, Recipe(epochs=1, resized_crop=0.5)), tmp_path)
    with pytest.raises(InputError, match=r"resized_crop 1\.0, not 0\.5"):
        finished(other, arch, 0)
