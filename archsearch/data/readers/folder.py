"""`folder:DIR`: pictures, one folder a class, under train/ and test/ (and val/) or split here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from archsearch.data.listing import Listing, Pictures, stamp
from archsearch.data.readers.layout import Tree, find_layout, labels_of, paths_of
from archsearch.data.splits import Labels


@dataclass(frozen=True, eq=False)
class Files:
    """Pictures in files of their own. labels: int64 (N,), or bool (N, classes)."""

    paths: Sequence[str | Path]
    labels: Labels

    def __len__(self) -> int:
        return len(self.paths)

    def where(self, number: int) -> str:
        """The path of a picture."""
        return str(self.paths[number])

    def identity(self) -> Iterator[str]:
        """Every file, with its size and times."""
        return map(stamp, self.paths)

    def read(self, first: int, last: int) -> Sequence[Path]:
        """The paths from `first` up to `last`: who decodes a picture opens it."""
        return [Path(path) for path in self.paths[first:last]]


def list_folder(root: Path, name: str, nested: bool = False) -> Listing:
    """The pictures under `root`, a folder a class. nested: see `find_layout`.

    DataError for a folder that breaks the layout, naming the folder.
    """
    layout = find_layout(root, name, nested)
    parts: dict[str, Pictures] = {part: _files(tree) for part, tree in layout.parts.items()}
    return Listing(name, root, tuple(layout.parts["train"]), parts, layout.notes)


def _files(tree: Tree) -> Files:
    return Files(paths_of(tree), labels_of(tree.values()))
