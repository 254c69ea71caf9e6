"""Images to be answered: in order, a few at a time, as a network takes them. Labels are not looked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

import numpy as np
import torch
from numpy.typing import NDArray

from archsearch._utils.specs import parse_spec
from archsearch.data.dataset import images_from, resize
from archsearch.data.listing import Encoded, Pictures
from archsearch.data.load import NAMES, list_pictures, load_dataset
from archsearch.data.picture import Broken, Levels, decode, suffixes
from archsearch.data.pixels import Pixels
from archsearch.data.readers.cifar import load_batch
from archsearch.data.readers.csv import every_picture
from archsearch.data.readers.folder import Files
from archsearch.data.readers.npz import images_alone
from archsearch.data.readers.parquet import every_row
from archsearch.data.readers.tree import scan, suffix_words
from archsearch.data.splits import split
from archsearch.data.store.decoding import each
from archsearch.data.transforms.colours import grey, rgb
from archsearch.errors import DataError
from archsearch.network.layers import COLOURS, Shape

_WAYS = "give a folder, picture files, or one of npz:FILE, parquet:PATH, csv:FILE and a pickled batch as CIFAR's"
_BY_SUFFIX = {".npz": "npz", ".parquet": "parquet", ".csv": "csv", ".tsv": "csv", ".pkl": "cifar", ".pickle": "cifar"}
_PICKLE = b"\x80"


@dataclass(frozen=True)
class Form:
    """How a network takes images.

    shape: (channels, height, width). levels: values of 16-bit grey pictures that become 0 and 255.
    size: pixels a side to which images with a size of their own are resized. colour: grey or rgb, to which those are
    turned; None: they stay as they are.
    """

    shape: Shape
    levels: Levels | None = None
    size: int | None = None
    colour: str | None = None


class Unlabelled(Protocol):
    """Images in a fixed order. `left_out`: files that are no pictures, in words; "" for none."""

    @property
    def left_out(self) -> str: ...

    @property
    def numbered(self) -> bool:
        """Whether ids are the numbers of rows, from 0, rather than names."""
        ...

    def __len__(self) -> int:
        """Number of images."""
        ...

    def id_of(self, number: int) -> str:
        """What an image is called: a path, an id of its table, or its number."""
        ...

    def read(self, form: Form) -> Iterator[NDArray[np.uint8] | Broken]:
        """All images in order, uint8 (H, W, C). Raises DataError where they do not suit the network."""
        ...


@dataclass(frozen=True, eq=False)
class PictureFiles:
    """Encoded pictures, scaled and cut as in a training.

    ids: of all pictures; None: their places. rows: int64 (N,), ascending, which pictures are meant; None: all.
    """

    pictures: Pictures
    ids: Sequence[str] | None = None
    rows: NDArray[np.int64] | None = None
    numbered: bool = False
    left_out: str = ""

    def __len__(self) -> int:
        return len(self.pictures) if self.rows is None else len(self.rows)

    def id_of(self, number: int) -> str:
        """A path, an id, or a number."""
        place = number if self.rows is None else int(self.rows[number])
        if self.numbered:
            return str(number)
        return self.pictures.where(place) if self.ids is None else self.ids[place]

    def read(self, form: Form) -> Iterator[NDArray[np.uint8] | Broken]:
        """Decoded by all cores, a few blocks ahead."""
        if form.shape[0] not in COLOURS.values():
            raise DataError(f"this network takes {form.shape[0]} channels: give its images as arrays, by npz:FILE")
        chosen = None
        if self.rows is not None:
            chosen = np.zeros(len(self.pictures), np.bool_)
            chosen[self.rows] = True
        for _, found in each(self.pictures, partial(_decoded, form), chosen):
            yield found


def _decoded(form: Form, source: Encoded) -> NDArray[np.uint8] | Broken:
    """A picture as `Classifier.preprocess` and the reader of a dataset have it."""
    channels, height, width = form.shape
    if source == b"":
        return Broken("there is no picture")
    found = decode((width, height), channels == 1, form.levels, source)
    return found if isinstance(found, Broken) else found.reshape(height, width, channels)


@dataclass(frozen=True, eq=False)
class PixelArrays:
    """Images with a size of their own.

    shape: (N, H, W, C). blocks: all of them in order, uint8 (n, H, W, C). ids: None for numbers from 0.
    """

    name: str
    shape: tuple[int, int, int, int]
    blocks: Callable[[], Iterator[NDArray[np.uint8]]]
    ids: Sequence[str] | None = None
    left_out: str = ""

    @property
    def numbered(self) -> bool:
        """Whether there are no other ids."""
        return self.ids is None

    def __len__(self) -> int:
        return self.shape[0]

    def id_of(self, number: int) -> str:
        """An id, or the number."""
        return str(number) if self.ids is None else self.ids[number]

    def read(self, form: Form) -> Iterator[NDArray[np.uint8] | Broken]:
        """As they are, or resized and turned as those of a training were."""
        _, height, width, channels = self.shape
        turned = COLOURS[form.colour] if form.colour and channels in COLOURS.values() else channels
        found = (turned, *((height, width) if form.size is None else (form.size, form.size)))
        if found != form.shape:
            wanted, given = ("x".join(map(str, shape)) for shape in (form.shape, found))
            raise DataError(f"{self.name}: images of {given}, the network takes {wanted}: see --image-size")
        for block in self.blocks():
            yield from block if found == (channels, height, width) else _adapted(block, form)


def _adapted(block: NDArray[np.uint8], form: Form) -> NDArray[np.uint8]:
    """As `load_dataset` does it: first the colour, then the size."""
    images = images_from(block if block.flags.writeable else block.copy())  # torch warns of others
    if form.shape[0] != images.shape[1]:
        images = grey(images) if form.shape[0] == 1 else rgb(images)
    found: NDArray[np.uint8] = resize(images, form.shape[1]).whole().permute(0, 2, 3, 1).numpy()
    return found


def open_unlabelled(words: Sequence[str], id_column: str = "") -> Unlabelled:
    """Images that the words name, of which no pixel is read.

    Args:
        words: folders, of which all pictures below are meant, by their paths, and picture files, in that order; or one
            of npz:FILE?images=NAME, parquet:PATH, csv:FILE, their files without the kind, and a pickled batch.
        id_column: of csv: and parquet:, which has the ids.

    Raises:
        DataError: nothing is there, no image, or a file of another kind; one line.
    """
    named = [_known(word) for word in words]
    others = [word for kind, word in named if kind != "folder"]
    if others and len(named) > 1:
        raise DataError(f"{others[0]}: several are taken of folders and picture files alone: give this by itself")
    kind, word = named[0]
    if id_column and kind not in ("csv", "parquet"):
        raise DataError(f"--id-column {id_column}: goes with csv:FILE and parquet:PATH: {word} has no columns")
    if id_column:
        word += f"{'&' if parse_spec(word).options else '?'}id={quote(id_column, safe='')}"
    found = _OPEN[kind](word) if others else _pictures([word for _, word in named])
    if not len(found):
        raise DataError(f"{word}: it holds no image: {_WAYS}")
    return found


def open_split(
    spec: str,
    part: str,
    *,
    data_dir: Path | str = "data",
    nested: bool = False,
    seed: int = 0,
    share: float | None = None,
) -> Unlabelled:
    """The images of a dataset's split: test, or train and validation as a search with this seed divides them.

    spec, data_dir, nested: as `load_dataset` has them; share: as `Dataset`. Picture files are not decoded yet.
    DataError for a dataset that is missing, broken or refused, and a split without images.
    """
    listing = list_pictures(spec, nested)
    if listing is None:
        dataset = replace(load_dataset(spec, data_dir=data_dir), share=share)
        images, _ = dataset.test() if part == "test" else dataset.parts(seed)[part == "validation"]
        return _of_pixels(images, spec)
    own = "val" if part == "validation" else part
    if own in listing.parts and (part == "test" or "val" in listing.parts):
        return PictureFiles(listing.parts[own])
    train = listing.parts["train"]
    rows = split(torch.from_numpy(train.labels), seed, share)[part == "validation"]
    if not len(rows):
        raise DataError(f"{spec}: no class has two train images, so none is in its {part} split: add images")
    return PictureFiles(train, rows=rows.numpy())


def _of_pixels(images: Pixels, name: str) -> PixelArrays:
    count, channels, height, width = images.shape
    return PixelArrays(name, (count, height, width, channels), partial(_chunks, images))


def _chunks(images: Pixels) -> Iterator[NDArray[np.uint8]]:
    for chunk in images.chunks():
        yield chunk.permute(0, 2, 3, 1).numpy()


def _known(word: str) -> tuple[str, str]:
    """The kind of a word, `folder` for folders and picture files, and the word with it. DataError for none."""
    kind, _, place = word.partition(":")
    if place and kind in ("npz", "parquet", "csv"):
        return kind, word
    path = Path(place if place and kind in ("folder", "cifar") else word).expanduser()
    if path.is_dir() and kind != "cifar":
        return "folder", str(path)
    if path.is_file() and path.suffix.lower() in suffixes():
        return "folder", str(path)
    if path.is_file() and (by := _BY_SUFFIX.get(path.suffix.lower()) or ("cifar" if _is_pickle(path) else "")):
        return by, f"{by}:{path}"
    if path.is_file():
        raise DataError(f"{word}: {path.suffix or 'a file without a suffix'} is no kind of image: {_WAYS}")
    if kind in (*NAMES, "wds", "cifar"):
        raise DataError(f"{word} is a dataset with splits: say which is to be answered: --split test")
    raise DataError(f"{word}: there is no such file or folder: {_WAYS}")


def _is_pickle(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(1) == _PICKLE
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): see its permissions") from error


def _pictures(words: Sequence[str]) -> PictureFiles:
    found: list[str] = []
    others = Counter[str]()
    for word in words:
        if not Path(word).is_dir():
            found.append(word)
            continue
        folder = scan(Path(word), word)
        if not folder.count:
            but = suffix_words(folder.left_out())
            raise DataError(f"{word}: no pictures in this folder{f', but {but}' if but else ''}: {_WAYS}")
        found += folder.pictures
        others += folder.left_out()
    return PictureFiles(Files(found, np.zeros(len(found), np.int64)), found, left_out=suffix_words(others))


def _npz(word: str) -> PixelArrays:
    place, _, key = word.removeprefix("npz:").partition("?images=")
    path = Path(place).expanduser()
    found = images_alone(path, word, key)
    return PixelArrays(word, found.shape, found.blocks)


def _parquet(word: str) -> PictureFiles:
    pictures, ids = every_row(word)
    return PictureFiles(pictures, ids, numbered=ids is None)


def _csv(word: str) -> PictureFiles:
    return PictureFiles(*every_picture(word))


def _batch(word: str) -> PixelArrays:
    pixels, ids = load_batch(Path(word.removeprefix("cifar:")), word)
    count, height, width, channels = pixels.shape
    return PixelArrays(word, (count, height, width, channels), lambda: iter([pixels]), ids)


_OPEN: dict[str, Callable[[str], Unlabelled]] = {"npz": _npz, "parquet": _parquet, "csv": _csv, "cifar": _batch}
