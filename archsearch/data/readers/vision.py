"""The named datasets: scikit-learn's embedded digits and four that torchvision downloads."""

from __future__ import annotations

import shutil
import socket
import tarfile
import tempfile
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from pathlib import Path
from pickle import UnpicklingError
from textwrap import shorten
from typing import Any

import numpy as np
import torch

from archsearch.data.dataset import Dataset, Split, images_from
from archsearch.data.splits import hold_out
from archsearch.errors import DataError

_DIGITS_TEST = 300  # of 1,797 images
_SILENCE = 10.0  # seconds without a byte after which a download counts as failed
_IDX = tuple(f"{part}-ubyte.gz" for part in ("train-images-idx3", "train-labels-idx1",
                                             "t10k-images-idx3", "t10k-labels-idx1"))  # fmt: skip


@dataclass(frozen=True)
class _Source:
    loader: str  # class in torchvision.datasets
    folder: str  # where it looks for the archives, inside the data folder
    archives: tuple[str, ...]
    flip: bool


SOURCES = {
    "mnist": _Source("MNIST", "MNIST/raw", _IDX, flip=False),
    "fashion-mnist": _Source("FashionMNIST", "FashionMNIST/raw", _IDX, flip=True),
    "cifar10": _Source("CIFAR10", "", ("cifar-10-python.tar.gz",), flip=True),
    "cifar100": _Source("CIFAR100", "", ("cifar-100-python.tar.gz",), flip=True),
}


def load_digits() -> Dataset:
    """scikit-learn's 1,797 digits, 8x8 and grey, less a fixed stratified test split of 300."""
    images, labels = _digits(test=False)
    classes = tuple(str(digit) for digit in range(10))
    return Dataset("digits", classes, images, labels, None, False, partial(_digits, test=True))


def _digits(test: bool) -> Split:
    from sklearn.datasets import load_digits as bunch

    pixels, labels = bunch(return_X_y=True)
    priority = np.random.default_rng(0).permutation(len(labels))
    chosen = hold_out(labels, _DIGITS_TEST / len(labels), priority) == test
    levels = np.rint(pixels[chosen].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    return images_from(levels), torch.from_numpy(labels[chosen].astype(np.int64))


def load_vision(name: str, data_dir: Path) -> Dataset:
    """One of `SOURCES`, from `data_dir`, downloaded into it at the first use (bar on stderr).

    DataError when there is no whole copy and the download fails; `data_dir` is then as it was.
    """
    source = SOURCES[name]
    try:
        data = _open(source, data_dir, train=True)
    except _BROKEN:
        _download(name, source, data_dir)
        data = _open_or_explain(name, data_dir, train=True)
    images, labels = _tensors(data)
    read_test = partial(_read_test, name, data_dir)
    return Dataset(name, tuple(data.classes), images, labels, None, source.flip, read_test)


# What torchvision's readers let through for files that are missing, cut off or of another kind.
_BROKEN = (
    RuntimeError, OSError, ValueError, TypeError, LookupError, AssertionError, EOFError, UnpicklingError,
)  # fmt: skip
_FAILED = (RuntimeError, OSError, EOFError, HTTPException, tarfile.TarError, zlib.error)


def _open(source: _Source, root: Path, *, train: bool, download: bool = False) -> Any:
    from torchvision import datasets

    with warnings.catch_warnings():  # numpy 2.4 warns of the old pickles inside CIFAR
        warnings.filterwarnings("ignore", r"dtype\(\): align should be passed")
        return getattr(datasets, source.loader)(root, train=train, download=download)


def _open_or_explain(name: str, data_dir: Path, *, train: bool) -> Any:
    try:
        return _open(SOURCES[name], data_dir, train=train)
    except _BROKEN as error:
        raise DataError(
            f"{name}: the files in {data_dir / SOURCES[name].folder} are missing or damaged "
            f"({_brief(error)}): delete that folder and run again with a network"
        ) from error


def _tensors(data: Any) -> Split:
    return images_from(np.asarray(data.data)), torch.as_tensor(data.targets, dtype=torch.int64)


def _read_test(name: str, data_dir: Path) -> Split:
    return _tensors(_open_or_explain(name, data_dir, train=False))


def _download(name: str, source: _Source, data_dir: Path) -> None:
    """Downloads beside the data and moves whole files in, so that a failure or Ctrl-C leaves nothing."""
    home = data_dir.absolute()
    parent = next(folder for folder in (home, *home.parents) if folder.exists())
    try:
        with tempfile.TemporaryDirectory(prefix=".download-", dir=parent) as temporary, _download_timeout():
            stage = Path(temporary)
            _copy_archives(source, data_dir, stage)
            _open(source, stage, train=True, download=True)
            _move_unpacked(source, stage, home)
    except _FAILED as error:
        raise DataError(
            f"{name}: no whole copy in {data_dir} and the download failed ({_brief(error)}): put "
            f"{', '.join(source.archives)} into {data_dir / source.folder}, or name another --data-dir, "
            "or use --dataset digits (embedded) or --dataset npz:FILE"
        ) from error


def _copy_archives(source: _Source, data_dir: Path, stage: Path) -> None:
    """Archives that the user fetched by hand are unpacked instead of downloaded."""
    (stage / source.folder).mkdir(parents=True, exist_ok=True)
    for name in source.archives:
        archive = data_dir / source.folder / name
        if archive.is_file():
            shutil.copy(archive, stage / source.folder / name)


def _move_unpacked(source: _Source, stage: Path, home: Path) -> None:
    for file in sorted(stage.rglob("*")):
        if file.is_file() and file.name not in source.archives:
            target = home / file.relative_to(stage)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)


@contextmanager
def _download_timeout() -> Iterator[None]:
    """torchvision sets no timeout of its own: a silent server would hang the run for minutes."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SILENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _brief(error: BaseException) -> str:
    return shorten(" ".join(str(error).split()) or type(error).__name__, 160, placeholder=" ...")
