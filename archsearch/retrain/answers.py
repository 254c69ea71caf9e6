"""A file of what a network answered for each train image, in place of the labels."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from archsearch.data import Dataset
from archsearch.errors import InputError, one_line
from archsearch.training.data import TrainingData
from archsearch.training.setup import TrainingSetup

LOGITS = "logits:"
_ROUNDING = 0.02
"""By which the probabilities of a row may miss the sum 1: those in float16 of many classes do."""


@dataclass(frozen=True)
class Answers:
    """Probabilities (N, classes), float32, of each train image of a dataset, and of its own validation images.

    `source`: the files' names and the first digits of their SHA-256.
    """

    files: list[Path]
    source: str
    train: Tensor
    validation: Tensor | None = None
    notes: tuple[str, ...] = ()

    def given_to(self, setup: TrainingSetup) -> TrainingSetup:
        """The setup with these targets for the images that it trains on, as `TrainingData` chose them.

        Raises:
            InputError: validation images are trained on too, and the files say nothing of them.
        """
        data = setup.data
        if len(data.validation):
            targets = self.train[trained_on(data.dataset, setup.seed)]
        elif data.dataset.validation is None:
            targets = self.train
        elif self.validation is None:
            raise InputError(f"{self.source} has no val_probs or val_logits: validation images are trained on too")
        else:
            targets = torch.cat([self.train, self.validation])
        return replace(setup, data=_with_targets(data, targets))


def trained_on(dataset: Dataset, seed: int) -> Tensor:
    """The places (M,) of the train images that a search with this seed trains on, in its order."""
    if dataset.validation is not None:
        return torch.arange(len(dataset.labels))
    return dataset.positions(seed)[0]


def _with_targets(data: TrainingData, targets: Tensor) -> TrainingData:
    """The same images with float32 (N, classes) as labels."""
    return replace(data, train=data.train.with_labels(targets))


def answers(places: Sequence[str], dataset: Dataset) -> Answers:
    """The mean of what files say of a dataset's images: .npz, or .npy of the train images alone.

    An .npz has `train_probs` or `train_logits` (N, classes), perhaps `val_probs` or `val_logits` for the dataset's own
    validation images, `fingerprint` of the dataset and `classes`, their names. An .npy is read as probabilities where
    its rows are such, else as logits. Rows follow `Dataset.images`.

    Raises:
        InputError: missing or broken files, other numbers of images or classes, values that are no answers.
    """
    files = [Path(place).expanduser() for place in places]
    found = [_read(file, dataset) for file in files]
    validations = [validation for _, validation, _ in found]
    known = [one for one in validations if one is not None]
    digests = [hashlib.sha256(file.read_bytes()).hexdigest()[:8] for file in files]
    return Answers(
        files,
        ", ".join(f"{file.name} {digest}" for file, digest in zip(files, digests, strict=True)),
        torch.stack([train for train, _, _ in found]).mean(0),
        torch.stack(known).mean(0) if len(known) == len(found) else None,
        tuple(note for _, _, note in found),
    )


def _read(file: Path, dataset: Dataset) -> tuple[Tensor, Tensor | None, str]:
    """Probabilities of train and validation images, and what was found in one line."""
    arrays = _arrays(file)
    if isinstance(arrays, np.ndarray):
        arrays = {"train_probs" if _are_distributions(arrays) else "train_logits": arrays}
    _check_dataset(arrays, dataset, file)
    train, kind = _part(arrays, "train", dataset.labels, dataset, file)
    if train is None:
        raise InputError(f"{file}: has no train_probs and no train_logits, but {', '.join(arrays) or 'nothing'}")
    validation = None
    if dataset.validation is not None:
        validation, _ = _part(arrays, "val", dataset.validation[1], dataset, file)
    right = int((train.argmax(1) == dataset.labels).sum())
    return train, validation, f"{LOGITS}{file}: {kind} of {len(train):,} train images, right on {right:,}"


def _arrays(file: Path) -> Any:
    try:
        found = np.load(file, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return found
        with found:
            return {name: found[name] for name in found.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else one_line(error)
        raise InputError(f"{file}: no readable .npz or .npy file of numbers: {reason}") from None


def _are_distributions(values: NDArray[Any]) -> bool:
    if values.ndim != 2 or values.dtype.kind != "f":
        return False
    return bool((values >= 0).all() and (np.abs(values.sum(1, dtype=np.float64) - 1) <= _ROUNDING).all())


def _check_dataset(arrays: Mapping[str, NDArray[Any]], dataset: Dataset, file: Path) -> None:
    """Refuse what is said to be of other images or classes. Raises InputError."""
    if "fingerprint" in arrays and str(arrays["fingerprint"]) != dataset.fingerprint:
        raise InputError(
            f"{file}: its fingerprint is {arrays['fingerprint']}, that of {dataset.name} {dataset.fingerprint}:"
            " it is of other images, or of another image size"
        )
    if "classes" in arrays:
        theirs = [str(name) for name in np.atleast_1d(arrays["classes"])]
        if theirs != list(dataset.classes):
            pairs = zip([*theirs, ""], [*dataset.classes, ""], strict=False)
            there, here = next(pair for pair in pairs if pair[0] != pair[1])
            raise InputError(f"{file}: is of other classes: {there!r} where {dataset.name} has {here!r}")


def _part(
    arrays: Mapping[str, NDArray[Any]], part: str, labels: Tensor, dataset: Dataset, file: Path
) -> tuple[Tensor | None, str]:
    """Probabilities of one split, None where the file has none, and what the file holds."""
    names = [name for name in (f"{part}_probs", f"{part}_logits") if name in arrays]
    if len(names) == 2:
        raise InputError(f"{file}: has {names[0]} and {names[1]}: keep one")
    if not names:
        return None, ""
    name, values = names[0], arrays[names[0]]
    wanted = (len(labels), len(dataset.classes))
    if values.shape != wanted:
        raise InputError(
            f"{file}: {name} is {values.shape}, {dataset.name} needs {wanted}: a row an image, a column a class"
        )
    if values.dtype.kind != "f":
        raise InputError(f"{file}: {name} has the type {values.dtype}: give float16, float32 or float64")
    return _probabilities(values, name, file), name.partition("_")[2].replace("probs", "probabilities")


def _probabilities(values: NDArray[Any], name: str, file: Path) -> Tensor:
    """float32 rows of sum 1. Raises InputError."""
    if broken := np.flatnonzero(~np.isfinite(values).all(1)).tolist():
        raise InputError(f"{file}: row {broken[0]} of {name} is not finite, as are {len(broken):,} of {len(values):,}")
    numbers = torch.from_numpy(values.astype(np.float64))
    if name.endswith("_logits"):
        return numbers.softmax(1).float()
    if not _are_distributions(values):
        wrong = (numbers < 0).any(1) | ((numbers.sum(1) - 1).abs() > _ROUNDING)
        row = int(wrong.nonzero()[0])
        raise InputError(
            f"{file}: row {row} of {name} is no distribution: from 0 on, of sum 1;"
            f" logits are named {name.replace('probs', 'logits')}"
        )
    return (numbers / numbers.sum(1, keepdim=True)).float()
