"""Files of answers: which row is whose, how they travel through splits and mixing, what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import CPU, SMALL, toy
from whole import levels as bytes_of

from archsearch.data import Dataset, augmentation_of, epoch, load_dataset
from archsearch.data.pixels import Pixels
from archsearch.errors import InputError
from archsearch.network.recipe import Recipe
from archsearch.retrain.answers import answers, trained_on
from archsearch.retrain.distillation import Teachers, teachers_of
from archsearch.training.data import TrainingData
from archsearch.training.fit import fit
from archsearch.training.setup import TrainingSetup


def numbered(count: int = 40) -> Dataset:
    """Each image is all of one level, its number, so that a batch tells which images it has."""
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 8, 8).contiguous()
    return replace(toy(count), images=Pixels.of(images))


def telling(count: int = 40) -> np.ndarray:
    """Distributions whose first probability tells the image."""
    first = (np.arange(count) + 1) / (count + 2)
    return np.stack([first, 1 - first], 1)


def written(path: Path, **arrays: Any) -> str:
    np.savez(path, **arrays)
    return str(path)


def levels(data: TrainingData, images: torch.Tensor) -> torch.Tensor:
    mean, std = data.dataset.normalisation
    return ((images.mean((1, 2, 3)) * std[0] + mean[0]) * 255).round()


@settings(max_examples=15)
@given(seed=st.integers(0, 1000), share=st.sampled_from([None, 0.2, 0.5]), batch=st.integers(1, 16))
def test_targets_go_with_their_images(
    tmp_path_factory: pytest.TempPathFactory, seed: int, share: float | None, batch: int
) -> None:
    dataset = replace(numbered(), share=share)
    file = written(tmp_path_factory.mktemp("a") / "t.npz", train_probs=telling())
    setup = TrainingSetup(TrainingData.of(dataset, seed, CPU), Recipe(), seed)
    data = answers([file], dataset).given_to(setup).data
    assert torch.equal(dataset.images[trained_on(dataset, seed)], dataset.parts(seed)[0][0][:])
    for images, targets in epoch(data.train, batch, generator=torch.Generator().manual_seed(seed)):
        assert torch.allclose(targets[:, 0] * 42 - 1, levels(data, images), atol=1e-3)
    mixing = augmentation_of(Recipe(mixup=0.5, crop=0, flip=0))
    for images, targets in epoch(
        data.train, batch, generator=torch.Generator().manual_seed(seed), augmentation=mixing, classes=2
    ):
        mean, std = dataset.normalisation
        level = (images.mean((1, 2, 3)) * std[0] + mean[0]) * 255
        assert torch.allclose(targets[:, 0] * 42 - 1, level, atol=0.02)


def test_pictures_that_were_left_out_have_no_rows(tmp_path: Path) -> None:
    labels, read = torch.arange(50) % 2, torch.arange(50) % 5 != 0
    dataset = replace(numbered(), labels=labels[read], listed=(labels, read))
    data = answers([written(tmp_path / "t.npz", train_probs=telling())], dataset)
    found = data.given_to(TrainingSetup(TrainingData.of(dataset, 3, CPU), Recipe(), 3)).data.train
    assert torch.allclose(found.labels[:, 0] * 42 - 1, bytes_of(found)[:, 0, 0, 0].float(), atol=1e-3)


def test_everything_is_trained_on_where_validation_images_have_answers(tmp_path: Path) -> None:
    dataset = numbered()
    dataset = replace(dataset, validation=(Pixels.of(dataset.images[:10] + 100), dataset.labels[:10]))
    train = written(tmp_path / "t.npz", train_probs=telling())
    both = written(tmp_path / "b.npz", train_probs=telling(), val_logits=np.zeros((10, 2), np.float32))
    whole = TrainingSetup(TrainingData.whole(dataset, CPU), Recipe())
    with pytest.raises(InputError, match=r"t.npz [0-9a-f]{8} has no val_probs or val_logits: validation images are"):
        answers([train], dataset).given_to(whole)
    found = answers([both], dataset).given_to(whole).data.train.labels
    assert found.shape == (50, 2)
    assert (found[40:] == 0.5).all()
    searched = TrainingSetup(TrainingData.of(dataset, 0, CPU), Recipe())
    assert len(answers([train], dataset).given_to(searched).data.train.labels) == 40


def test_logits_in_any_kind_of_file_are_the_same_answers(tmp_path: Path) -> None:
    logits = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    probs = torch.from_numpy(logits).softmax(1)
    np.save(tmp_path / "l.npy", logits)
    np.save(tmp_path / "p.npy", probs.numpy().astype(np.float16))
    files = [written(tmp_path / "l.npz", train_logits=logits), str(tmp_path / "l.npy"), str(tmp_path / "p.npy")]
    for file in files:
        found = answers([file], toy())
        assert torch.allclose(found.train, probs, atol=1e-3)
        assert torch.allclose(found.train.sum(1), torch.ones(40))
        assert f"of 40 train images, right on {int((probs.argmax(1) == toy().labels).sum())}" in found.notes[0]
    mean = answers([files[0], written(tmp_path / "o.npz", train_probs=np.tile([0.5, 0.5], (40, 1)))], toy())
    assert torch.allclose(mean.train, (probs + 0.5) / 2, atol=1e-5)


def test_a_student_learns_the_file_and_not_the_labels(tmp_path: Path) -> None:
    """The file says the class after the label; smoothing is of labels, so it changes nothing."""
    dataset = load_dataset("digits")
    wrong = torch.nn.functional.one_hot((dataset.labels + 1) % 10, 10).float().numpy()
    source = answers([written(tmp_path / "t.npz", train_probs=wrong)], dataset)
    setups = [
        source.given_to(TrainingSetup(TrainingData.of(dataset, 0, CPU), Recipe(epochs=4, label_smoothing=smoothing)))
        for smoothing in (0.0, 0.6)
    ]
    curves: list[list[float]] = [[], []]
    for setup, curve in zip(setups, curves, strict=True):
        fit(SMALL, setup, lambda epoch, accuracy, metrics, curve=curve: curve.append(metrics["train_loss"]))
        assert len(curve) == 4
    assert curves[0] == curves[1]
    assert curves[0][-1] < 1


PROBS = np.tile([0.25, 0.75], (40, 1))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"train_probs": PROBS[:39]}, r"train_probs is \(39, 2\), toy needs \(40, 2\): a row an image"),
        ({"train_logits": np.zeros((40, 3))}, r"train_logits is \(40, 3\), toy needs \(40, 2\)"),
        ({"train_logits": np.full((40, 2), np.nan)}, "row 0 of train_logits is not finite, as are 40 of 40"),
        (
            {"train_probs": PROBS * [[-1, 5]]},
            "row 0 of train_probs is no distribution: from 0 on, of sum 1; logits are",
        ),
        ({"train_probs": PROBS * 3}, "row 0 of train_probs is no distribution"),
        ({"train_probs": PROBS, "fingerprint": "abc"}, "its fingerprint is abc, that of toy [0-9a-f]{16}: it is of"),
        ({"train_probs": PROBS, "classes": ["b", "a"]}, "is of other classes: 'b' where toy has 'a'"),
        ({"train_probs": PROBS, "classes": ["a"]}, "is of other classes: '' where toy has 'b'"),
        ({"train_probs": PROBS, "train_logits": PROBS}, "has train_probs and train_logits: keep one"),
        ({"probs": PROBS}, "has no train_probs and no train_logits, but probs"),
        ({"train_probs": np.ones((40, 2), int)}, "train_probs has the type int64: give float"),
        ({"train_probs": np.array([{}] * 80).reshape(40, 2)}, "no readable .npz or .npy file of numbers"),
    ],
)
def test_faults_are_one_line(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    file = written(tmp_path / "t.npz", **arrays)
    with pytest.raises(InputError, match=f"t.npz: .*{message}" if "readable" not in message else message) as caught:
        answers([file], toy())
    assert "\n" not in str(caught.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "t.npz").write_text("nothing")
    for name in ("t.npz", "away.npz"):
        with pytest.raises(InputError, match=f"{name}: no readable .npz or .npy file"):
            answers([str(tmp_path / name)], toy())


def test_networks_and_files_exclude_each_other(tmp_path: Path) -> None:
    file = written(tmp_path / "t.npz", train_probs=PROBS)
    assert teachers_of([f"logits:{file}"], toy()).source.startswith("t.npz ")
    with pytest.raises(InputError, match="exclude each other: give one kind"):
        teachers_of([f"logits:{file}", "other.safetensors"], toy())
    assert isinstance(teachers_of([], toy()), Teachers)
