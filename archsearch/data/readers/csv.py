"""`csv:FILE`: a table of picture files and their labels."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from archsearch._utils.specs import expand, options_of, parse_spec
from archsearch._utils.units import counted
from archsearch.data.listing import Listing
from archsearch.data.readers.find import Named, find_pictures
from archsearch.data.readers.folder import Files
from archsearch.data.readers.labels import Labelled, classes_of, split_off, written
from archsearch.data.readers.layout import part_named
from archsearch.data.readers.marks import asked_for
from archsearch.data.readers.shards import PARTS
from archsearch.errors import DataError

_OPTIONS = ("image", "label", "labels", "separator", "none", "split", "root", *PARTS)
_DELIMITERS = ",;\t|"
_NAMES = {
    "image": (
        ("path", "file", "filename", "filepath", "image", "imagepath", "imagefile", "imagename", "img", "imgpath",
         "picture", "photo", "relpath"),
        ("id", "imageid", "imgid", "idcode", "uuid", "name"),
    ),
    "label": (("label", "labels", "class", "classname", "category", "target", "y", "labelname", "classid"), ()),
    "split": (("split", "set", "subset", "partition", "part"), ()),
}  # fmt: skip


@dataclass(frozen=True)
class _Table:
    """A table as text. lines: the line of each row in the file."""

    path: Path
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    lines: Sequence[int]

    def column(self, number: int) -> list[str]:
        """The texts of a column, without the spaces around them."""
        return [row[number].strip() for row in self.rows]

    def chosen(self, rows: Sequence[int]) -> _Table:
        """A part of it."""
        return replace(self, rows=[self.rows[row] for row in rows], lines=[self.lines[row] for row in rows])


def list_csv(name: str) -> Listing:
    """The pictures of a dataset `csv:FILE?image=COLUMN&label=COLUMN&split=COLUMN&root=FOLDER`; options may be left out.

    labels: in place of `label`, several per picture, see `readers.marks`.

    Paths are those below `root`, by default the file's folder; names without a suffix, or without their folder, are
    looked for there. Where no column says the split, a fifth of each class becomes the test.
    Raises DataError, one line, for a table that is broken or not plain, and for pictures that are not there.
    """
    options = options_of(name, _OPTIONS)
    path = _place(name)
    root = Path(options["root"]).expanduser() if "root" in options else path.parent
    table = _read(path, name)
    image, split = _places(table, options, name)
    marks = asked_for(name, options)
    labels = marks.columns(table, (image, split)) if marks else [_label(table, image, split, options, name)]
    kept, twice = _single(table, image, labels, split, name)
    paths, moved = find_pictures(root, Named(name, path, kept.column(image), kept.lines))
    parts = _members(kept, split, options, name)
    found = marks.read(kept, labels, parts) if marks else _classes(kept, labels[0], parts, name)
    files = {part: Files([str(paths[row]) for row in rows], found.parts[part]) for part, rows in parts.items()}
    files = files if "test" in files else _split_off(files["train"])
    return Listing(name, parse_spec(name).root, found.classes, files, (*twice, *moved, *found.notes))


def _classes(table: _Table, label: int, parts: Mapping[str, Sequence[int]], name: str) -> Labelled:
    """One label per picture, from one column."""
    labels = table.column(label)
    return classes_of(
        {part: written(labels[row] for row in rows) for part, rows in parts.items()},
        name,
        lambda part, n: f"{table.path}: line {table.lines[parts[part][n]]}",
    )


def every_picture(name: str) -> tuple[Files, list[str]]:
    """The pictures of a table without labels, `csv:FILE?image=COLUMN&id=COLUMN&root=FOLDER`, and their ids, by row.

    Ids are the names of the pictures as they are written, or a column of the table. Every row counts, also one that
    names a picture again. Raises DataError as `list_csv` does.
    """
    options = options_of(name, ("image", "id", "root"))
    path = _place(name)
    table = _read(path, name)
    image = _column(table, "image", {key: options[key] for key in options if key == "image"}, name)
    if image is None and len(table.header) == 1:
        image = 0
    if image is None or not table.rows:
        way = "name it by ?image=COLUMN" if image is None else "it has no rows"
        raise DataError(f"{name}: {path} names no pictures: {way}; the first line is {_shown(table.header)}")
    if "id" in options and table.header.count(options["id"]) != 1:
        raise DataError(f"{name}: {path} has no column {options['id']!r}: the columns are {_shown(table.header)}")
    texts = table.column(image)
    if "" in texts:
        raise DataError(f"{name}: {path}: line {table.lines[texts.index('')]} names no picture: remove the line")
    root = Path(options["root"]).expanduser() if "root" in options else path.parent
    paths, _ = find_pictures(root, Named(name, path, texts, table.lines))
    ids = table.column(table.header.index(options["id"])) if "id" in options else texts
    return Files([str(one) for one in paths], np.zeros(len(paths), np.int64)), ids


def _split_off(files: Files) -> dict[str, Files]:
    """The same pictures as `folder:` takes, in whatever order the rows are."""
    keys = [(label, str(path)) for label, path in zip(files.labels.tolist(), files.paths, strict=True)]
    order = np.array(sorted(range(len(keys)), key=keys.__getitem__), np.int64)
    chosen = split_off(files.labels, order)
    return {part: Files([files.paths[n] for n in rows], files.labels[rows]) for part, rows in chosen.items()}


def _place(name: str) -> Path:
    places = expand(parse_spec(name).place, name)
    if len(places) > 1 or not places[0].is_file():
        raise DataError(f"{name}: {places[0]} is {'one of several' if len(places) > 1 else 'no file'}: give one table")
    return places[0]


def _read(path: Path, name: str) -> _Table:
    text = _text(path, name)
    mark = re.match(r"sep=(.)\r?\n", text)  # by Excel
    text = text[mark.end() if mark else 0 :]
    header = text.partition("\n")[0]
    delimiter = mark[1] if mark else max(_DELIMITERS, key=lambda one: _columns_by(header, one))
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        numbered = [(reader.line_num + bool(mark), row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise DataError(f"{name}: {path} is no table ({error}): write it again as CSV") from None
    if not numbered:
        raise DataError(f"{name}: {path} is empty: it needs a line of column names, such as path,label")
    columns = [cell.strip() for cell in numbered[0][1]]
    for line, row in numbered[1:]:
        if len(row) != len(columns):
            raise DataError(
                f"{name}: {path}: line {line} has {len(row)} cells, the first line {len(columns)}: "
                "quote cells that hold the delimiter"
            )
    return _Table(path, columns, [row for _, row in numbered[1:]], [line for line, _ in numbered[1:]])


def _columns_by(header: str, delimiter: str) -> int:
    try:
        return len(next(csv.reader([header], delimiter=delimiter), []))
    except csv.Error:
        return 0


def _text(path: Path, name: str) -> str:
    """The file's text, in UTF-8 or in what its first bytes say."""
    try:
        data = path.read_bytes()
        wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
        return data.decode("utf-16" if wide else "utf-8-sig")
    except OSError as error:
        raise DataError(f"{name}: {path} cannot be read ({error.strerror}): see its permissions") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: {path} is no UTF-8 text (byte {error.start:,}): save it as CSV in UTF-8") from None


def _places(table: _Table, options: Mapping[str, str], name: str) -> tuple[int, int | None]:
    """Numbers of the columns with pictures and splits."""
    image, split = (_column(table, what, options, name) for what in ("image", "split"))
    if image is None:
        raise DataError(
            f"{name}: {table.path} has no column of pictures: name it by ?image=COLUMN; "
            f"the first line is {_shown(table.header)}"
        )
    if not table.rows:
        raise DataError(f"{name}: {table.path} has column names and no rows: check the file")
    return image, split


def _label(table: _Table, image: int, split: int | None, options: Mapping[str, str], name: str) -> int:
    """The number of the column with one label per picture."""
    label = _column(table, "label", options, name)
    if label is None:
        others = [number for number in range(len(table.header)) if number not in (image, split)]
        if len(others) != 1:
            raise DataError(
                f"{name}: {table.path} has no column of labels: name it by ?label=COLUMN, or several per picture by "
                f"?labels=COLUMN,COLUMN; the columns are {_shown(table.header)}"
            )
        label = others[0]
    return label


def _column(table: _Table, what: str, options: Mapping[str, str], name: str) -> int | None:
    """The one that an option names, else the one whose name says it; None for none."""
    header = table.header
    if what in options:
        if header.count(options[what]) != 1:
            raise DataError(f"{name}: {table.path} has no column {options[what]!r}: the columns are {_shown(header)}")
        return header.index(options[what])
    taken = [options[key] for key in _NAMES if key in options]
    plain = ["" if cell in taken else re.sub(r"[\W_]", "", cell.casefold()) for cell in header]
    for names in _NAMES[what]:
        if found := [header[number] for number, word in enumerate(plain) if word in names]:
            if len(found) > 1:
                raise DataError(f"{name}: columns {', '.join(found)} may be the {what}: choose by ?{what}={found[0]}")
            return header.index(found[0])
    return None


def _single(table: _Table, image: int, labels: Sequence[int], split: int | None, name: str) -> tuple[_Table, list[str]]:
    """Each picture's first row. Raises DataError for a row without one, and one with two labels, or in two splits."""
    seen: dict[str, int] = {}
    columns = [(table.column(n), "labels" if len(labels) == 1 else f"values of {table.header[n]}") for n in labels]
    columns += [(table.column(split), "splits")] if split is not None else []
    for row, text in enumerate(table.column(image)):
        if not text:
            raise DataError(f"{name}: {table.path}: line {table.lines[row]} names no picture: remove the line")
        first = seen.setdefault(os.path.normpath(text), row)
        for said, what in columns if first != row else ():
            if said[row] != said[first]:
                raise DataError(
                    f"{name}: {table.path}: {text} has two {what}, {said[first]!r} in line {table.lines[first]} and "
                    f"{said[row]!r} in line {table.lines[row]}: keep one of the lines"
                )
    twice = len(table.rows) - len(seen)
    return table.chosen([*seen.values()]), [
        f"listed more than once, taken once: {counted(twice, 'row')}"
    ] if twice else []


def _members(table: _Table, split: int | None, options: Mapping[str, str], name: str) -> dict[str, list[int]]:
    """The rows of each part; all are of train where no column says it."""
    chosen = {options[part]: part for part in PARTS if part in options}
    if split is None:
        if chosen:
            raise DataError(f"{name}: {table.path} has no column of splits: name it by ?split=COLUMN")
        return {"train": list(range(len(table.rows)))}
    words = table.column(split)
    known = {word: chosen.get(word) or part_named(word) for word in words}
    known = {word: part for word, part in known.items() if word in chosen or part not in chosen.values()}
    if absent := [word for word in chosen if word not in known]:
        raise DataError(f"{name}: there is no split {absent[0]!r}: there are {_shown(sorted(known))}")
    parts: dict[str, list[int]] = {}
    for row, word in enumerate(words):
        if word not in known:
            continue  # another split was chosen for that part
        if known[word] is None:
            raise DataError(
                f"{name}: {table.path}: line {table.lines[row]} has the split {word!r}: it must be train, test or val, "
                "or be named by ?train=, ?test= or ?val="
            )
        parts.setdefault(str(known[word]), []).append(row)
    _check_parts(parts, known, name)
    return {part: parts[part] for part in PARTS if part in parts}


def _check_parts(parts: Mapping[str, object], known: Mapping[str, str | None], name: str) -> None:
    if "train" not in parts:
        raise DataError(f"{name}: no row is of the train split: the splits are {_shown(sorted(known))}")
    if "val" in parts and "test" not in parts:
        val = next(word for word, part in known.items() if part == "val")
        raise DataError(f"{name}: no row is of the test split: add some, or take another for it, by ?test={val}")


def _shown(words: Iterable[str]) -> str:
    text = ", ".join(words)
    return text if len(text) <= 200 else f"{text[:200]} ..."
