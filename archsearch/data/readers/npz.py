"""`npz:FILE`: arrays in the layout of MedMNIST, all headers checked, only the pixels asked for read.

Labels are numbers (N,) or (N, 1), one per image, or 0 and 1 (N, classes), several per image, as in ChestMNIST.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray

from archsearch._utils.specs import options_of
from archsearch.data.dataset import Dataset, Split, images_from
from archsearch.data.readers.several import (
    ONE,
    SEVERAL,
    check_one_hot,
    check_train,
    flags_of,
    notes_of,
    single_of,
    titles_of,
)
from archsearch.data.splits import Labels
from archsearch.errors import DataError

_REQUIRED = ("train_images", "train_labels", "test_images", "test_labels")
_OWN_VALIDATION = ("val_images", "val_labels")
_DAMAGED = (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, RuntimeError)
_BLOCK = 1 << 22  # bytes of images read at a time


@dataclass(frozen=True)
class _Header:
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    whole: bool  # as many bytes are stored as shape and dtype ask for


@dataclass(frozen=True)
class _Form:
    """How labels are written and meant: `columns` per image, 1 for numbers; `several`: labels an image, or one."""

    columns: int
    several: bool


def load_npz(path: Path, name: str) -> Dataset:
    """The train split and, where there is one, the val split; of the test split headers and labels only.

    One label per image counts classes from 0 without a gap, so there are max(train_labels) + 1 classes. Columns of 0
    and 1 are a class each. The array `classes` names them, else they have numbers.
    DataError, with all faults of the headers at once, for a file that breaks the layout.
    """
    with _archive(path, name) as archive:
        headers = _checked_headers(archive, name, test=False)
        form = _form(archive, headers, name)
        known = form.columns if form.columns > 1 else None
        images, labels = _read_split(archive, "train", name, form, known)
        count = labels.shape[1] if form.several else _count(labels.numpy(), known, name)
        own = "val_images" in headers
        validation = _read_split(archive, "val", name, form, count) if own else None
        test = _read_labels(archive, "test", name, form, count) if "test_labels" in headers else None
        classes = _titles(archive, count, name)
    notes: tuple[str, ...] = ()
    if form.several:
        others = {"val": validation[1].numpy() if validation else None, "test": test}
        parts = {"train": labels.numpy(), **{part: one for part, one in others.items() if one is not None}}
        notes = tuple(notes_of({part: one.astype(np.bool_) for part, one in parts.items()}, classes))
    flip = images.shape[1] == 3
    read_test = partial(_read_test, path, name, form, count)
    known_test = None if test is None else torch.from_numpy(test)
    return Dataset(name, classes, images, labels, validation, flip, read_test, notes=notes, test_labels=known_test)


def _form(archive: zipfile.ZipFile, headers: Mapping[str, _Header], name: str) -> _Form:
    """How the labels are meant, by their shape, their rows and `?labels=`. Raises DataError where that is not plain."""
    asked = options_of(name, ("labels",)).get("labels")
    if asked not in (None, ONE, SEVERAL):
        raise DataError(f"{name}: there is no labels={asked}: it must be {ONE} or {SEVERAL}")
    columns = _columns(headers["train_labels"].shape)
    if columns == 1:
        if asked == SEVERAL:
            shape = headers["train_labels"].shape
            raise DataError(f"{name}: train_labels has shape {shape}: several labels per image are (N, classes)")
        return _Form(1, False)
    flags = flags_of(_read(archive, "train_labels"), "train_labels", name)
    if asked is None:
        check_one_hot(flags, "train_labels", name)
    if asked != ONE:
        check_train(flags, name)
    return _Form(columns, asked != ONE)


def _count(labels: NDArray[np.int64], known: int | None, name: str) -> int:
    """How many classes the train labels count. Raises DataError for one class, and for a gap."""
    if labels.min() == labels.max():
        raise DataError(f"{name}: all train_labels are {labels[0]}: at least 2 classes are needed")
    count = known or int(labels.max()) + 1
    absent = np.setdiff1d(np.arange(count), labels)
    if len(absent):
        raise DataError(
            f"{name}: no train image is of class {absent[0]}, though train_labels goes up to {count - 1}: "
            "count classes from 0 without a gap"
        )
    return count


def _titles(archive: zipfile.ZipFile, count: int, name: str) -> tuple[str, ...]:
    """The names of classes: those of the array `classes`, else their numbers."""
    if "classes.npy" not in archive.namelist():
        return tuple(map(str, range(count)))
    if _header(archive, "classes").dtype.hasobject:
        raise DataError(f"{name}: classes holds pickled Python objects, which are refused: save plain texts")
    return titles_of(_read(archive, "classes"), count, name)


def _read_test(path: Path, name: str, form: _Form, classes: int) -> Split:
    with _archive(path, name) as archive:
        _checked_headers(archive, name, test=True)
        return _read_split(archive, "test", name, form, classes)


@contextmanager
def _archive(path: Path, name: str) -> Iterator[zipfile.ZipFile]:
    if not path.is_file():
        raise DataError(f"{name}: there is no file {path}: check the path")
    try:
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                raise DataError(f"{name}: {path} is no .npz file: write one with numpy.savez")
            with zipfile.ZipFile(file) as archive:
                yield archive
    except DataError:
        raise
    except _DAMAGED as error:
        raise DataError(f"{name}: {path} cannot be read ({error}): copy or write it again") from error


def _checked_headers(archive: zipfile.ZipFile, name: str, *, test: bool) -> dict[str, _Header]:
    """Headers by array, without fault; those of a damaged test array are an error only if `test`."""
    stored = {member.removesuffix(".npy") for member in archive.namelist() if member.endswith(".npy")}
    wanted = _REQUIRED + (_OWN_VALIDATION if stored & set(_OWN_VALIDATION) else ())
    missing = [array for array in wanted if array not in stored]
    if missing:
        present = ", ".join(sorted(stored)) or "no array"
        raise DataError(
            f"{name}: missing {', '.join(missing)} (the file holds {present}): "
            "save train_images, train_labels, test_images and test_labels with numpy.savez"
        )
    headers = {}
    for array in wanted:
        try:
            headers[array] = _header(archive, array)
        except _DAMAGED:
            if test or not array.startswith("test_"):
                raise
    faults = [fault for part in ("train", "test", "val") for fault in _faults(headers, part)]
    if faults:
        raise DataError(f"{name}: {'; '.join(faults)}")
    return headers


def _header(archive: zipfile.ZipFile, array: str) -> _Header:
    """Shape and dtype from the first bytes of one array."""
    member = f"{array}.npy"
    with archive.open(member) as file:
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(file)
        stored = archive.getinfo(member).file_size - file.tell()
    return _Header(shape, dtype, whole=stored == math.prod(shape) * dtype.itemsize)


def _faults(headers: dict[str, _Header], part: str) -> list[str]:
    """What is wrong with one split's two headers, one phrase each."""
    if not {f"{part}_images", f"{part}_labels"} <= headers.keys():
        return []
    images, labels = headers[f"{part}_images"], headers[f"{part}_labels"]
    faults = [*_image_faults(f"{part}_images", images), *_label_faults(f"{part}_labels", labels)]
    if faults:
        return faults
    if images.shape[0] != labels.shape[0]:
        return [f"{part}_images has {images.shape[0]} images and {part}_labels {labels.shape[0]} labels: "
                "one label an image is needed"]  # fmt: skip
    train = headers["train_images"].shape
    if _size(images.shape) != _size(train):
        return [f"{part}_images has shape {images.shape} and train_images {train}: one image size is needed"]
    wanted = headers["train_labels"].shape if "train_labels" in headers else labels.shape
    if _columns(labels.shape) != _columns(wanted):
        return [f"{part}_labels has shape {labels.shape} and train_labels {wanted}: write them alike"]
    return []


def _columns(shape: tuple[int, ...]) -> int:
    """Of labels (N,), (N, 1) or (N, classes)."""
    return shape[1] if len(shape) > 1 else 1


def _size(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[1:], 1)[:3]


def _image_faults(array: str, header: _Header) -> Iterator[str]:
    shape = header.shape
    if header.dtype.hasobject:
        yield f"{array} holds pickled Python objects, which are refused: save plain uint8 pixels"
    elif header.dtype != np.uint8:
        yield f"{array} is {header.dtype}: pixels must be uint8, 0 to 255{_way(header.dtype)}"
    elif not (len(shape) == 3 or (len(shape) == 4 and shape[3] in (1, 3))) or 0 in shape:
        yield f"{array} has shape {shape}: (N, H, W), (N, H, W, 1) or (N, H, W, 3), none of them 0, is needed"
    elif not header.whole:
        yield f"{array} is cut off: write the file again"


def _way(dtype: np.dtype[Any]) -> str:
    if dtype == np.float32 or dtype == np.float64:
        return "; where they are 0 to 1: (255 * x).round().astype('uint8')"
    if np.issubdtype(dtype, np.integer):
        return "; of all arrays alike, by the train array's range: (255.0 * (x - low) / (high - low)).astype('uint8')"
    return ""


def _label_faults(array: str, header: _Header) -> Iterator[str]:
    if header.dtype.hasobject:
        yield f"{array} holds pickled Python objects, which are refused: save plain integers"
    elif len(header.shape) > 2 or 0 in header.shape:
        yield f"{array} has shape {header.shape}: (N,) or (N, 1), or (N, classes) of 0 and 1, is needed"
    elif _columns(header.shape) > 1 and not (header.dtype == np.bool_ or np.issubdtype(header.dtype, np.integer)):
        yield f"{array} is {header.dtype}: several labels per image are integers, 0 and 1"
    elif _columns(header.shape) == 1 and not np.issubdtype(header.dtype, np.integer):
        yield f"{array} is {header.dtype}: labels must be integers, counted from 0"
    elif not header.whole:
        yield f"{array} is cut off: write the file again"


def _read_split(archive: zipfile.ZipFile, part: str, name: str, form: _Form, classes: int | None) -> Split:
    """Images and labels of one part; `classes`: how many are known, None for train labels that count them."""
    labels = _read_labels(archive, part, name, form, classes)
    return images_from(_read(archive, f"{part}_images")), torch.from_numpy(labels)


def _read_labels(archive: zipfile.ZipFile, part: str, name: str, form: _Form, classes: int | None) -> Labels:
    """int64 (N,), or bool (N, classes)."""
    array = f"{part}_labels"
    if form.columns > 1:
        flags = flags_of(_read(archive, array), array, name)
        return flags if form.several else single_of(flags, array, name)
    labels = _read(archive, array).reshape(-1)
    low, high = int(labels.min()), int(labels.max())
    if classes is None and (low < 0 or high >= len(labels)):
        raise DataError(
            f"{name}: {array} runs from {low} to {high} in {len(labels)} images: count classes from 0 without "
            "a gap, as numpy.unique(labels, return_inverse=True)[1] does"
        )
    if classes is not None and (low < 0 or high >= classes):
        raise DataError(
            f"{name}: {array} runs from {low} to {high}, but train_labels from 0 to {classes - 1}: "
            "no train image is of the others; remove their images, or add some to the train arrays"
        )
    return labels.astype(np.int64)


def _read(archive: zipfile.ZipFile, array: str) -> NDArray[Any]:
    with archive.open(f"{array}.npy") as file:
        values: NDArray[Any] = npy.read_array(file, allow_pickle=False)
        file.read()  # to the end, where zipfile compares the checksum
    return values


@dataclass(frozen=True)
class Alone:
    """An array of images without labels, on disk. shape: (N, H, W, C). Picklable."""

    path: Path
    name: str
    array: str
    shape: tuple[int, int, int, int]

    def blocks(self) -> Iterator[NDArray[np.uint8]]:
        """All images in order, uint8 (n, H, W, C), a few megabytes at a time. DataError where the file is damaged."""
        count, *sides = self.shape
        size = math.prod(sides)
        step = max(1, _BLOCK // size)
        with _archive(self.path, self.name) as archive, archive.open(f"{self.array}.npy") as file:
            _start(file)
            for first in range(0, count, step):
                wanted = min(step, count - first)
                data = file.read(wanted * size)
                if len(data) < wanted * size:
                    raise EOFError(f"{self.array} ends early")
                yield np.frombuffer(bytearray(data), np.uint8).reshape(wanted, *sides)
            file.read()  # to the end, where zipfile compares the checksum


def images_alone(path: Path, name: str, key: str = "") -> Alone:
    """The images of an npz file, of which only headers are read; labels in it are not looked at.

    key: the array; "" for the only one that may hold images.
    DataError for a key that is not there, for none or several that may be meant, and for other pixels than bytes.
    """
    with _archive(path, name) as archive:
        stored = [member.removesuffix(".npy") for member in archive.namelist() if member.endswith(".npy")]
        if key and key not in stored:
            raise DataError(f"{name}: there is no array {key!r}: the file holds {_listed(stored)}")
        headers = {array: _header(archive, array) for array in ([key] if key else stored)}
        fit = {array: one for array, one in headers.items() if key or not [*_image_faults(array, one)]}
        if len(fit) > 1:
            raise DataError(f"{name}: {_listed([*fit])} may be the images: choose by npz:{path}?images={min(fit)}")
        if not fit:
            raise DataError(
                f"{name}: no images in {_listed(stored)}: save an array of uint8, (N, H, W) or (N, H, W, C), "
                "with numpy.savez"
            )
        ((array, header),) = fit.items()
        if faults := [*_image_faults(array, header)]:
            raise DataError(f"{name}: {faults[0]}")
        with archive.open(f"{array}.npy") as file:
            if _start(file):
                raise DataError(f"{name}: {array} lies column by column: write numpy.ascontiguousarray of it")
    count, height, width, *channels = header.shape
    return Alone(path, name, array, (count, height, width, channels[0] if channels else 1))


def _start(file: IO[bytes]) -> bool:
    """Go to the values of an array; whether they lie column by column."""
    read = npy.read_array_header_1_0 if npy.read_magic(file) == (1, 0) else npy.read_array_header_2_0
    return bool(read(file)[1])


def _listed(arrays: Sequence[str]) -> str:
    return ", ".join(sorted(arrays)[:8]) or "no array"
