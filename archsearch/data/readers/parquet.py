"""`parquet:PATH`: tables with encoded pictures and labels, in the layout of Hugging Face image sets."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from archsearch._utils.specs import expand, options_of, parse_spec
from archsearch.data.listing import Encoded, Listing, stamp
from archsearch.data.readers.columns import distinct, image_column, is_list, label_column, label_names, text_of
from archsearch.data.readers.labels import Written, classes_of, split_off
from archsearch.data.readers.lists import Listed, classes_of_lists
from archsearch.data.readers.shards import PARTS, files_in, find_shards
from archsearch.data.splits import Labels
from archsearch.errors import DataError, one_line

if TYPE_CHECKING:
    import pyarrow.parquet as pq

_BATCH = 16  # rows: bounds the memory for pictures of many megabytes
_BUFFER = 1 << 18
_OPTIONS = ("image", "label", *PARTS)


@dataclass(frozen=True)
class _Table:
    """The files of one part as one table.

    starts: the number of the first row of each file, and of all rows. beside: files that stand for pictures, by row.
    """

    name: str
    column: str
    files: Sequence[Path]
    starts: NDArray[np.int64]
    beside: Mapping[int, Path]

    def where(self, row: int) -> str:
        """A row by its file and its number in it, counted from 0."""
        file = self.file_of(row)
        return f"{self.files[file]}: row {row - self.starts[file]:,}"

    def file_of(self, row: int) -> int:
        """Number of the file that a row is in."""
        return int(np.searchsorted(self.starts, row, side="right")) - 1

    def batches(self, row: int) -> Iterator[tuple[int, Sequence[bytes | None]]]:
        """From the row group of a row to the end of its file: the number of a row, pictures from there on."""
        file = self.file_of(row)
        with opened(self.files[file], self.name) as table:
            sizes = [table.metadata.row_group(group).num_rows for group in range(table.num_row_groups)]
            firsts = self.starts[file] + np.cumsum([0, *sizes])
            group = int(np.searchsorted(firsts, row, side="right")) - 1
            first = int(firsts[group])
            for batch in table.iter_batches(
                _BATCH, row_groups=range(group, len(sizes)), columns=[self.column], use_threads=False
            ):
                yield first, [_bytes(value) for value in batch.column(0).to_pylist()]
                first += len(batch)


@dataclass(eq=False)
class ParquetPictures:
    """Pictures in rows of parquet files, read from one to the next. rows: int64 (N,), ascending, over all files.

    lenient: a row without a picture is an empty one, which nothing can decode, rather than an error.
    """

    table: _Table
    rows: NDArray[np.int64]
    labels: Labels
    lenient: bool = False
    _batches: Iterator[tuple[int, Sequence[bytes | None]]] = field(default_factory=lambda: iter(()), repr=False)
    _ready: tuple[int, Sequence[bytes | None]] = field(default=(0, ()), repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_batches": iter(()), "_ready": (0, ())}

    def __len__(self) -> int:
        return len(self.rows)

    def where(self, number: int) -> str:
        """The file and the row of a picture."""
        return self.table.where(int(self.rows[number]))

    def identity(self) -> Iterator[str]:
        """Every file, with its size and times; the column, which rows, and their labels."""
        yield from map(stamp, self.table.files)
        yield from (stamp(self.table.beside[row]) for row in self.rows.tolist() if row in self.table.beside)
        digest = hashlib.sha256(self.rows.astype("<i8").tobytes() + self.labels.astype("<i8").tobytes())
        yield f"{self.table.column} {digest.hexdigest()}"

    def read(self, first: int, last: int) -> Sequence[Encoded]:
        """The pictures from `first` up to `last`. Raises DataError where a file is damaged or a row has no picture."""
        found = [self._picture(int(row)) for row in self.rows[first:last]]
        if last >= len(self):
            self._batches, self._ready = iter(()), (0, ())  # closes the file
        return found

    def _picture(self, row: int) -> Encoded:
        if row in self.table.beside:
            return self.table.beside[row]
        start, ready = self._ready
        while not start <= row < start + len(ready):
            found = next(self._batches, None) if start <= row else None
            if found is None:
                self._batches = self.table.batches(row)
                found = next(self._batches, (row, [None]))
            start, ready = self._ready = found
        picture = ready[row - start]
        if picture is None and self.lenient:
            return b""
        if picture is None:
            raise DataError(f"{self.table.name}: {self.table.where(row)} holds no picture: leave the row out")
        return picture


def list_parquet(name: str) -> Listing:
    """The pictures of a dataset `parquet:PATH?image=COLUMN&label=COLUMN&test=SPLIT`; options may be left out.

    PATH: a file, a folder or a pattern; files are of a split by their names. A column of lists has several labels per
    picture. Raises DataError, one line, where files, columns or labels are missing, damaged or not plain.
    """
    options = options_of(name, _OPTIONS)
    shards = find_shards(
        parse_spec(name).place, ".parquet", name, {key: options[key] for key in options if key in PARTS}
    )
    image, label, several, names = _columns(shards.parts, options, name)
    tables, written, listed = dict[str, _Table](), dict[str, Written](), dict[str, Listed]()
    for part, files in shards.parts.items():
        if several:
            listed[part], starts = _lists(files, label, name)
        else:
            written[part], starts = _labels(files, label, name)
        tables[part] = _Table(name, image, files, starts, _beside(files, image, starts, name))

    def where(part: str, row: int) -> str:
        return tables[part].where(row)

    found = classes_of_lists(listed, name, where, names) if several else classes_of(written, name, where, names)
    rows = {part: (part, np.arange(len(labels))) for part, labels in found.parts.items()}
    if "test" not in rows:
        rows = {part: ("train", chosen) for part, chosen in split_off(found.parts["train"]).items()}
    parts = {part: ParquetPictures(tables[of], chosen, found.parts[of][chosen]) for part, (of, chosen) in rows.items()}
    return Listing(name, parse_spec(name).root, found.classes, parts, (*shards.notes, *found.notes))


def every_row(name: str) -> tuple[ParquetPictures, list[str] | None]:
    """The pictures of `parquet:PATH?image=COLUMN&id=COLUMN`, all rows of all files, and their ids if a column has them.

    Labels and splits are not looked at. Raises DataError, one line, where files or columns are missing or damaged.
    """
    options = options_of(name, ("image", "id"))
    places = expand(parse_spec(name).place, name)
    files = [file for one in places for file in (files_in(one, ".parquet") if one.is_dir() else [one])]
    if not files:
        raise DataError(f"{name}: no .parquet file in {places[0]}: check the path")
    columns, ids, starts = set(), list[str](), [0]
    for path in files:
        with opened(path, name) as table:
            columns.add(image_column(table.schema_arrow, options.get("image"), name))
            if "id" in options and options["id"] not in table.schema_arrow.names:
                raise DataError(f"{name}: {path} has no column {options['id']!r}: give ?id= another")
            for group in range(table.num_row_groups if "id" in options else 0):
                values = table.read_row_group(group, columns=[options["id"]], use_threads=False).column(0)
                ids += map(text_of, values.to_pylist())
            starts.append(starts[-1] + table.metadata.num_rows)
    if len(columns) > 1:
        raise DataError(f"{name}: the files hold pictures in {', '.join(sorted(columns))}: choose by ?image=COLUMN")
    firsts, (column,) = np.array(starts, np.int64), columns
    rows = np.arange(starts[-1])
    table = _Table(name, column, files, firsts, _beside(files, column, firsts, name, lenient=True))
    return ParquetPictures(table, rows, np.zeros_like(rows), lenient=True), ids if "id" in options else None


@contextmanager
def opened(path: Path, name: str) -> Iterator[pq.ParquetFile]:
    """A parquet file; whatever pyarrow raises of it is a DataError."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise DataError(f"{name}: parquet files are read by pyarrow: pip install 'archsearch[parquet]'") from None
    try:
        with pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False) as table:
            yield table
    except (pa.ArrowException, OSError, ValueError, TypeError, LookupError, OverflowError, RuntimeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{name}: {path} cannot be read ({one_line(error)}): copy or download it again") from error


def _columns(
    parts: Mapping[str, Sequence[Path]], options: Mapping[str, str], name: str
) -> tuple[str, str, bool, Sequence[str] | None]:
    """The columns of pictures and of labels, whether these are lists, and their names; the same in all files."""
    first: tuple[Path, tuple[str, str, bool, Sequence[str] | None]] | None = None
    for path in (path for files in parts.values() for path in files):
        with opened(path, name) as table:
            schema = table.schema_arrow
            image = image_column(schema, options.get("image"), name)
            label = label_column(schema, options.get("label"), name)
            found = (image, label, is_list(schema, label), label_names(schema, label))
        if first is None:
            first = (path, found)
        elif found != first[1]:
            raise DataError(
                f"{name}: {first[0]} and {path} differ in columns or class names: give files of one dataset"
            )
    assert first is not None
    return first[1]


def _labels(files: Sequence[Path], column: str, name: str) -> tuple[Written, NDArray[np.int64]]:
    """The labels of all rows; and the number of the first row of each file, and of all rows."""
    texts: dict[str, int] = {}
    codes, starts = [np.zeros(0, np.int64)], [0]
    for path in files:
        with opened(path, name) as table:
            for group in range(table.num_row_groups):
                values = table.read_row_group(group, columns=[column], use_threads=False).column(0)
                words, places = distinct(values.combine_chunks())
                numbers = [texts.setdefault(word, len(texts)) for word in words]
                codes.append(np.array(numbers, np.int64)[places] if numbers else codes[0])
            starts.append(sum(map(len, codes)))
            if starts[-1] - starts[-2] != table.metadata.num_rows:
                raise DataError(f"{name}: {path} has fewer labels than rows: copy or download it again")
    return Written(tuple(texts), np.concatenate(codes)), np.array(starts, np.int64)


def _lists(files: Sequence[Path], column: str, name: str) -> tuple[Listed, NDArray[np.int64]]:
    """The labels of all rows, of which each has a list; and the number of the first row of each file, and of all."""
    texts: dict[str, int] = {}
    rows, codes, starts = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [0]
    for path in files:
        with opened(path, name) as table:
            first = starts[-1]
            for group in range(table.num_row_groups):
                values = table.read_row_group(group, columns=[column], use_threads=False).column(0).combine_chunks()
                if values.null_count:
                    row = first - starts[-1] + values.is_null().index(True).as_py()
                    raise DataError(
                        f"{name}: {path}: row {row:,} has no list of labels: an empty one says that there is none"
                    )
                words, places = distinct(values.flatten())
                numbers = np.array([texts.setdefault(word, len(texts)) for word in words], np.int64)
                sizes = np.asarray(values.value_lengths(), np.int64)
                rows.append(first + np.repeat(np.arange(len(values)), sizes))
                codes.append(numbers[places] if len(numbers) else codes[0])
                first += len(values)
            if first - starts[-1] != table.metadata.num_rows:
                raise DataError(f"{name}: {path} has fewer labels than rows: copy or download it again")
            starts.append(first)
    return Listed(starts[-1], tuple(texts), np.concatenate(rows), np.concatenate(codes)), np.array(starts, np.int64)


def _beside(
    files: Sequence[Path], column: str, starts: NDArray[np.int64], name: str, lenient: bool = False
) -> dict[int, Path]:
    """Picture files that rows without bytes name, by row.

    lenient: rows whose file is missing, or that name none, are left out. Else DataError for them.
    """
    found = {}
    for path, start in zip(files, starts.tolist(), strict=False):
        with opened(path, name) as table:
            first = start
            for group in range(table.num_row_groups):
                about = table.metadata.row_group(group)
                if _may_lack(about, column):
                    batches = table.iter_batches(_BATCH, row_groups=[group], columns=[column], use_threads=False)
                    values = (value for batch in batches for value in batch.column(0).to_pylist())
                    lacking = ((row, value) for row, value in enumerate(values) if _bytes(value) is None)
                    lacking = ((row, value) for row, value in lacking if not lenient or _is_there(value, path))
                    found.update({first + row: _file(value, path, first - start + row, name) for row, value in lacking})
                first += about.num_rows
    return found


def _may_lack(group: Any, column: str) -> bool:
    """Whether a row group's statistics do not rule out that bytes are missing."""
    for number in range(group.num_columns):
        chunk = group.column(number)
        if chunk.path_in_schema in (column, f"{column}.bytes"):
            known = chunk.statistics is not None and chunk.statistics.has_null_count
            return not known or chunk.statistics.null_count > 0
    return True


def _path(value: Any, table: Path) -> Path | None:
    """The picture file that a row without bytes names."""
    said = value.get("path") if isinstance(value, dict) else None
    return table.parent / str(said) if said else None


def _is_there(value: Any, table: Path) -> bool:
    found = _path(value, table)
    return found is not None and found.is_file()


def _file(value: Any, table: Path, row: int, name: str) -> Path:
    found = _path(value, table)
    if found is None:
        raise DataError(f"{name}: {table}: row {row:,} holds no picture: leave the row out")
    if not found.is_file():
        raise DataError(
            f"{name}: {table}: row {row:,} names a file instead of a picture, and there is no {found}: "
            "put the pictures there, or write them into the table"
        )
    return found


def _bytes(value: Any) -> bytes | None:
    """The encoded picture of a row; None where it has none."""
    value = value.get("bytes") if isinstance(value, dict) else value
    return value if isinstance(value, bytes) else None
