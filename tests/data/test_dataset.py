"""Datasets in memory, splits and augmentation: laws, on the real digits and on made-up pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from data_samples import error_line, noise
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from whole import levels, normalised

from archsearch.data import Augmentation, Dataset, DeviceData, epoch, load_dataset, split
from archsearch.data.pixels import Pixels
from archsearch.data.splits import validation_share
from archsearch.errors import DataError

CPU = torch.device("cpu")
few = settings(max_examples=40)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# digits, and what every dataset can do


def test_digits_are_scikit_learns_less_300_for_the_test() -> None:
    dataset = load_dataset("digits")
    images, labels = dataset.test()
    assert dataset.images.shape == (1497, 1, 8, 8)
    assert images.shape == (300, 1, 8, 8)
    assert dataset.input_shape == (1, 8, 8)
    assert dataset.images[:].dtype == torch.uint8
    assert dataset.labels.dtype == torch.int64
    assert not dataset.flip
    assert dataset.validation is None
    assert dataset.classes == tuple("0123456789")
    assert torch.bincount(labels).tolist() == pytest.approx([30] * 10, abs=1)
    together = torch.cat([dataset.images[:], images[:]]).flatten(1)
    whole = np.rint(load_digits().data * 255 / 16).astype(np.uint8)
    assert sorted(map(bytes, together.numpy())) == sorted(map(bytes, whole))


def test_the_same_digits_every_time() -> None:
    first, second = load_dataset("digits"), load_dataset("digits")
    assert first.fingerprint == second.fingerprint
    assert len(first.fingerprint) == 16
    assert int(first.fingerprint, 16) >= 0
    assert torch.equal(first.test()[0][:], second.test()[0][:])


def test_normalisation_is_that_of_the_train_images() -> None:
    dataset = load_dataset("digits")
    pixels = dataset.images[:].double() / 255
    (mean,), (std,) = dataset.normalisation
    assert mean == pytest.approx(pixels.mean().item(), abs=1e-12)
    assert std == pytest.approx(pixels.std(correction=0).item(), abs=1e-12)


def in_memory(images: np.ndarray, labels: list[int], **other: object) -> Dataset:
    values = {"classes": ("a", "b"), "validation": None, "flip": False, "read_test": lambda: None, **other}
    return Dataset("made", images=Pixels.of(torch.from_numpy(images)), labels=torch.tensor(labels), **values)


def test_a_constant_channel_is_normalised_to_finite_numbers() -> None:
    dataset = in_memory(np.full((4, 3, 2, 2), 7, np.uint8), [0, 1, 0, 1])
    data = DeviceData(dataset.images, dataset.labels, dataset.normalisation, CPU)
    assert torch.allclose(normalised(data), torch.zeros(4, 3, 2, 2), atol=1e-4)


def test_fingerprint_sees_pixels_labels_classes_and_validation_but_not_strides() -> None:
    images, labels = noise(4, 3, 2, 2), [0, 1, 0, 1]
    other = images.copy()
    other[0, 0, 0, 0] ^= 1
    own = (Pixels.of(torch.from_numpy(images)), torch.tensor(labels))
    distinct = [
        in_memory(images, labels),
        in_memory(other, labels),
        in_memory(images, [1, 1, 0, 1]),
        in_memory(images, labels, classes=("a", "c")),
        in_memory(images, labels, validation=own),
        in_memory(images.reshape(4, 3, 4, 1), labels),
    ]
    assert len({dataset.fingerprint for dataset in distinct}) == len(distinct)
    restrided = np.ascontiguousarray(images.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    assert in_memory(restrided, labels).fingerprint == distinct[0].fingerprint


def test_image_size_resizes_every_split() -> None:
    dataset = load_dataset("digits", image_size=16)
    original = load_dataset("digits")
    assert dataset.input_shape == (1, 16, 16)
    assert dataset.test()[0].shape == (300, 1, 16, 16)
    mean = original.images[:].float().mean().item()
    assert dataset.images[:].float().mean().item() == pytest.approx(mean, rel=0.02)
    assert torch.equal(load_dataset("digits", image_size=8).images[:], original.images[:])


@pytest.mark.parametrize("size", [0, -3, 1025])
def test_image_size_out_of_range(size: int) -> None:
    assert f"image size {size}: must be" in error_line("digits", image_size=size)


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("cifar-10", "did you mean cifar10?"),
        ("CIFAR100", "did you mean cifar100?"),
        ("fashion_mnist", "did you mean fashion-mnist?"),
        ("my.npz", "did you mean npz:my.npz?"),
        ("npz:", "did you mean npz:FILE?"),
        ("tests", "did you mean folder:tests?"),
        ("zzzz", "cifar:DIR"),
    ],
)
def test_unknown_spec_names_the_valid_ones_and_the_nearest(
    spec: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tests").mkdir()
    monkeypatch.chdir(tmp_path)
    message = error_line(spec)
    assert message.startswith(f"dataset {spec!r}: must be one of digits, mnist,")
    assert message.endswith(hint) or message.endswith(f"({hint})")


# split

labelled = st.lists(st.integers(0, 5), min_size=1, max_size=300).map(torch.tensor)
seeds = st.integers(0, 2**32)


@few
@given(labelled, seeds, st.none() | st.floats(0.01, 0.99))
def test_split_is_a_stratified_partition_fixed_by_the_seed(
    labels: torch.Tensor, seed: int, fraction: float | None
) -> None:
    train, validation = split(labels, seed, fraction)
    assert sorted([*train.tolist(), *validation.tolist()]) == list(range(len(labels)))
    assert train.tolist() == sorted(train.tolist())
    assert validation.tolist() == sorted(validation.tolist())
    for label in labels.unique():
        size, held_out = int((labels == label).sum()), int((labels[validation] == label).sum())
        assert abs(held_out - size * (fraction or 0.2)) <= 1
        assert held_out < size
        assert held_out >= 1 or size == 1
    again = split(labels, seed, fraction)
    assert torch.equal(train, again[0])
    assert torch.equal(validation, again[1])


def test_split_shares_and_seeds() -> None:
    small, large = torch.arange(9_990) % 10, torch.arange(10_000) % 10
    assert len(split(small, 0)[1]) == 1_998
    assert len(split(large, 0)[1]) == 1_000
    assert len({tuple(split(small, seed)[1].tolist()) for seed in range(20)}) == 20


def test_a_fifth_judges_up_to_what_is_enough() -> None:
    assert validation_share(1_437) == validation_share(50_000) == 0.2
    assert round(60_000 * validation_share(60_000)) == round(10**7 * validation_share(10**7)) == 10_000


def test_the_parts_of_a_dataset() -> None:
    digits = replace(load_dataset("digits"), share=0.5)
    (images, labels), (held, _) = digits.parts(1)
    train, validation = split(digits.labels, 1, 0.5)
    assert torch.equal(images[:], digits.images[train])
    assert torch.equal(labels, digits.labels[train])
    assert torch.equal(held[:], digits.images[validation])
    whole = replace(digits, share=None)
    assert whole.fingerprint == digits.fingerprint
    assert len(whole.parts(1)[1][1]) == round(0.2 * len(digits.labels))


def test_a_single_image_a_class_leaves_none_to_judge_by() -> None:
    digits = load_dataset("digits")
    few = replace(digits, images=Pixels.of(digits.images[:3]), labels=torch.arange(3))
    with pytest.raises(DataError, match="digits: no class has two train images"):
        few.parts(0)


def test_split_refuses_a_bad_seed_or_fraction() -> None:
    with pytest.raises(DataError, match="seed -1"):
        split(torch.zeros(4), -1)
    with pytest.raises(DataError, match=r"fraction 1\.5"):
        split(torch.zeros(4), 0, 1.5)


# batches


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_device_data_is_normalised_channels_last(dtype: torch.dtype) -> None:
    images = torch.from_numpy(noise(600, 3, 4, 5))
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    data = DeviceData(images, torch.arange(600), (mean, std), CPU, dtype)
    expected = (images / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    assert len(data) == 600
    found = normalised(data)
    assert found.dtype == dtype
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(levels(data), images)
    assert torch.equal(data.normalised(images[:5]), found[:5])
    assert torch.allclose(found.float(), expected, atol=1e-5 if dtype == torch.float32 else 2e-2)


def device_data(count: int) -> DeviceData:
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(count, 1, 3, 3)
    return DeviceData(images, torch.arange(count), ((0.0,), (1 / 255,)), CPU)


def test_epoch_shuffles_and_yields_each_image_with_its_label_in_full_batches() -> None:
    seen = []
    for images, labels in epoch(device_data(50), 8, generator=generator(), augmentation=Augmentation(crop=1, flip=1)):
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert images.shape == (8, 1, 3, 3)
        assert torch.allclose(images, labels.view(-1, 1, 1, 1).expand_as(images).float(), atol=1e-4)
        seen += labels.tolist()
    assert len(seen) == len(set(seen)) == 48
    assert seen != sorted(seen)


def test_epoch_keeps_a_partial_batch_that_is_the_only_one() -> None:
    (only,) = epoch(device_data(5), 8, generator=generator())
    assert sorted(only[1].tolist()) == [0, 1, 2, 3, 4]
    assert len(list(epoch(device_data(16), 8, generator=generator()))) == 2


def test_epochs_follow_the_generator() -> None:
    def order(draws: torch.Generator) -> list[int]:
        return [n for _, labels in epoch(device_data(30), 10, generator=draws) for n in labels.tolist()]

    draws = generator(3)
    first, second = order(draws), order(draws)
    assert first != second
    assert order(generator(3)) == first
