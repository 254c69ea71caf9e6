"""`cifar:DIR`: the batches of CIFAR-10 and CIFAR-100 as their authors give them, for Python or as .bin files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from archsearch._utils.specs import expand, options_of, parse_spec
from archsearch.data.dataset import Dataset, Split, images_from
from archsearch.data.readers.plain_pickle import read_plain
from archsearch.errors import DataError

_PIXELS = 3 * 32 * 32
_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))


@dataclass(frozen=True)
class _Kind:
    """Names of the files; where the labels stand: by key, or by byte of a record; and where their names do."""

    train: tuple[str, ...]
    test: str
    meta: Mapping[str, str]
    keys: Mapping[str, str]
    labels: int = 0

    @property
    def files(self) -> tuple[str, ...]:
        """All of them, those with the names of `fine` labels included."""
        return (*self.train, self.test, self.meta["fine"].partition(":")[0])


_TEN, _HUNDRED = {"fine": "labels"}, {"fine": "fine_labels", "coarse": "coarse_labels"}
_NAME_FILES = {"fine": "fine_label_names.txt", "coarse": "coarse_label_names.txt"}
_KINDS = (
    _Kind(_BATCHES, "test_batch", {"fine": "batches.meta:label_names"}, _TEN),
    _Kind(("train",), "test", {"fine": "meta:fine_label_names", "coarse": "meta:coarse_label_names"}, _HUNDRED),
    _Kind(tuple(f"{one}.bin" for one in _BATCHES), "test_batch.bin", {"fine": "batches.meta.txt"}, _TEN, 1),
    _Kind(("train.bin",), "test.bin", _NAME_FILES, _HUNDRED, 2),
)  # fmt: skip


@dataclass(frozen=True)
class _Source:
    """A folder with such files, and which labels are read. Picklable."""

    name: str
    folder: Path
    kind: _Kind
    label: str

    def split(self, files: Sequence[str], classes: int) -> Split:
        """uint8 (N, 3, 32, 32) and int64 (N,) of some files."""
        pixels, labels = zip(*(self._batch(self.folder / file, classes) for file in files), strict=True)
        planes = np.concatenate(pixels).reshape(-1, 3, 32, 32)
        return images_from(planes.transpose(0, 2, 3, 1)), torch.from_numpy(np.concatenate(labels))

    def _batch(self, path: Path, classes: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        data = _bytes(path, self.name)
        pixels, labels = self._records(data, path) if self.kind.labels else self._pickled(data, path)
        if not len(labels) or pixels.shape != (len(labels), _PIXELS):
            raise DataError(f"{self.name}: {path} has {len(labels)} labels for pixels {pixels.shape}: copy it again")
        if labels.min() < 0 or labels.max() >= classes:
            raise DataError(f"{self.name}: {path} has labels {labels.min()} to {labels.max()}, and {classes} are named")
        return pixels, labels

    def _records(self, data: bytes, path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Of a .bin file: labels, then pixels, colour by colour."""
        length = self.kind.labels + _PIXELS
        if not data or len(data) % length:
            raise DataError(f"{self.name}: {path} has {len(data):,} bytes, no multiple of {length:,}: copy it again")
        records = np.frombuffer(data, np.uint8).reshape(-1, length)
        place = self.kind.labels - 1 if self.label == "fine" else 0
        return records[:, self.kind.labels :], records[:, place].astype(np.int64)

    def _pickled(self, data: bytes, path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        found = read_plain(data, f"{self.name}: {path}")
        key = self.kind.keys[self.label]
        pixels, labels = found.get("data"), found.get(key)
        if not (
            isinstance(pixels, np.ndarray) and isinstance(labels, list) and all(type(one) is int for one in labels)
        ):
            raise DataError(f"{self.name}: {path} holds no 'data' with '{key}': copy it again")
        return pixels, np.array([one if abs(one) < 1 << 31 else -1 for one in labels], np.int64)

    def names(self) -> tuple[str, ...]:
        """The names of the classes, by number."""
        file, _, key = self.kind.meta[self.label].partition(":")
        path = self.folder / file
        data = _bytes(path, self.name)
        found: Any = read_plain(data, f"{self.name}: {path}").get(key) if key else data.split(b"\n")
        try:
            names = [one.decode().strip() if isinstance(one, bytes) else one.strip() for one in found]
        except (TypeError, AttributeError, UnicodeDecodeError):
            raise DataError(f"{self.name}: {path} holds no names of classes: copy it again") from None
        names = [one for one in names if one]
        if len(names) < 2 or len(set(names)) < len(names):
            raise DataError(f"{self.name}: {path} has {len(names)} names of classes, or one twice: copy it again")
        return tuple(names)


def load_cifar(name: str) -> Dataset:
    """The train split of `cifar:DIR?label=fine`; of CIFAR-100 `coarse` has the twenty groups of classes.

    DIR: the folder of the files, or the one around it. No pickle is run. DataError for files that are missing,
    damaged, or of another kind.
    """
    label = options_of(name, ("label",)).get("label", "fine")
    folder, kind = _find(name)
    if label not in kind.keys:
        raise DataError(f"{name}: there are no {label!r} labels: ?label= must be one of {', '.join(kind.keys)}")
    source = _Source(name, folder, kind, label)
    classes = source.names()
    images, labels = source.split(kind.train, len(classes))
    if absent := sorted({*range(len(classes))} - {*labels.tolist()}):
        raise DataError(f"{name}: no train image is of class {classes[absent[0]]}: copy the files again")
    return Dataset(name, classes, images, labels, None, True, partial(source.split, (kind.test,), len(classes)))


def _find(name: str) -> tuple[Path, _Kind]:
    """The folder and the kind of its files."""
    place = expand(parse_spec(name).place, name)[0]
    if not place.is_dir():
        way = f"tar xzf {place.name}" if place.suffix in (".gz", ".tgz", ".tar") else "give its folder"
        raise DataError(f"{name}: {place} is a file: unpack it, and give the folder: {way}")
    folders = [place, *sorted(one for one in place.iterdir() if one.is_dir())]
    found = [(folder, kind) for folder in folders for kind in _KINDS if (folder / kind.train[0]).is_file()]
    if len(found) > 1:
        shown = ", ".join(str(folder) for folder, _ in found)
        raise DataError(f"{name}: several sets are there, in {shown}: give one of the folders")
    if not found:
        raise DataError(
            f"{name}: no files of CIFAR in {place}: data_batch_1 to data_batch_5 and test_batch, or train and test, "
            "with or without .bin, as in cifar-10-batches-py"
        )
    folder, kind = found[0]
    if absent := [file for file in kind.files if not (folder / file).is_file()]:
        raise DataError(f"{name}: {folder} lacks {', '.join(absent)}: unpack the archive again")
    return folder, kind


def _bytes(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{name}: {path} cannot be read ({error.strerror}): see its permissions") from error


def load_batch(path: Path, name: str) -> tuple[NDArray[np.uint8], list[str] | None]:
    """uint8 images (N, H, W, C) of a pickled batch, and their ids where it has `ids`. Labels in it are not looked at.

    `data`: bytes (N, C * H * W), colour by colour, of square images; or (N, H, W, C), or (N, C, H, W).
    The pickle is not run. DataError for a file that is damaged, or holds no such images.
    """
    found = read_plain(_bytes(path, name), f"{name}: {path}", whole=True)
    if "data" not in found:
        keys = ", ".join(sorted(found)[:8]) or "nothing"
        raise DataError(f"{name}: {path} holds no 'data': it has {keys}; images must be uint8 of N x 3072 or the like")
    images = _upright(found["data"], path, name)
    ids = found.get("ids")
    if ids is None:
        return images, None
    texts = [one.decode(errors="replace") if isinstance(one, bytes) else str(one) for one in _list_of(ids)]
    if len(texts) != len(images):
        raise DataError(f"{name}: {path} has {len(texts):,} ids for {len(images):,} images: copy it again")
    return images, texts


def _upright(pixels: object, path: Path, name: str) -> NDArray[np.uint8]:
    """Images (N, H, W, C) from any of the three ways in which batches have them."""
    array: NDArray[np.uint8] = np.empty(0, np.uint8)
    if isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8:
        array = pixels
    shape: tuple[int, ...] = array.shape
    if len(shape) == 2:
        colours, side = _square(shape[1])
        if side:
            return array.reshape(-1, colours, side, side).transpose(0, 2, 3, 1)
    if len(shape) == 4 and 0 not in shape[1:] and shape[3] in (1, 3):
        return array
    if len(shape) == 4 and 0 not in shape[1:] and shape[1] in (1, 3):
        return array.transpose(0, 2, 3, 1)
    said = f"{pixels.dtype} of {pixels.shape}" if isinstance(pixels, np.ndarray) else f"a {type(pixels).__name__}"
    raise DataError(f"{name}: {path} has as 'data' {said}: images must be uint8, N x 3072, N x 32 x 32 x 3 or the like")


def _square(values: int) -> tuple[int, int]:
    """Colours and pixels a side of a square image with so many values; 0 and 0 for none. 3 n^2 is never a square."""
    found = ((colours, isqrt(values // colours)) for colours in (1, 3))
    return next(((colours, side) for colours, side in found if colours * side**2 == values), (0, 0))


def _list_of(ids: object) -> list[object]:
    return ids.reshape(-1).tolist() if isinstance(ids, np.ndarray) else [*ids] if isinstance(ids, list | tuple) else []
