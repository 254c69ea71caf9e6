"""From the words after --dataset to a dataset."""

from __future__ import annotations

import difflib
from dataclasses import replace
from pathlib import Path

from archsearch.data.colours import check_colour, coloured
from archsearch.data.dataset import Dataset, resized
from archsearch.data.folder import DEFAULT_SIZE, load_folder
from archsearch.data.npz import load_npz
from archsearch.data.vision import SOURCES, load_digits, load_vision
from archsearch.errors import DataError

NAMES = ("digits", *SOURCES)
_MAX_SIZE = 1024


def load_dataset(
    spec: str,
    *,
    data_dir: Path | str = "data",
    image_size: int | None = None,
    share: float | None = None,
    skip_broken: bool = False,
    nested: bool = False,
    colour: str | None = None,
) -> Dataset:
    """The dataset that `spec` names, without its test split.

    spec: digits, mnist, fashion-mnist, cifar10, cifar100, folder:DIR or npz:FILE. data_dir: where
    torchvision's four are, or are downloaded to. image_size: pixels a side, 1 to 1024, to which all
    images are resized; by default they stay as they are, and pictures of a folder become 64x64.
    share: the dataset's `share`. skip_broken, nested: of folder:DIR, as `load_folder` has them.
    colour: grey or rgb, to which all images are turned; by default they stay as they are.
    DataError, one line, for an unknown spec and for data that are missing, broken or refused.
    """
    if image_size is not None and not 1 <= image_size <= _MAX_SIZE:
        raise DataError(f"image size {image_size}: must be a whole number of pixels from 1 to {_MAX_SIZE}")
    check_colour(colour)
    kind, separator, place = spec.partition(":")
    if separator and kind == "folder" and place:
        dataset = load_folder(Path(place).expanduser(), image_size or DEFAULT_SIZE, spec, skip_broken, nested, colour)
    else:
        dataset = coloured(_load_whole(spec, kind, place, Path(data_dir).expanduser()), colour)
        dataset = dataset if image_size is None else resized(dataset, image_size)
    return replace(dataset, share=share, skip_broken=skip_broken, nested=nested, colour=colour)


def _load_whole(spec: str, kind: str, place: str, data_dir: Path) -> Dataset:
    """A dataset whose images come with a size of their own."""
    if kind == "npz" and place:
        return load_npz(Path(place).expanduser(), spec)
    if spec == "digits":
        return load_digits()
    if spec in SOURCES:
        return load_vision(spec, data_dir)
    raise DataError(f"dataset {spec!r}: must be one of {', '.join(NAMES)}, folder:DIR, npz:FILE{_hint(spec)}")


def _hint(spec: str) -> str:
    path = Path(spec).expanduser()
    if spec.endswith(".npz"):
        close = [f"npz:{spec}"]
    elif path.is_dir():
        close = [f"folder:{spec}"]
    else:
        close = difflib.get_close_matches(spec.lower(), [*NAMES, "folder:DIR", "npz:FILE"], n=1, cutoff=0.5)
    return f" (did you mean {close[0]}?)" if close else ""
