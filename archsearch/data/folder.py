"""`folder:DIR`: pictures, one folder a class, under train/ and test/ (and val/) or split here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from archsearch.data.dataset import Dataset, Split, images_from
from archsearch.data.picture import GREY_MODES, decode, picture_mode
from archsearch.data.splits import hold_out
from archsearch.errors import DataError

DEFAULT_SIZE = 64
_PARTS = ("train", "test", "val")
_OTHER_NAMES = {"train": "train", "training": "train", "test": "test", "testing": "test",
                "val": "val", "valid": "val", "validation": "val"}  # fmt: skip
_TEST_SHARE = 0.2
_SUFFIXES = {
    ".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp",
}  # fmt: skip

_T = TypeVar("_T")
Tree = Mapping[str, Sequence[Path]]


def load_folder(root: Path, size: int, name: str) -> Dataset:
    """Pictures under `root`, in RGB, or grey if every train picture is, at size x size pixels.

    The short side is scaled to `size`, then the centre is cut out. Of test pictures only the headers
    are read here. DataError for a folder that breaks the layout, naming the folder or the picture.
    """
    parts = _layout(root, name)
    classes = tuple(parts["train"])
    modes = {part: _map(partial(picture_mode, name), _paths(tree)) for part, tree in parts.items()}
    grey = set(modes["train"]) <= GREY_MODES
    read = {part: partial(_read, tree, size, grey, name) for part, tree in parts.items()}
    images, labels = read["train"]()
    validation = read["val"]() if "val" in read else None
    return Dataset(name, classes, images, labels, validation, not grey, read["test"])


def _layout(root: Path, name: str) -> dict[str, Tree]:
    """Class folders of every part; an own val/ is optional."""
    if not root.is_dir():
        raise DataError(f"{name}: there is no folder {root}: check the path")
    for path in _subfolders(root):
        part = _OTHER_NAMES.get(path.name.casefold(), path.name)
        if part != path.name and _subfolders(path):
            raise DataError(
                f"{name}: {path} holds folders, as {part}/ does: rename it to that, or, if it is a class, otherwise"
            )
    names = {path.name for path in _subfolders(root)}
    if not (names and names <= set(_PARTS)) and not any(_subfolders(root / part) for part in _PARTS):
        return _split_off(_tree(root, name, least=3))
    for part in ("train", "test"):
        if not (root / part).is_dir():
            raise DataError(f"{name}: {root} has no {part}/: add it, or put the class folders directly into {root}")
    trees = {part: _tree(root / part, name, least=2 if part == "train" else 1)
             for part in _PARTS if (root / part).is_dir()}  # fmt: skip
    for part, tree in trees.items():
        _check_same_classes(trees["train"], tree, root / part, name)
    return trees


def _check_same_classes(train: Tree, other: Tree, folder: Path, name: str) -> None:
    difference = sorted(set(train) ^ set(other))
    if difference:
        raise DataError(
            f"{name}: {folder} and train/ must have the same class folders: only one has {', '.join(difference)}"
        )


def _tree(folder: Path, name: str, least: int) -> Tree:
    """Pictures by class, both sorted by name; `least` pictures a class."""
    classes = _subfolders(folder)
    if len(classes) < 2:
        raise DataError(
            f"{name}: {folder} holds {len(classes)} class folder(s): at least 2 are needed, one folder a class"
        )
    tree = {path.name: _pictures(path) for path in classes}
    if not any(tree.values()):
        raise DataError(f"{name}: no pictures in the class folders of {folder}: expected .png, .jpg or the like")
    for label, pictures in tree.items():
        if len(pictures) < least:
            raise DataError(
                f"{name}: class folder {folder / label} holds {len(pictures)} picture(s): "
                f"at least {least} are needed: add some, or remove the folder"
            )
    return tree


def _subfolders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _pictures(folder: Path) -> list[Path]:
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    visible = (path for path in found if not any(part.startswith(".") for part in path.parts))
    return [folder / path for path in sorted(visible, key=Path.as_posix)]


def _split_off(tree: Tree) -> dict[str, Tree]:
    """A fifth of each class for the test, fixed by the sorted names alone."""
    labels = _labels(tree)
    test = hold_out(labels, _TEST_SHARE, np.random.default_rng(0).permutation(len(labels)))
    chosen = dict(zip(_paths(tree), test, strict=True))
    return {
        part: {label: [path for path in paths if chosen[path] == wanted] for label, paths in tree.items()}
        for part, wanted in (("train", False), ("test", True))
    }


def _paths(tree: Tree) -> list[Path]:
    return [path for paths in tree.values() for path in paths]


def _labels(tree: Tree) -> NDArray[np.int64]:
    return np.repeat(np.arange(len(tree)), [len(paths) for paths in tree.values()])


def _read(tree: Tree, size: int, grey: bool, name: str) -> Split:
    pixels = _map(partial(decode, size, grey, name), _paths(tree))
    return images_from(np.stack(pixels)), torch.from_numpy(_labels(tree))


def _map(function: Callable[[Path], _T], paths: Iterable[Path]) -> list[_T]:
    """Threads: Pillow decodes outside the interpreter's lock."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(function, paths))
