"""Which folders are splits and which are classes, by their names and by where the pictures lie."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from archsearch.data.readers.tree import Folder, scan, suffix_words
from archsearch.data.splits import Labels, hold_out
from archsearch.errors import DataError

_PART_OF = {
    "train": "train", "training": "train", "trn": "train",
    "test": "test", "testing": "test", "tst": "test",
    "val": "val", "valid": "val", "validation": "val", "validate": "val",
}  # fmt: skip
_NO_CLASSES = {
    "annotation", "annotations", "images", "img", "imgs", "jpegimages", "labels", "mask", "masks", "segmentation",
    "segmentations", "trimaps",
}  # fmt: skip
_PARTS: tuple[str, ...] = ("train", "test", "val")
_TEST_SHARE = 0.2
_SHOWN = 4

Tree = Mapping[str, Sequence[str]]
"""Paths by class."""


@dataclass(frozen=True)
class Layout:
    """Pictures by part (train, test, perhaps val) and class, and what the user should know of the rest."""

    parts: Mapping[str, Tree]
    notes: tuple[str, ...] = ()


def find_layout(root: Path, name: str, nested: bool = False) -> Layout:
    """The parts and classes of a folder; a test split is set aside where there are no split folders.

    nested: folders inside of class folders belong to the class, also where they look like datasets.
    DataError, one line with the way out, where it is not plain what is a class.
    """
    if not root.is_dir():
        raise DataError(f"{name}: there is no folder {root}: check the path")
    top = scan(root, name)
    home = _inner(top)
    notes = [] if home is top else [f"classes are the folders in {home.path}"]
    splits = _splits(home, name, nested)
    if splits:
        parts = _split_trees(splits, name, nested)
        used = {folder.path for folder in splits.values()}
        beside = [folder for folder in home.full if folder.path not in used]
        notes += [f"left out, beside the splits: {_names(beside)}"] if beside else []
        notes += [_taken(splits)] if any(part != folder.path.name for part, folder in splits.items()) else []
    else:
        parts = _split_off(_tree(home, name, 3, nested))
    others = suffix_words(top.left_out())
    notes += [f"left out, no pictures that Pillow reads: {others}"] if others else []
    notes += [f"left out, in no class folder: {len(home.own):,} pictures of {home.path}"] if home.own else []
    return Layout(parts, tuple(notes))


def _taken(splits: Mapping[str, Folder]) -> str:
    return "splits: " + ", ".join(f"{folder.path.name}/ as {part}" for part, folder in splits.items())


def _inner(folder: Folder) -> Folder:
    """Down while nothing but one folder holds pictures, and those in folders of their own."""
    while len(folder.full) == 1 and folder.full[0].full and not folder.full[0].own:
        if part_named(folder.full[0].path.name) not in (None, part_named(folder.path.name)):
            break
        folder = folder.full[0]
    return folder


def part_named(name: str) -> str | None:
    """train, test or val where a folder's name says one of them: `seg_train`, `TestSet`, `validation-images`."""
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)
    plain = (re.sub(r"(?<=.)(set|data|images?)$", "", word.casefold()) for word in words)
    found = {_PART_OF[word] for word in plain if word in _PART_OF}
    return found.pop() if len(found) == 1 else None


def _splits(home: Folder, name: str, nested: bool) -> dict[str, Folder]:
    """The folder of each part; empty where the folders are classes."""
    named = [(part, folder) for folder in home.folders if (part := part_named(folder.path.name))]
    parts = {part for part, _ in named}
    alone = all(part_named(folder.path.name) for folder in home.full)
    plain = any(folder.full and folder.path.name.casefold() in _PART_OF for _, folder in named)
    pair = "train" in parts and len(parts) > 1 and any(folder.full for _, folder in named)
    if not (pair or (alone and len(parts) > 1) or (plain and not nested)):
        return {}  # a class may be called `test tube`, or `train`
    found = {part: [folder for named_part, folder in named if named_part == part] for part in parts}
    splits = {part: _only(found[part], part, home, name) for part in _PARTS if part in parts}
    if "train" in splits and not _inner(splits["train"]).full:
        _tree(_inner(splits["train"]), name, 2, nested)  # says what is wrong with it, before what is missing
    if missing := [part for part in ("train", "test") if part not in splits]:
        raise DataError(f"{name}: {home.path} has no {missing[0]}/: {_way_without(missing[0], splits, home)}")
    return splits


def _only(folders: Sequence[Folder], part: str, home: Folder, name: str) -> Folder:
    """The one of several that is named as the split is, without more words."""
    plain = [folder for folder in folders if len(folders) == 1 or folder.path.name.casefold() in _PART_OF]
    if len(plain) != 1:
        raise DataError(
            f"{name}: {_names(folders)} in {home.path} all look like the {part} split: "
            "move all but one elsewhere, or rename those that are something else"
        )
    return plain[0]


def _way_without(missing: str, splits: Mapping[str, Folder], home: Folder) -> str:
    way = f"add it, or put the class folders directly into {home.path}"
    if missing == "test" and "val" in splits:
        way += f", or rename {splits['val'].path.name}/ to test/"
    if missing == "test":
        way += f", or give folder:{splits['train'].path}, of which a fifth becomes the test split"
    return way


def _split_trees(splits: Mapping[str, Folder], name: str, nested: bool) -> dict[str, Tree]:
    trees: dict[str, Tree] = {}
    for part, folder in splits.items():
        _check_labelled(part, folder, splits["train"], name)
        trees[part] = _tree(_inner(folder), name, 2 if part == "train" else 1, nested)
    train = splits["train"].path
    for part, tree in trees.items():
        difference = sorted(set(trees["train"]) ^ set(tree))
        if difference:
            raise DataError(
                f"{name}: {splits[part].path} and {train.name}/ must have the same class folders: "
                f"only one has {_shown(difference)}"
            )
    return trees


def _check_labelled(part: str, folder: Folder, train: Folder, name: str) -> None:
    """A competition's test pictures have no classes, but the train pictures do."""
    inner = _inner(folder)
    flat = inner if inner.own else inner.full[0] if len(inner.full) == 1 else inner
    if part != "train" and len(inner.folders) < 2 and len(_inner(train).full) > 1 and flat.own:
        raise DataError(
            f"{name}: {flat.path} holds {len(flat.own):,} pictures and no class folders, so their classes are unknown: "
            f"sort them into class folders, or give folder:{train.path}, of which a fifth becomes the test split"
        )


def _tree(folder: Folder, name: str, least: int, nested: bool) -> Tree:
    """Pictures by class, both sorted by name; `least` pictures a class."""
    classes = folder.folders
    if len(classes) < 2:
        raise DataError(
            f"{name}: {folder.path} holds {len(classes)} class folder(s): at least 2 are needed, one folder a class"
            + _flat(folder)
        )
    if not folder.full:
        others = suffix_words(folder.left_out())
        raise DataError(
            f"{name}: no pictures in the class folders of {folder.path}: expected .png, .jpg or the like"
            + (f", found {others}" if others else "")
        )
    if not nested:
        _check_nesting(folder, name)
        _check_names(folder, name)
    if few := [label for label in classes if label.count < least]:
        others, more = suffix_words(few[0].left_out()), _names(few[1:])
        raise DataError(
            f"{name}: class folder {few[0].path} holds {few[0].count} picture(s)"
            + (f", beside {others}" if others else "")
            + f": at least {least} are needed: add some, or remove the folder"
            + (f"; likewise {more}" if more else "")
        )
    return {label.path.name: label.pictures for label in classes}


def _flat(folder: Folder, where: str = "it") -> str:
    """What may help where pictures lie in no class folder."""
    others = folder.left_out()
    for kind, end in (("parquet", ".parquet"), ("wds", ".tar")):
        if others[end] and not folder.count:
            return f"; it holds {others[end]:,} {end} file(s): give {kind}:{folder.path}"
    if not folder.own and len(folder.full) == 1:
        folder = folder.full[0]
        where = f"{folder.path.name}/"
    if not folder.own:
        return ""
    words = f"; {where} holds {len(folder.own):,} pictures directly"
    names = [Path(path).name for path in folder.own]
    begins = Counter(match[1] for name in names if (match := re.match(r"([^\W\d]+?)[\W\d_]*\d", name)))
    kinds = sorted(begin for begin, count in begins.items() if count > 1)
    if 1 < len(kinds) <= len(folder.own) // 2:
        first = kinds[0]
        words += f", whose names begin with {_shown(kinds)}: mkdir {first} && mv {first}?* {first}/, and so on"
    tables = Counter({end: n for end, n in others.items() if end in (".csv", ".mat", ".txt", ".json")})
    if tables[".csv"]:
        return f"{words}; a table of labels is read by csv:FILE"
    return words + ("; tables of labels are not read" if tables else "")


def _check_names(folder: Folder, name: str) -> None:
    """Refuse pictures beside their masks, and a copy of the classes beside them."""
    named = [label for label in folder.full if label.path.name.casefold() in _NO_CLASSES]
    if 2 * len(named) >= len(folder.full):
        largest = max(named, key=_size)
        raise DataError(
            f"{name}: {_names(folder.full)} in {folder.path} are named as parts of a dataset, not as classes: give a "
            f"folder of class folders{_flat(largest, f'{largest.path.name}/')}; if they are classes, add --nested"
        )
    names = {label.path.name for label in folder.full}
    for label in folder.full:
        inside = {part.path.name for part in label.full}
        if not label.own and len(inside) > 1 and inside < names:
            raise DataError(
                f"{name}: {label.path} holds folders of the same names as those beside it ({_shown(sorted(inside))}): "
                f"remove it, or give folder:{label.path}; if it is a class, add --nested"
            )


def _size(folder: Folder) -> int:
    return folder.count


def _check_nesting(folder: Folder, name: str) -> None:
    """Refuse what looks like several datasets, or like parts of one, and would be trained on as classes."""
    inner = {label: _inner(label) for label in folder.full}
    deep = [label for label in folder.full if not inner[label].own and len(inner[label].full) > 1]
    if 2 * len(deep) < len(folder.full):
        return
    first = max(deep, key=_size)
    also = "; if they are classes, add --nested"
    inside = [{part.path.name for part in inner[label].full} for label in deep]
    common = sorted(inside[0].intersection(*inside[1:])) if len(deep) > 1 else []
    if common:
        raise DataError(
            f"{name}: {_names(deep)} hold folders of the same names ({_shown(common)}), as parts or copies of a dataset"
            f" do: give one of them, such as folder:{first.path}, rename them to train/ and test/, or sort the pictures"
            f" into class folders{also}"
        )
    example = ", ".join(str(inner[label].full[0].path.relative_to(folder.path)) for label in deep[:2])
    raise DataError(
        f"{name}: the pictures of {_names(deep)} lie in folders inside ({example}), as those of whole datasets do: "
        f"give one of them, such as folder:{first.path}{also}"
    )


def _names(folders: Sequence[Folder]) -> str:
    return _shown([f"{folder.path.name}/" for folder in folders])


def _shown(words: Sequence[str]) -> str:
    more = len(words) - _SHOWN
    return ", ".join([*words[:_SHOWN], f"{more:,} more"] if more > 1 else words)


def _split_off(tree: Tree) -> dict[str, Tree]:
    """A fifth of each class for the test, fixed by the sorted names alone."""
    chosen = dict(zip(paths_of(tree), held_out(labels_of(tree.values())), strict=True))
    return {
        part: {label: [path for path in paths if chosen[path] == wanted] for label, paths in tree.items()}
        for part, wanted in (("train", False), ("test", True))
    }


def held_out(labels: Labels) -> NDArray[np.bool_]:
    """bool (N,): a fifth of each class, fixed by the order of the images alone, for a test split."""
    return hold_out(labels, _TEST_SHARE, np.random.default_rng(0).permutation(len(labels)))


def paths_of(tree: Tree) -> list[str]:
    """All pictures, class after class."""
    return [path for paths in tree.values() for path in paths]


def labels_of(classes: Iterable[Sequence[str]]) -> NDArray[np.int64]:
    """The class of each picture of `paths_of`."""
    counts = [len(paths) for paths in classes]
    return np.repeat(np.arange(len(counts)), counts)
