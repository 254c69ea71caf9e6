"""By which metric trainings are judged, and whether the images leave it defined."""

from __future__ import annotations

from torch import Tensor

from archsearch.data import Dataset
from archsearch.metrics import ACCURACY, Metric, is_multilabel, metric_of, require_defined


def default_metric(dataset: Dataset) -> str:
    """The name of what is maximised where nobody says: accuracy, or macro AUROC where an image has several labels."""
    return "macro-auroc" if is_multilabel(dataset.labels) else ACCURACY


def metric_for(name: str, dataset: Dataset) -> Metric | None:
    """The metric of a name for the classes of a dataset; None for accuracy, which is measured anyway.

    Raises:
        InputError: no such metric, or none for these classes.
    """
    if name == ACCURACY:
        return None
    return metric_of(name, dataset.classes, several=is_multilabel(dataset.labels))


def require_judged(name: str, dataset: Dataset, seed: int) -> None:
    """Raises InputError where there is no such metric, or validation images of this split seed leave it undefined."""
    metric = metric_for(name, dataset)
    if metric:
        require_defined(metric, validation_labels(dataset, seed), "the validation images")


def metric_for_test(name: str, dataset: Dataset) -> Metric | None:
    """The metric for the test split, whose images stay unread; None for accuracy.

    Raises:
        InputError: as `metric_for`, or the test labels leave it undefined, where they are known.
    """
    metric = metric_for(name, dataset)
    if metric and dataset.test_labels is not None:
        require_defined(metric, dataset.test_labels, "the test images")
    return metric


def validation_labels(dataset: Dataset, seed: int) -> Tensor:
    """The labels of `dataset.parts(seed)`'s validation images, without the images. Raises DataError."""
    if dataset.validation is not None:
        return dataset.validation[1]
    return dataset.labels[dataset.positions(seed)[1]]
