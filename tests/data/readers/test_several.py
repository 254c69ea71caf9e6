"""`npz:` with several labels per image: ChestMNIST's layout, and what is refused or said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from chest import NAMES, chest_arrays, chest_npz
from data_samples import error_line, noise

from archsearch.data import describe, load_dataset


def small(**changes: object) -> dict[str, np.ndarray]:
    """Ten 4x5 images with three labels, and two for the test."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (10, 3)).astype(np.uint8)
    labels[:2] = [[0, 0, 0], [1, 1, 1]]
    values = {"train_images": noise(10, 4, 5, 3), "train_labels": labels,
              "test_images": noise(6, 4, 5, 3, seed=1), "test_labels": labels[:6]}  # fmt: skip
    return {**values, **changes}


def npz(folder: Path, **changes: object) -> str:
    np.savez(folder / "set.npz", **small(**changes))
    return f"npz:{folder / 'set.npz'}"


def test_the_layout_of_chestmnist(tmp_path: Path) -> None:
    arrays = chest_arrays(train=80, other=40)
    np.savez_compressed(tmp_path / "chestmnist.npz", **arrays)
    dataset = load_dataset(f"npz:{tmp_path / 'chestmnist.npz'}")
    assert dataset.several
    assert dataset.classes == tuple(map(str, range(14)))
    assert dataset.input_shape == (1, 28, 28)
    assert dataset.validation is not None
    for labels, part in ((dataset.labels, "train"), (dataset.validation[1], "val"), (dataset.test()[1], "test")):
        assert labels.dtype == torch.bool
        assert labels.tolist() == arrays[f"{part}_labels"].astype(bool).tolist()
    resized = load_dataset(f"npz:{tmp_path / 'chestmnist.npz'}", image_size=8)
    assert resized.test()[1].shape == (40, 14)
    assert resized.fingerprint != dataset.fingerprint


def test_classes_name_the_columns(tmp_path: Path) -> None:
    path = chest_npz(tmp_path / "c.npz", **chest_arrays(60, 30), classes=np.array(NAMES))
    assert load_dataset(f"npz:{path}").classes == NAMES
    assert "0, " not in describe(load_dataset(f"npz:{path}"))[0]


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool, np.uint64])
@pytest.mark.parametrize("order", ["C", "F"])
def test_types_and_orders(tmp_path: Path, dtype: type, order: str) -> None:
    labels = np.array(small()["train_labels"], dtype, order=order)
    dataset = load_dataset(npz(tmp_path, train_labels=labels))
    assert dataset.labels.numpy().astype(int).tolist() == labels.astype(int).tolist()
    assert dataset.fingerprint == load_dataset(npz(tmp_path)).fingerprint


def test_fingerprint_sees_labels(tmp_path: Path) -> None:
    labels = small()["train_labels"].copy()
    labels[4, 1] ^= 1
    assert load_dataset(npz(tmp_path)).fingerprint != load_dataset(npz(tmp_path, train_labels=labels)).fingerprint


def test_the_split_of_the_train_images(tmp_path: Path) -> None:
    arrays = {**chest_arrays(400, 20), "val_images": None, "val_labels": None}
    dataset = load_dataset(f"npz:{chest_npz(tmp_path / 'c.npz', **arrays)}")
    (images, labels), (held, theirs) = dataset.parts(0)
    assert (len(images), len(held)) == (320, 80)
    assert (theirs.sum(0) > 0).all()
    assert theirs.sum(0).tolist() == pytest.approx((0.2 * dataset.labels.sum(0)).tolist(), abs=2)
    everything = dataset.everything()[1]
    assert everything.shape == (400, 14)
    assert (labels.sum(0) + theirs.sum(0)).tolist() == everything.sum(0).tolist()


def test_what_is_said(tmp_path: Path) -> None:
    labels = small()["train_labels"].copy()
    labels[:, 2] = 0
    lines = describe(load_dataset(npz(tmp_path, train_labels=labels)))
    counts = labels.sum(0)
    assert lines[0] == f"3 classes: 0 ({counts[0]}), 1 ({counts[1]}), 2 (0)"
    assert lines[1].startswith(f"several labels per image: {labels.sum(1).mean():.2f} in the mean, ")
    assert f"{(labels.sum(1) == 0).sum()} of 10 images have none" in lines[1]
    assert lines[2] == "nothing to learn: no train image has label 2"
    test = small()["test_labels"].copy()
    test[:, 0] = 0
    assert "test has no image with label 0" in describe(load_dataset(npz(tmp_path, test_labels=test)))


ONE_HOT = np.eye(3, dtype=np.uint8)[[0, 1, 2, 0, 1, 2, 0, 1, 2, 0]]


def test_rows_with_one_label_each_are_ambiguous(tmp_path: Path) -> None:
    spec = npz(tmp_path, train_labels=ONE_HOT, test_labels=ONE_HOT[:6])
    message = error_line(spec)
    assert "every row of train_labels has exactly one 1" in message
    assert "?labels=one" in message
    assert "?labels=several" in message
    one = load_dataset(f"{spec}?labels=one")
    assert not one.several
    assert one.labels.tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]
    assert one.test()[1].tolist() == [0, 1, 2, 0, 1, 2]
    assert one.name.endswith("?labels=one")
    many = load_dataset(f"{spec}?labels=several")
    assert many.several
    assert many.labels.numpy().astype(int).tolist() == ONE_HOT.tolist()


@pytest.mark.parametrize(
    ("changes", "options", "part"),
    [
        ({"train_labels": small()["train_labels"] + 1}, "", "train_labels has the value 2 in row 1, column 0"),
        ({"train_labels": small()["train_labels"].astype(np.int64) - 1}, "", "has the value -1 in row 0, column 0"),
        ({"train_labels": small()["train_labels"].astype(float)}, "", "train_labels is float64: several labels"),
        ({"train_labels": np.full((10, 3), np.nan)}, "", "train_labels is float64: several labels per image are int"),
        ({"test_labels": small()["test_labels"] * 3}, "", "test_labels has the value 3 in row 1"),
        ({"test_labels": small()["test_labels"][:, :2]}, "", "test_labels has shape (6, 2) and train_labels (10, 3)"),
        ({"test_labels": np.arange(6) % 3}, "", "test_labels has shape (6,) and train_labels (10, 3)"),
        ({"train_labels": np.zeros((10, 3), int)}, "", "no train image has a label"),
        ({"train_labels": np.ones((10, 3), int)}, "", "all train images have the same labels"),
        ({"train_labels": np.zeros((10, 3, 2), int)}, "", "train_labels has shape (10, 3, 2): (N,) or (N, 1), or"),
        ({"classes": np.array(["a", "b"])}, "", "classes has 2 names and train_labels 3 classes"),
        ({"classes": np.array(["a", "b", "a"])}, "", "two classes are named 'a'"),
        ({"classes": np.array(["a", "", "b"])}, "", "class 1 has no name"),
        ({"classes": np.array(["a", 1, "b"], object)}, "", "classes holds pickled Python objects, which are refused"),
        ({}, "?labels=one", "row 0 of train_labels has 0 labels: ?labels=one needs one in every row"),
        ({}, "?labels=both", "there is no labels=both: it must be one or several"),
        ({}, "?label=one", "there is no option 'label'"),
        ({"train_labels": np.arange(10) % 3, "test_labels": np.arange(6) % 3}, "?labels=several",
         "train_labels has shape (10,): several labels per image are (N, classes)"),
    ],
)  # fmt: skip
def test_refused_in_one_line(tmp_path: Path, changes: dict[str, object], options: str, part: str) -> None:
    assert part in error_line(npz(tmp_path, **changes) + options)
