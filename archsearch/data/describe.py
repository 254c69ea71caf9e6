"""What a user should see of a dataset before anything is trained."""

from __future__ import annotations

import torch

from archsearch.data.dataset import Dataset, counts_of

_ALL, _FIRST, _LONG = 10, 3, 24


def describe(dataset: Dataset) -> list[str]:
    """Lines: the classes with their numbers of images, those of the test left out, then the dataset's notes."""
    labels = dataset.labels if dataset.validation is None else torch.cat([dataset.labels, dataset.validation[1]])
    counts = counts_of(labels, len(dataset.classes)).tolist()
    named = [f"{_short(name)} ({count:,})" for name, count in zip(dataset.classes, counts, strict=True)]
    if len(named) <= _ALL:
        shown = ", ".join(named)
    else:
        fewest, most = (named[counts.index(end(counts))] for end in (min, max))
        shown = f"{', '.join(named[:_FIRST])}, ...; fewest {fewest}, most {most}"
    return [f"{len(named)} classes: {shown}", *(_several(labels) if dataset.several else []), *dataset.notes]


def _several(labels: torch.Tensor) -> list[str]:
    """What several labels per image change, in a line."""
    none, mean = int((~labels.any(1)).sum()), float(labels.sum(1).double().mean())
    return [
        f"several labels per image: {mean:.2f} in the mean, {none:,} of {len(labels):,} images have none; trained by"
        " binary cross-entropy without label smoothing, accuracy is the share of right answers, yes or no"
    ]


def unread_test(dataset: Dataset, count: int) -> list[str]:
    """A line where `Dataset.test` gave only `count` of the images that are listed."""
    missing = dataset.test_count - count
    return [f"left out by --skip-broken: {missing:,} more of the test pictures"] if missing > 0 else []


def _short(name: str) -> str:
    return name if len(name) <= _LONG else f"{name[: _LONG - 3]}..."
