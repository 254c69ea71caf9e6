"""`folder:DIR`: pictures, one folder a class, under train/ and test/ (and val/) or split here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from archsearch.data.dataset import Dataset, Split, images_from
from archsearch.data.layout import Tree, find_layout, labels_of, paths_of
from archsearch.data.picture import Broken, Header, Levels, decode, extremes, header
from archsearch.errors import DataError

DEFAULT_SIZE = 64
_SHOWN = 10
_FULL = (0, 65535)
_NEARLY_BLACK = 16

_T = TypeVar("_T")
Heads = Mapping[Path, Header]


@dataclass(frozen=True)
class _Reader:
    """How all pictures of a folder are read. Picklable."""

    name: str
    root: Path
    size: int
    grey: bool
    levels: Levels | None
    skip_broken: bool

    def pixels(self, paths: Sequence[Path]) -> list[NDArray[np.uint8] | Broken]:
        return _map(partial(decode, self.size, self.grey, self.levels), paths)

    def test(self, tree: Tree) -> Split:
        """The test split, read now."""
        pixels = self.pixels(paths_of(tree))
        self._judge(_unreadable(pixels))
        return _split(pixels, tree, self.name)[0]

    def verify(self, tree: Tree) -> int:
        """How many of its pictures can be read; none is kept."""
        paths = paths_of(tree)
        broken = [one for one in _map(self._broken, paths) if one]
        self._judge(broken)
        return len(paths) - len(broken)

    def _broken(self, path: Path) -> Broken | None:
        found = decode(self.size, self.grey, self.levels, path)
        return found if isinstance(found, Broken) else None

    def _judge(self, broken: Sequence[Broken]) -> None:
        if broken and not self.skip_broken:
            raise _refusal(self.name, self.root, broken)


def load_folder(
    root: Path, size: int, name: str, skip_broken: bool = False, nested: bool = False, colour: str | None = None
) -> Dataset:
    """Pictures under `root` at size x size pixels: in `colour`, else in RGB, or grey if every train picture is.

    The short side is scaled to `size`, then the centre is cut out. 16-bit grey pictures are scaled by the range of
    the train pictures. Of test pictures only the headers are read here.
    skip_broken: leave unreadable pictures out. nested: see `find_layout`.
    DataError for a folder that breaks the layout, naming the folder, and for unreadable pictures, naming all.
    """
    layout = find_layout(root, name, nested)
    parts = layout.parts
    every = [path for tree in parts.values() for path in paths_of(tree)]
    found = dict(zip(every, _map(header, every), strict=True))
    heads = {path: head for path, head in found.items() if isinstance(head, Header)}
    train = [path for path in paths_of(parts["train"]) if path in heads]
    own = all(heads[path].grey for path in train)
    grey = colour == "grey" if colour else own
    levels = _levels(train, heads)
    _check_depth(parts, heads, name)
    reader = _Reader(name, root, size, grey, levels, skip_broken)
    pixels = {part: reader.pixels(paths_of(tree)) for part, tree in parts.items() if part != "test"}
    broken = [*_unreadable(pixels["train"]), *_unreadable(pixels.get("val", [])),
              *_unreadable(found[path] for path in paths_of(parts["test"]))]  # fmt: skip
    if broken and not skip_broken:
        raise _refusal(name, root, broken)
    (images, labels), listed = _split(pixels["train"], parts["train"], name)
    for label in set(range(len(parts["train"]))) - set(labels.tolist()):
        raise DataError(f"{name}: no train picture of class {[*parts['train']][label]} can be read: replace some")
    _check_colours(train, heads, pixels["train"], name)
    notes = [*layout.notes, *_read_notes(root, heads, levels, broken, len(every))]
    tested = {label: [path for path in paths if path in heads] for label, paths in parts["test"].items()}
    return Dataset(
        name,
        tuple(parts["train"]),
        images,
        labels,
        _split(pixels["val"], parts["val"], name)[0] if "val" in parts else None,
        not own,
        partial(reader.test, tested),
        range=levels,
        listed=listed if broken else None,
        notes=tuple(notes),
        test_count=len(paths_of(tested)),
        verify_test=partial(reader.verify, tested),
    )


def _levels(train: Sequence[Path], heads: Heads) -> Levels | None:
    """The values that the 16-bit train pictures use; None where there are none."""
    ranges = [found for found in _map(extremes, [path for path in train if heads[path].deep])
              if not isinstance(found, Broken)]  # fmt: skip
    if not ranges:
        return None
    low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
    return (low, high) if low < high else _FULL


def _check_depth(parts: Mapping[str, Tree], heads: Heads, name: str) -> None:
    """Refuse 16-bit pictures whose range no train picture tells."""
    deep = {part: [path for path in paths_of(tree) if path in heads and heads[path].deep]
            for part, tree in parts.items()}  # fmt: skip
    for path in () if deep["train"] else (path for paths in deep.values() for path in paths):
        raise DataError(f"{name}: {path} has 16-bit pixels, the train pictures have 8-bit ones: save all of them alike")


def _check_colours(
    train: Sequence[Path], heads: Heads, pixels: Sequence[NDArray[np.uint8] | Broken], name: str
) -> None:
    """Refuse 16-bit colour pictures whose upper bytes, all that Pillow reads of them, are nearly black."""
    deep = [path for path in train if heads[path].deep_colour]
    if not deep or len(deep) < len(train):
        return
    brightest = max(int(found.max()) for found in pixels if not isinstance(found, Broken))
    if brightest < _NEARLY_BLACK:
        raise DataError(
            f"{name}: the colour pictures have 16 bits and use the lowest {256 * (brightest + 1):,} values, "
            f"which would be black: save them with 8 bits a channel, such as {deep[0]}"
        )


def _read_notes(root: Path, heads: Heads, levels: Levels | None, broken: Sequence[Broken], count: int) -> Iterable[str]:
    if levels:
        deep = sum(head.deep for head in heads.values())
        yield f"16-bit grey: of {deep:,} pictures the values {levels[0]:,} to {levels[1]:,} become 0 to 255"
    if colours := sum(head.deep_colour for head in heads.values()):
        yield f"16-bit colour: of {colours:,} pictures the upper 8 bits a channel are read"
    if broken:
        yield f"left out by --skip-broken: {len(broken):,} of {count:,} pictures: {_listed(root, broken)}"


def _unreadable(found: Iterable[object]) -> list[Broken]:
    return [one for one in found if isinstance(one, Broken)]


def _refusal(name: str, root: Path, broken: Sequence[Broken]) -> DataError:
    way = "replace or remove {}, or leave {} out: --skip-broken"
    first = broken[0]
    if len(broken) == 1:
        return DataError(f"{name}: {first.path} is no readable picture ({first.reason}): {way.format('it', 'it')}")
    return DataError(
        f"{name}: {len(broken):,} files in {root} are no readable pictures: {_listed(root, broken)} "
        f"(the first: {first.reason}): {way.format('them', 'them')}"
    )


def _listed(root: Path, broken: Sequence[Broken]) -> str:
    shown = [str(one.path.relative_to(root)) for one in broken[:_SHOWN]]
    more = len(broken) - len(shown)
    return ", ".join([*shown, f"and {more:,} more"] if more else shown)


def _split(
    pixels: Sequence[NDArray[np.uint8] | Broken], tree: Tree, name: str
) -> tuple[Split, tuple[torch.Tensor, torch.Tensor]]:
    """Images and labels that could be read; and the labels of all that are listed, with a bool whether it was read."""
    labels = torch.from_numpy(labels_of(tree.values()))
    read = torch.tensor([not isinstance(one, Broken) for one in pixels], dtype=torch.bool)
    kept = [one for one in pixels if not isinstance(one, Broken)]
    if not kept:
        raise DataError(f"{name}: none of the {len(pixels):,} pictures of a split can be read: replace them")
    return (images_from(np.stack(kept)), labels[read]), (labels, read)


def _map(function: Callable[[Path], _T], paths: Iterable[Path]) -> list[_T]:
    """Threads: Pillow decodes outside the interpreter's lock."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(function, paths))
