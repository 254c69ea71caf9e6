"""From the words after --dataset to a dataset."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path

from archsearch._utils.specs import parse_spec
from archsearch.data.dataset import Dataset, resized
from archsearch.data.listing import Listing
from archsearch.data.readers.cifar import load_cifar
from archsearch.data.readers.csv import list_csv
from archsearch.data.readers.folder import list_folder
from archsearch.data.readers.npz import load_npz
from archsearch.data.readers.parquet import list_parquet
from archsearch.data.readers.vision import SOURCES, load_digits, load_vision
from archsearch.data.readers.wds import list_wds
from archsearch.data.store.pictures import load_pictures
from archsearch.data.store.progress import SILENT, Watch
from archsearch.data.transforms.colours import check_colour, coloured
from archsearch.errors import DataError

NAMES = ("digits", *SOURCES)
DEFAULT_SIZE = 64
_MAX_SIZE = 1024
_LOOKED_AT = 1000
_FORMS = ("folder:DIR", "npz:FILE", "parquet:PATH", "csv:FILE", "wds:PATTERN", "cifar:DIR")
_LISTED: Mapping[str, Callable[[str], Listing]] = {"parquet": list_parquet, "csv": list_csv, "wds": list_wds}


def load_dataset(
    spec: str,
    *,
    data_dir: Path | str = "data",
    image_size: int | None = None,
    skip_broken: bool = False,
    nested: bool = False,
    colour: str | None = None,
    watch: Watch = SILENT,
) -> Dataset:
    """The dataset that `spec` names, without its test split.

    spec: digits, mnist, fashion-mnist, cifar10, cifar100, folder:DIR, npz:FILE, parquet:PATH, csv:FILE,
    wds:PATTERN or cifar:DIR. data_dir: where torchvision's four are, or are downloaded to, and where decoded
    pictures are kept, in its folder cache. image_size: pixels a side, 1 to 1024, to which all images are resized;
    by default they stay as they are, and picture files become 64x64.
    skip_broken: see `load_pictures`; nested: see `find_layout`.
    colour: grey or rgb, to which all images are turned; by default they stay as they are.
    watch: is told how far the decoding of pictures is.
    DataError, one line, for an unknown spec and for data that are missing, broken or refused.
    """
    if image_size is not None and not 1 <= image_size <= _MAX_SIZE:
        raise DataError(f"image size {image_size}: must be a whole number of pixels from 1 to {_MAX_SIZE}")
    check_colour(colour)
    listing = list_pictures(spec, nested)
    if listing is not None:
        cache = Path(data_dir).expanduser() / "cache"
        dataset = load_pictures(
            listing, image_size or DEFAULT_SIZE, skip_broken=skip_broken, cache=cache, watch=watch, colour=colour
        )
    else:
        dataset = coloured(_load_whole(spec, Path(data_dir).expanduser()), colour)
        dataset = dataset if image_size is None else resized(dataset, image_size)
    return replace(dataset, skip_broken=skip_broken, nested=nested, colour=colour)


def list_pictures(spec: str, nested: bool = False) -> Listing | None:
    """The pictures of a dataset of picture files, none decoded; None for one of another kind. Raises DataError."""
    kind, _, place = spec.partition(":")
    if kind == "folder" and "?label" in place and not Path(place).expanduser().is_dir():
        raise DataError(
            f"{spec}: folders say one label per picture: for others give a table, csv:FILE?labels=COLUMNS&root=FOLDER"
        )
    if kind == "folder" and place:
        return list_folder(Path(place).expanduser(), spec, nested)
    return _LISTED[kind](spec) if kind in _LISTED and parse_spec(spec).place else None


def _load_whole(spec: str, data_dir: Path) -> Dataset:
    """A dataset whose images come with a size of their own."""
    kind, place = parse_spec(spec).kind, parse_spec(spec).place
    if kind == "npz" and place:
        return load_npz(Path(place).expanduser(), spec)
    if kind == "cifar" and place:
        return load_cifar(spec)
    if spec == "digits":
        return load_digits()
    if spec in SOURCES:
        return load_vision(spec, data_dir)
    raise DataError(f"dataset {spec!r}: must be one of {', '.join([*NAMES, *_FORMS])}{_hint(spec)}")


def _hint(spec: str) -> str:
    """What was meant, by what is at the place or by how the word is written."""
    path = Path(spec).expanduser()
    by_suffix = {".npz": "npz", ".parquet": "parquet", ".csv": "csv", ".tsv": "csv", ".tar": "wds"}
    if path.suffix.lower() in by_suffix:
        close = [f"{by_suffix[path.suffix.lower()]}:{spec}"]
    elif path.is_dir():
        close = [f"{_kind_of(path)}:{spec}"]
    else:
        close = difflib.get_close_matches(spec.lower(), [*NAMES, *_FORMS], n=1, cutoff=0.5)
    return f" (did you mean {close[0]}?)" if close else ""


def _kind_of(folder: Path) -> str:
    """By what a folder holds, two levels deep."""
    names = {path.name for pattern in ("*", "*/*") for path in islice(folder.glob(pattern), _LOOKED_AT)}
    ends = {Path(name).suffix.lower() for name in names}
    if names & {"data_batch_1", "data_batch_1.bin", "batches.meta", "fine_label_names.txt"}:
        return "cifar"
    return next((kind for kind in ("parquet", "tar") if f".{kind}" in ends), "folder").replace("tar", "wds")
