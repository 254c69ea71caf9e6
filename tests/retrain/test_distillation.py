"""Distillation: what teachers answer, and that a student learns it in place of the labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from toys import CPU, SMALL, same, toy
from whole import levels, normalised

from archsearch import build
from archsearch.data import DeviceData, load_dataset
from archsearch.errors import InputError
from archsearch.network.recipe import Recipe
from archsearch.nn import weights
from archsearch.retrain.distillation import Teachers
from archsearch.training.data import TrainingData
from archsearch.training.fit import fit
from archsearch.training.optim import initialise
from archsearch.training.setup import TrainingSetup

PAIR = SMALL.adapted((1, 8, 8), 2)


def saved(path: Path, seed: int, mean: float, std: float) -> str:
    torch.manual_seed(seed)
    module = build(PAIR)
    initialise(module)
    return str(weights.save(path, module, PAIR, {"normalisation": {"mean": [mean], "std": [std]}}))


def test_the_mean_of_what_networks_say_of_the_same_pixels(tmp_path: Path) -> None:
    """Each normalises them as it was trained; the dataset's normalisation is a third one."""
    made = [(tmp_path / "a.safetensors", 1, 0.5, 0.2), (tmp_path / "b.safetensors", 2, 0.1, 0.4)]
    dataset, files = toy(20), [saved(*one) for one in made]
    pixels = dataset.images[:].float() / 255
    with torch.no_grad():
        each = [weights.load_module(file)((pixels - mean) / std).softmax(1) for file, _, mean, std in made]
    found = Teachers(files, dataset)(normalised(TrainingData.whole(dataset, CPU).train))
    assert torch.allclose(found, (each[0] + each[1]) / 2, atol=1e-4)
    assert float((each[0] - each[1]).abs().max()) > 0.01
    assert not found.requires_grad


def test_a_source_names_the_files_and_their_content(tmp_path: Path) -> None:
    first = saved(tmp_path / "a.safetensors", 1, 0.5, 0.2)
    one, same_file = (Teachers([first], toy()).source for _ in range(2))
    saved(tmp_path / "a.safetensors", 2, 0.5, 0.2)
    other = Teachers([first, first], toy()).source
    assert one == same_file
    assert one.startswith("a.safetensors ")
    assert other.count("a.safetensors ") == 2
    assert one not in other


def test_a_student_learns_the_answers_and_not_the_labels(tmp_path: Path) -> None:
    """All labels are wrong; unsmoothed means that the recipe's smoothing changes nothing."""
    data = TrainingData.of(load_dataset("digits"), 0, CPU)
    recipe = Recipe(epochs=6)
    teacher = fit(SMALL, TrainingSetup(data, recipe, 0), lambda *_: None).module
    mean, std = data.dataset.normalisation
    info = {"normalisation": {"mean": list(mean), "std": list(std)}}
    path = weights.save(tmp_path / "t.safetensors", teacher, SMALL, info)
    labels = (data.train.labels + 1) % 10
    wrong = replace(data, train=DeviceData(levels(data.train), labels, data.dataset.normalisation, CPU))
    teach = Teachers([str(path)], data.dataset)
    curve: list[float] = []
    setup = TrainingSetup(wrong, recipe, 1, teach=teach)
    student = fit(SMALL, setup, lambda epoch, accuracy, metrics: curve.append(accuracy)).module
    assert curve[-1] > 0.7
    smoothed = recipe.with_values({"label_smoothing": 0.7})
    assert same(student, fit(SMALL, replace(setup, recipe=smoothed), lambda *_: None).module)
    misled: list[float] = []
    fit(SMALL, TrainingSetup(wrong, recipe, 1), lambda epoch, accuracy, metrics: misled.append(accuracy))
    assert misled[-1] < 0.1


def test_a_teacher_sees_whole_images_where_the_student_sees_small_ones() -> None:
    shapes: list[tuple[int, ...]] = []

    def teach(images: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(images.shape[1:]))
        return torch.full((len(images), 2), 0.5)

    data = TrainingData.whole(toy(40, 32, 3), CPU)
    arch = SMALL.adapted((3, 32, 32), 2)
    fit(
        arch,
        TrainingSetup(data, Recipe(epochs=3, batch_size=20, initial_scale=0.5), 0, teach=teach),
        lambda *_: None,
    )
    assert shapes == [(3, 32, 32)] * 6


def test_a_teacher_whose_outputs_are_no_numbers(tmp_path: Path) -> None:
    path = Path(saved(tmp_path / "a.safetensors", 1, 0.5, 0.2))
    broken = {name: t * torch.nan if t.is_floating_point() else t for name, t in load_file(path).items()}
    with safe_open(path, "pt") as file:
        save_file(broken, path, metadata=file.metadata())
    with pytest.raises(InputError, match=r"a.safetensors: outputs are not finite for 20 of 20 images"):
        Teachers([str(path)], toy(20))


def test_files_that_cannot_teach(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.safetensors", 1, 0.5, 0.2)
    with pytest.raises(InputError, match="tells 2 classes apart, digits has 10"):
        Teachers([path], load_dataset("digits"))
    with pytest.raises(InputError, match="takes images of 1x8x8, toy has 1x12x12"):
        Teachers([path], toy(side=12))
    with pytest.raises(InputError, match=r"no\.safetensors: no readable"):
        Teachers(["no.safetensors"], toy())
    weights.save(tmp_path / "bare.safetensors", build(PAIR), PAIR, {})
    with pytest.raises(InputError, match="no normalisation"):
        Teachers([str(tmp_path / "bare.safetensors")], toy())
