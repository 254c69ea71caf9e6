"""How well a trained file does on a split: accuracy, accuracy a class, confusion matrix."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from archsearch._utils.files import write_with
from archsearch.data import Dataset
from archsearch.data.dataset import Split
from archsearch.data.pixels import Pixels
from archsearch.errors import InputError
from archsearch.metrics import Metric, is_multilabel
from archsearch.metrics.thresholds import is_several, said
from archsearch.network.arch import Arch

_NUMBERS_UP_TO = 25


class Described(Protocol):
    """Anything that knows its architecture and what its file says of it."""

    @property
    def arch(self) -> Arch: ...

    @property
    def info(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class Scores:
    """`confusion`: int64 (classes, classes), images of class i that were taken for class j; `score`: a metric's."""

    classes: tuple[str, ...]
    confusion: Tensor
    score: float | None = None

    @property
    def n(self) -> int:
        """Images."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """The share of images with the right label."""
        return int(self.confusion.diagonal().sum()) / self.n

    @property
    def per_class(self) -> dict[str, float | None]:
        """The same for each class; None where it has no image."""
        pairs = zip(self.confusion.diagonal().tolist(), self.confusion.sum(1).tolist(), strict=True)
        return {name: right / n if n else None for name, (right, n) in zip(self.classes, pairs, strict=True)}

    def mistakes(self, most: int) -> list[tuple[str, str, int]]:
        """The pairs (class, taken for, images) that are confused most often, at most so many."""
        wrong = self.confusion.clone()
        wrong.fill_diagonal_(0)
        counts, places = wrong.flatten().sort(descending=True, stable=True)
        size = len(self.classes)
        pairs = zip(counts[:most].tolist(), places[:most].tolist(), strict=True)
        return [(self.classes[at // size], self.classes[at % size], n) for n, at in pairs if n]


def evaluate(
    classify: Callable[[Pixels], Tensor], part: Split, classes: tuple[str, ...], metric: Metric | None = None
) -> Scores:
    """Hold a network against labelled images.

    Args:
        classify: uint8 images (N, C, H, W) to logits (N, classes), as a `Runner` does.
        part: uint8 images and int64 labels (N,).
        metric: what else is measured; None: nothing.

    Raises:
        InputError: there is no image, the labels leave the metric undefined, or the outputs are not finite.
    """
    images, labels = part
    if not len(labels):
        raise InputError("this split has no images to evaluate on")
    logits = classify(images)
    found = tally(logits, labels, classes)
    return replace(found, score=metric(logits, labels)) if metric else found


def correct(logits: Tensor, labels: Tensor) -> Tensor:
    """Whether each image's label (N,) is the place of its largest logit (N, classes): bool (N,).

    Of several labels per image, bool (N, classes), whether each answer, yes or no, is right: bool (N, classes).
    """
    return (said(logits) if is_multilabel(labels) else logits.argmax(1)) == labels


def require_finite(logits: Tensor, where: object = "this network") -> None:
    """Raises InputError where logits (N, classes) are no numbers: their order says nothing of a class."""
    broken = int((~torch.isfinite(logits)).any(1).sum())
    if broken:
        raise InputError(
            f"{where}: outputs are not finite for {broken:,} of {len(logits):,} images:"
            " its weights are broken or too large for their precision"
        )


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """The share of images with the right label, of several per image that of right answers, yes or no.

    Raises InputError where logits are not finite.
    """
    require_finite(logits)
    return int(correct(logits, labels).sum()) / labels.numel()


def tally(logits: Tensor, labels: Tensor, classes: tuple[str, ...]) -> Scores:
    """The evaluation of logits (N, classes) that were computed before. Raises InputError where they are not finite."""
    require_finite(logits)
    size = len(classes)
    cells = torch.bincount(labels * size + logits.argmax(1), minlength=size * size)
    return Scores(classes, cells.view(size, size))


def part_of(dataset: Dataset, name: str, seed: int) -> Split:
    """The images and labels of a split: test, or train and validation as a search with this seed divides them.

    Raises:
        DataError: the test split is broken, or the seed is none.
    """
    if name == "test":
        return dataset.test()
    train, validation = dataset.parts(seed)
    return validation if name == "validation" else train


def check_fit(network: Described, dataset: Dataset, path: str) -> None:
    """Raises InputError where a network was not made for these images or these classes."""
    arch, names = network.arch, network.info.get("classes")
    if dataset.input_shape != arch.input_shape:
        wanted, given = ("x".join(map(str, shape)) for shape in (arch.input_shape, dataset.input_shape))
        raise InputError(f"{path} takes images of {wanted}, {dataset.name} has {given}: see --image-size")
    if len(dataset.classes) != arch.classes:
        raise InputError(f"{path} tells {arch.classes} classes apart, {dataset.name} has {len(dataset.classes)}")
    if is_several(network.info) != dataset.several:
        own, here = ("several labels" if many else "one label" for many in (not dataset.several, dataset.several))
        raise InputError(f"{path} was trained on {own} per image, {dataset.name} has {here}: give another dataset")
    if isinstance(names, list) and names != list(dataset.classes):
        pairs = zip(names, dataset.classes, strict=False)
        mine, theirs = next((pair for pair in pairs if pair[0] != pair[1]), (len(names), arch.classes))
        raise InputError(f"{path}: it was trained on other classes: {mine!r} where {dataset.name} has {theirs!r}")


def draw_confusion(path: Path, evaluation: Scores, title: str) -> Path:
    """The confusion matrix as a picture: shares of each class, with numbers of images where they are readable.

    Raises:
        OSError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    classes, counts = evaluation.classes, evaluation.confusion
    shares = counts / counts.sum(1, keepdim=True).clamp(min=1)
    side = min(12.0, 3.5 + 0.4 * len(classes))
    figure = Figure(figsize=(side, side), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="taken for", ylabel="class")
    axes.set_title(f"{title}: {100 * evaluation.accuracy:.2f}% of {evaluation.n:,}", parse_math=False)
    if len(classes) <= _NUMBERS_UP_TO:
        axes.set_xticks(range(len(classes)), classes, rotation=90, parse_math=False)
        axes.set_yticks(range(len(classes)), classes, parse_math=False)
        for i, row in enumerate(counts.tolist()):
            for j, n in enumerate(row):
                if n:
                    shade = "white" if shares[i, j] > 0.5 else "black"
                    axes.text(j, i, str(n), ha="center", va="center", fontsize=7, color=shade)
    return write_with(path, lambda temporary: figure.savefig(temporary, format=path.suffix.lstrip(".") or "png"))
