"""Descriptions of datasets, held against plain loops."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from archsearch.data import load_dataset
from archsearch.data.dataset import Dataset, images_from
from archsearch.data.store.survey import _copies, survey

IMAGES = st.lists(
    st.tuples(st.sampled_from(["train", "val", "test"]), st.integers(0, 4), st.integers(0, 1)), max_size=12
)


@given(IMAGES)
def test_copies_are_those_of_plain_loops(images: list[tuple[str, int, int]]) -> None:
    """The first of equal images, train before others, is no copy."""
    parts = ["train", "val", "test"]
    sums = {part: np.array([one for name, one, _ in images if name == part], np.uint64) for part in parts}
    labels = {part: np.array([label for name, _, label in images if name == part], np.int64) for part in parts}
    found = _copies(sums, labels, lambda part, number: f"{part} {number}")
    first: dict[int, tuple[str, int]] = {}
    between, twice, other = dict.fromkeys(("val", "test"), 0), 0, 0
    for part in parts:
        for one, label in zip(sums[part].tolist(), labels[part].tolist(), strict=True):
            if one not in first:
                first[one] = part, label
                continue
            twice += part == "train"
            other += label != first[one][1]
            if part != "train":
                between[part] += first[one][0] == "train"
    assert (dict(found.between), found.twice, found.labels) == (between, twice, other)
    assert bool(found.examples) == bool(other or any(between.values()))


def test_images_without_files_are_named_by_their_place() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), np.uint8)
    pixels[4] = pixels[1]
    pixels[5] = 9
    labels = torch.tensor([0, 0, 1, 1, 1, 1])
    dataset = Dataset(
        "x", ("a", "b"), images_from(pixels), labels, None, True, lambda: (images_from(pixels[:2]), labels[:2])
    )
    found = survey(dataset, None)
    assert found.counts == {"train": [2, 4], "test": [2, 0]}
    assert found.blank == ["train image 5"]
    assert dict(found.pixels.between) == {"test": 2}
    assert (found.pixels.twice, found.pixels.labels) == (1, 1)
    assert ("train image 1", "train image 4") in found.pixels.examples


def test_digits_hold_no_copy_of_their_test() -> None:
    found = survey(load_dataset("digits"), None)
    assert found.shape == (1, 8, 8)
    assert not found.blank
