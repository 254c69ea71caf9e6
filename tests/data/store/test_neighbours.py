"""Labels that neighbours contradict: swapped ones are found."""

from __future__ import annotations

import pytest
import torch
from data_samples import noise_images

from archsearch.data import load_dataset
from archsearch.data.pixels import Pixels
from archsearch.data.store import neighbours
from archsearch.data.store.neighbours import doubtful, features


def test_swapped_labels_are_found() -> None:
    dataset = load_dataset("digits")
    swapped = torch.randperm(len(dataset.labels), generator=torch.Generator().manual_seed(0))[:30]
    labels = dataset.labels.clone()
    labels[swapped] = (labels[swapped] + 3) % 10
    found = doubtful(dataset.images, labels)
    assert found is not None
    assert len(found) == 20
    assert sum(number in swapped.tolist() for number, _ in found) >= 17
    assert all(int(dataset.labels[number]) == other for number, other in found if number in swapped.tolist())


def test_nothing_is_said_where_neighbours_tell_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = load_dataset("digits")
    assert doubtful(dataset.images, torch.arange(len(dataset.labels)) % 2) is None
    assert doubtful(dataset.images.subset(torch.arange(5)), dataset.labels[:5]) is None
    assert doubtful(dataset.images, dataset.labels) is not None
    monkeypatch.setattr(neighbours, "_MOST", 1000)
    assert doubtful(dataset.images, dataset.labels) is None


def test_features_do_not_change_with_brightness() -> None:
    images = noise_images(4, 3, 32, 32) // 2
    assert torch.allclose(features(Pixels.of(images)), features(Pixels.of(images + 40)), atol=1e-5)
