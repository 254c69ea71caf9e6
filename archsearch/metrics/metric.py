"""A metric by its name: what it needs of labels, and its value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from archsearch._utils.scores import ACCURACY, RECALL, Score, score_named
from archsearch.errors import InputError

_Array = NDArray[np.float64]
_Score = Callable[[NDArray[np.int64], _Array, "Classes"], float]


@dataclass(frozen=True)
class Classes:
    """What a metric knows of the labels: how many classes, whether an image may have several, and the one asked for."""

    count: int
    several: bool
    chosen: int | None = None


@dataclass(frozen=True)
class _Kind:
    """A metric before the classes are known.

    `score`: of labels (N,) or (N, classes), probabilities and classes;
    `ranks`: it needs images with and without each class; `present`: it needs an image of each class;
    `several`: it is one where an image may have several classes.
    """

    score: _Score
    ranks: bool = False
    present: bool = False
    several: bool = True


def _accuracy(labels: NDArray[np.int64], shares: _Array, classes: Classes) -> float:
    """Of several labels: the share of right yes and no."""
    return float((_answers(shares, classes) == labels).mean())


def _balanced(labels: NDArray[np.int64], shares: _Array, classes: Classes) -> float:
    from sklearn.metrics import balanced_accuracy_score, recall_score

    if classes.several:
        answers = _answers(shares, classes)
        return float(np.mean([balanced_accuracy_score(*pair) for pair in zip(labels.T, answers.T, strict=True)]))
    return float(recall_score(labels, _answers(shares, classes), labels=range(classes.count), average="macro"))


def _f1(labels: NDArray[np.int64], shares: _Array, classes: Classes) -> float:
    from sklearn.metrics import f1_score

    answers = _answers(shares, classes)
    if classes.several:  # by columns: a single one is taken for two classes
        pairs = zip(labels.T, answers.T, strict=True)
        return float(np.mean([f1_score(*pair, zero_division=0.0) for pair in pairs]))
    return float(f1_score(labels, answers, labels=range(classes.count), average="macro", zero_division=0.0))


def _auroc(labels: NDArray[np.int64], shares: _Array, classes: Classes) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(_one_hot(labels, classes), shares, average="macro"))


def _precision(labels: NDArray[np.int64], shares: _Array, classes: Classes) -> float:
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(_one_hot(labels, classes), shares, average="macro"))


def _recall(labels: NDArray[np.int64], shares: _Array, classes: Classes) -> float:
    if classes.chosen is None:
        raise ValueError("recall is of a class")
    mine = _one_hot(labels, classes)[:, classes.chosen].astype(bool)
    return float(_one_hot(_answers(shares, classes), classes)[mine, classes.chosen].mean())


def _kappa(labels: NDArray[np.int64], shares: _Array, classes: Classes, weights: str | None = None) -> float:
    from sklearn.metrics import cohen_kappa_score

    return float(cohen_kappa_score(labels, _answers(shares, classes), labels=range(classes.count), weights=weights))


def _answers(shares: _Array, classes: Classes) -> NDArray[np.int64]:
    """The class that is said, (N,); of several the ones said, 0 or 1 (N, classes)."""
    found = shares > 0.5 if classes.several else shares.argmax(1)
    return found.astype(np.int64)


def _one_hot(labels: NDArray[np.int64], classes: Classes) -> NDArray[np.int64]:
    return labels if classes.several else np.eye(classes.count, dtype=np.int64)[labels]


_KINDS = {
    ACCURACY: _Kind(_accuracy),
    "balanced-accuracy": _Kind(_balanced, present=True),
    "macro-f1": _Kind(_f1, present=True),
    "macro-auroc": _Kind(_auroc, ranks=True),
    "average-precision": _Kind(_precision, present=True),
    "cohen-kappa": _Kind(_kappa, several=False),
    "quadratic-kappa": _Kind(partial(_kappa, weights="quadratic"), several=False),
}


@dataclass(frozen=True)
class Metric:
    """Of logits and labels one number, the higher the better.

    `name`: as `--metric` has it. From 0 to 1, kappa from -1.
    """

    name: str
    classes: tuple[str, ...]
    known: Classes
    kind: _Kind

    def __call__(self, logits: Tensor, labels: Tensor) -> float:
        """The score of finite logits (N, classes), on any device. Raises InputError where it is not defined."""
        require_defined(self, labels, "these images")
        return self.kind.score(_plain(labels), _shares(logits, self.known), self.known)

    @property
    def words(self) -> str:
        """In a sentence and on an axis."""
        return Score(self.name).words

    def shown(self, value: float) -> str:
        """`81.23%` for a share of images, else `0.8123`."""
        return Score(self.name).shown(value)


def is_multilabel(labels: Tensor) -> bool:
    """Whether labels are bool (N, classes), several an image, rather than int64 (N,)."""
    return labels.ndim == 2


def metric_of(name: str, classes: Sequence[str], *, several: bool = False) -> Metric:
    """The metric of a name, such as `macro-f1` or `recall:melanoma`.

    Args:
        classes: names by their labels.
        several: whether an image may have several.

    Raises:
        InputError: no such metric, no such class, or none for several labels; one line.
    """
    score_named(name)
    names, chosen = tuple(classes), None
    if name.startswith(RECALL):
        wanted = name.removeprefix(RECALL)
        if wanted not in names:
            raise InputError(f"--metric {name}: there is no class {wanted!r}: it must be one of {_listed(names)}")
        kind, chosen = _Kind(_recall), names.index(wanted)
    else:
        kind = _KINDS[name]
    if several and not kind.several:
        told = "macro-auroc or average-precision"
        raise InputError(f"--metric {name}: is not defined where an image may have several labels: use {told}")
    return Metric(name, names, Classes(len(names), several, chosen), kind)


def require_defined(metric: Metric, labels: Tensor, where: str) -> None:
    """Raises InputError where labels leave a metric undefined: a class that is missing, or that every image has."""
    with_class = _counts(labels, metric.known)
    missing = [name for name, n in zip(metric.classes, with_class, strict=True) if n == 0]
    full = [name for name, n in zip(metric.classes, with_class, strict=True) if n == len(labels)]
    if not len(labels):
        raise InputError(f"--metric {metric.name}: {where} are none: it needs some")
    chosen = metric.known.chosen
    if chosen is not None:
        missing, full = [name for name in missing if name == metric.classes[chosen]], []
    needs_both = metric.kind.ranks or (metric.kind.present and metric.known.several)
    if missing and (metric.kind.ranks or metric.kind.present or chosen is not None):
        raise InputError(
            f"--metric {metric.name}: not defined, {where} have none of class {_listed(missing)}: add some, take the"
            " class out, or use accuracy"
        )
    if full and needs_both:
        raise InputError(
            f"--metric {metric.name}: not defined, all of {where} are of class {_listed(full)}: add others, or use"
            " accuracy"
        )
    if "kappa" in metric.name and sum(n > 0 for n in with_class) < 2:
        raise InputError(f"--metric {metric.name}: not defined, {where} are of one class alone: use accuracy")


def metric_in(info: Mapping[str, Any], classes: Sequence[str], labels: Tensor) -> Metric | None:
    """The metric that a trained file's metadata name, for these labels.

    None for accuracy, where they name none of these classes, or where the labels leave it undefined.
    """
    name = str(info.get("metric", ACCURACY))
    if name == ACCURACY:
        return None
    try:
        metric = metric_of(name, classes, several=is_multilabel(labels))
        require_defined(metric, labels, "these images")
    except InputError:
        return None
    return metric


def every_metric(
    logits: Tensor, labels: Tensor, classes: Sequence[str], *, names: Sequence[str] = tuple(_KINDS)
) -> dict[str, float | None]:
    """All metrics of logits (N, classes) by name, None where one is not defined; recall of a class is left out."""
    several, found = is_multilabel(labels), dict[str, float | None]()
    for name in names:
        if several and not _KINDS[name].several:
            continue
        try:
            found[name] = metric_of(name, classes, several=several)(logits, labels)
        except InputError:  # a class is missing: the others are defined
            found[name] = None
    return found


def _counts(labels: Tensor, classes: Classes) -> list[int]:
    """Images of each class."""
    if classes.several:
        return [int(n) for n in labels.sum(0)]
    return [int(n) for n in torch.bincount(labels.cpu(), minlength=classes.count)]


def _plain(labels: Tensor) -> NDArray[np.int64]:
    found: NDArray[np.int64] = labels.long().cpu().numpy()
    return found


def _shares(logits: Tensor, classes: Classes) -> _Array:
    """float64 probabilities (N, classes): softmax, or of several labels the sigmoid of each."""
    exact = logits.detach().cpu().double()  # Metal has no float64
    found: _Array = (exact.sigmoid() if classes.several else exact.softmax(1)).numpy()
    return found


def _listed(names: Sequence[str], most: int = 8) -> str:
    more = len(names) - most
    return ", ".join(map(repr, names[:most])) + (f" and {more} more" if more > 0 else "")
