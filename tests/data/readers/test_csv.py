"""`csv:FILE`: columns, splits, where the pictures are, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from data_samples import error_line
from formats import encoded, refused_or_read
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archsearch.data import load_dataset

LABELS = ["cat", "dog", "cow"] * 4


def pictures(root: Path, count: int = 12, folder: str = "", end: str = ".png") -> list[str]:
    """Pictures 0.png, 1.png, ... below a folder; their paths from there."""
    (root / folder).mkdir(parents=True, exist_ok=True)
    names = [f"{folder}/{n}{end}".removeprefix("/") for n in range(count)]
    for n, name in enumerate(names):
        (root / name).write_bytes(encoded(n))
    return names


def table(path: Path, header: str, rows: Sequence[Sequence[object]], delimiter: str = ",") -> str:
    """A table; its dataset."""
    lines = [header.replace(",", delimiter), *(delimiter.join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return f"csv:{path}"


def test_a_table_of_pictures(tmp_path: Path) -> None:
    names = pictures(tmp_path, 12, "p")
    spec = table(tmp_path / "t.csv", "path,label", list(zip(names, LABELS, strict=True)))
    dataset = load_dataset(spec, image_size=10)
    assert dataset.name == spec
    assert dataset.classes == ("cat", "cow", "dog")
    assert dataset.test_count == 3
    assert len(dataset.labels) == 9


def test_the_same_pictures_as_a_folder(tmp_path: Path) -> None:
    """Also the same test split, in whatever order the rows are."""
    for n, label in enumerate(LABELS * 3):
        path = tmp_path / "set" / label / f"{n:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(n))
    folder = load_dataset(f"folder:{tmp_path / 'set'}", image_size=10)
    paths = sorted((tmp_path / "set").rglob("*.png"), key=lambda path: path.name)
    rows = [(path.relative_to(tmp_path), path.parent.name) for path in paths]
    found = load_dataset(table(tmp_path / "t.csv", "file,class", rows), image_size=10)
    assert found.classes == folder.classes
    for mine, theirs in ((found.test()[0], folder.test()[0]), (found.images, folder.images)):
        assert sorted(image.numpy().tobytes() for image in mine) == sorted(image.numpy().tobytes() for image in theirs)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_delimiters_and_encodings(tmp_path: Path, delimiter: str, encoding: str) -> None:
    names = pictures(tmp_path, 12, "p")
    splits = ["train"] * 6 + ["valid"] * 3 + ["test"] * 3
    rows = [(name, f'"{label}, é"', split) for name, label, split in zip(names, LABELS, splits, strict=True)]
    table(tmp_path / "t.csv", '"Image Path",Class Name,Split', rows, delimiter)
    path = tmp_path / "t.csv"
    path.write_bytes(path.read_text().replace("\n", "\r\n").encode(encoding))
    dataset = load_dataset(f"csv:{path}", image_size=8)
    assert dataset.classes == ("cat, é", "cow, é", "dog, é")
    assert dataset.validation is not None
    assert (len(dataset.labels), len(dataset.validation[1]), dataset.test_count) == (6, 3, 3)


def test_excels_first_line(tmp_path: Path) -> None:
    names = pictures(tmp_path)
    spec = table(tmp_path / "t.csv", "sep=;\npath;label", list(zip(names, LABELS, strict=True)), ";")
    assert len(load_dataset(spec, image_size=8).classes) == 3


@pytest.mark.parametrize("suffix", ["", ".png"])
def test_kaggles_ids_and_a_folder(tmp_path: Path, suffix: str) -> None:
    pictures(tmp_path, 12, "train")
    spec = table(tmp_path / "train.csv", "id,breed", [(f"{n}{suffix}", label) for n, label in enumerate(LABELS)])
    dataset = load_dataset(spec, image_size=8)
    assert f"pictures are those in {tmp_path / 'train'}" in dataset.notes
    pictures(tmp_path, 12, "other")
    assert f"{tmp_path / 'other'}, {tmp_path / 'train'} hold the pictures of" in error_line(spec)
    again = load_dataset(f"{spec}?root={tmp_path / 'train'}", image_size=8)
    assert again.fingerprint == dataset.fingerprint
    (tmp_path / "train" / "7.png").unlink()
    line = error_line(f"{spec}?root={tmp_path / 'train'}")
    assert f"1 of 12 pictures are not in {tmp_path / 'train'}, the first is 7{suffix} of line 9" in line


def test_paths_of_windows(tmp_path: Path) -> None:
    names = [name.replace("/", "\\") for name in pictures(tmp_path, 12, "a/b")]
    assert load_dataset(table(tmp_path / "t.csv", "path,y", list(zip(names, LABELS, strict=True)))).test_count == 3


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["10", "9", "2"], ("2", "9", "10")),
        (["10", "9", "x"], ("10", "9", "x")),
        (["1.5", "b", "c"], ("1.5", "b", "c")),
    ],
)
def test_numbers_are_sorted_by_size(tmp_path: Path, labels: list[str], classes: tuple[str, ...]) -> None:
    rows = [*zip(pictures(tmp_path), labels * 4, strict=True)]
    assert load_dataset(table(tmp_path / "t.csv", "path,label", rows), image_size=8).classes == classes


def test_options_choose_columns_and_splits(tmp_path: Path) -> None:
    names = pictures(tmp_path)
    rows = [(name, label, n % 2, ["a", "b", "test"][n // 3 % 3]) for n, (name, label) in
            enumerate(zip(names, LABELS, strict=True))]  # fmt: skip
    spec = table(tmp_path / "t.csv", "path,label,class,set", rows)
    assert "columns label, class may be the label: choose by ?label=label" in error_line(spec)
    assert "line 2 has the split 'a': it must be train, test or val, or be named by" in error_line(
        f"{spec}?label=class"
    )
    dataset = load_dataset(f"{spec}?label=class&train=a&test=b", image_size=8)
    assert dataset.classes == ("0", "1")
    assert (len(dataset.labels), dataset.test_count) == (6, 3)
    assert "has no column 'x': the columns are path, label, class, set" in error_line(f"{spec}?label=x")
    assert "no split 'x': there are a, b, test" in error_line(f"{spec}?label=class&train=x")


def rows_of(names: Sequence[str], **changes: tuple[str, str]) -> list[tuple[str, str]]:
    """Rows by `row_N`: (picture, label)."""
    rows = list(zip(names, LABELS, strict=True))
    for key, row in changes.items():
        number = int(key.removeprefix("row_"))
        rows[number : number + 1] = [row]
    return rows


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (("1.png", ""), "the label of {file}: line 3 is empty"),
        (("none.png", "dog"), "1 of 12 pictures are not in {folder}, the first is none.png of line 3 of {file}"),
        (("0.png", "dog"), "0.png has two labels, 'cat' in line 2 and 'dog' in line 3: keep one of the lines"),
        (("./0.png", "dog"), "./0.png has two labels"),
        (("", "dog"), "line 3 names no picture: remove the line"),
        (("https://h/1.png", "dog"), "line 3 holds an address, https://h/1.png: download the pictures first"),
        (("1.png", "pig"), "class pig has 1 train picture(s): at least 3 are needed"),
        (("1.png", "dog,more"), "line 3 has 3 cells, the first line 2: quote cells that hold the delimiter"),
        (("1.png", '"dog'), "is no table (unexpected end of data)"),
    ],
)
def test_rows_that_are_refused(tmp_path: Path, row: tuple[str, str], words: str) -> None:
    spec = table(tmp_path / "t.csv", "path,label", rows_of(pictures(tmp_path), row_1=row))
    assert words.format(file=tmp_path / "t.csv", folder=tmp_path) in error_line(spec)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["0.5", "1"], "label 0.5 is a fraction: labels must be whole numbers or names"),
        (["0.0", "1.0"], "label 0.0 is a fraction"),
        (["1", "01"], "labels 01 and 1 are one number: write it in one way"),
        (["-1", "1"], "is -1, which marks a picture without a label"),
        (["a", "a"], "all train pictures are of class a: at least 2 are needed"),
    ],
)
def test_labels_that_are_refused(tmp_path: Path, labels: list[str], words: str) -> None:
    rows = [*zip(pictures(tmp_path), labels * 6, strict=True)]
    assert words in error_line(table(tmp_path / "t.csv", "path,label", rows))


def test_a_column_of_ids_is_no_label(tmp_path: Path) -> None:
    rows = [(name, f"x{n}") for n, name in enumerate(pictures(tmp_path))]
    line = error_line(table(tmp_path / "t.csv", "path,label", rows))
    assert "at least 3 are needed; likewise 11 of 12 classes of 12 pictures: is that the label?" in line


def test_splits_that_are_refused(tmp_path: Path) -> None:
    names = pictures(tmp_path)
    spec = table(
        tmp_path / "t.csv", "path,label,split", [(*row, "train") for row in rows_of(names)] + [("0.png", "cat", "test")]
    )
    assert "0.png has two splits, 'train' in line 2 and 'test' in line 14" in error_line(spec)
    table(
        tmp_path / "t.csv",
        "path,label,split",
        [(*row, "train" if n < 9 else "val") for n, row in enumerate(rows_of(names))],
    )
    assert "no row is of the test split: add some, or take another for it, by ?test=val" in error_line(spec)
    assert load_dataset(f"{spec}?test=val", image_size=8).test_count == 3
    table(tmp_path / "t.csv", "path,label,split", [(*row, "test") for row in rows_of(names)])
    assert "no row is of the train split: the splits are test" in error_line(spec)


def test_a_picture_listed_twice_is_taken_once(tmp_path: Path) -> None:
    names = pictures(tmp_path)
    dataset = load_dataset(table(tmp_path / "t.csv", "path,label", [*rows_of(names), (names[0], "cat")]), image_size=8)
    assert len(dataset.labels) + dataset.test_count == 12
    assert "listed more than once, taken once: 1 row" in dataset.notes


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "is empty: it needs a line of column names"),
        (b"path,label\n", "has column names and no rows"),
        (
            b"0.png,cat\n1.png,dog\n",
            "has no column of pictures: name it by ?image=COLUMN; the first line is 0.png, cat",
        ),
        (
            b"path,MEL,NV\n0.png,0,1\n",
            "name it by ?label=COLUMN, or several per picture by ?labels=COLUMN,COLUMN; the columns are path, MEL, NV",
        ),
        (b"path,file,label\n0.png,0.png,1\n", "columns path, file may be the image: choose by ?image=path"),
        (b"path,label\n\xff\xe9,1\n", "is no UTF-8 text (byte 11): save it as CSV in UTF-8"),
    ],
)
def test_files_that_are_no_table(tmp_path: Path, text: bytes, words: str) -> None:
    (tmp_path / "t.csv").write_bytes(text)
    assert words in error_line(f"csv:{tmp_path / 't.csv'}")


def test_places_that_are_no_table(tmp_path: Path) -> None:
    assert f"{tmp_path} is no file: give one table" in error_line(f"csv:{tmp_path}")
    assert "there is no" in error_line(f"csv:{tmp_path / 'x.csv'}")
    assert "download it" in error_line("csv:s3://bucket/x.csv")
    spec = table(tmp_path / "t.csv", "path,label", [("a.png", 1)])
    assert "there is no such picture in" in error_line(spec)
    assert f"there is no folder {tmp_path / 'no'}: check ?root=" in error_line(f"{spec}?root={tmp_path / 'no'}")


@given(data=st.data())
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_cut_or_changed_table_is_refused_or_read(tmp_path: Path, data: st.DataObject) -> None:
    names = pictures(tmp_path)
    table(tmp_path / "t.csv", "path,label", rows_of(names))
    whole = (tmp_path / "t.csv").read_bytes()
    place = data.draw(st.integers(0, len(whole)))
    middle = data.draw(st.binary(max_size=3))
    (tmp_path / "t.csv").write_bytes(whole[:place] + middle + whole[place + data.draw(st.integers(0, 99)) :])
    dataset = refused_or_read(f"csv:{tmp_path / 't.csv'}")
    assert dataset is None or len(dataset.labels) + dataset.test_count <= 12
