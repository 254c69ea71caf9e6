"""`csv:` with several labels per picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from data_samples import error_line
from formats import encoded

from archsearch.data import load_dataset
from archsearch.data.load import list_pictures

ROWS = [(1, 0, 0), (0, 1, 0), (1, 1, 0), (0, 0, 0), (0, 0, 1), (1, 0, 1)] * 4


def table(folder: Path, header: str, rows: Sequence[Sequence[object]]) -> str:
    """A table whose first column names pictures beside it."""
    for n in range(len(rows)):
        (folder / f"{n}.png").write_bytes(encoded(n))
    lines = [header, *(",".join([f"{n}.png", *map(str, row)]) for n, row in enumerate(rows))]
    (folder / "t.csv").write_text("\n".join(lines) + "\n")
    return f"csv:{folder / 't.csv'}"


def split_of(n: int) -> str:
    return "test" if n % 6 == 5 else "train"


def test_columns_of_zero_and_one(tmp_path: Path) -> None:
    rows = [(*row, n, split_of(n)) for n, row in enumerate(ROWS)]
    spec = table(tmp_path, "path,edema,mass,hernia,age,split", rows)
    dataset = load_dataset(f"{spec}?labels=mass,edema", image_size=8)
    assert dataset.classes == ("mass", "edema")
    train = [row for n, row in enumerate(ROWS) if split_of(n) == "train"]
    assert dataset.labels.tolist() == [[bool(mass), bool(edema)] for edema, mass, _ in train]
    assert dataset.test()[1].tolist() == [[False, True]] * 4
    every = load_dataset(f"{spec}?labels=*", image_size=8)
    assert every.classes == ("edema", "mass", "hernia")  # the age is none
    assert every.labels.numpy().astype(int).tolist() == [list(row) for row in train]
    assert load_dataset(f"{spec}?labels=*", image_size=8).fingerprint == every.fingerprint
    assert dataset.fingerprint != every.fingerprint


def test_words_for_yes_and_no_and_commas_in_names(tmp_path: Path) -> None:
    words = {0: "0.0", 1: "True"}
    rows = [(words[a], words[b]) for a, b, _ in ROWS]
    spec = table(tmp_path, 'path,"a, b",c', rows)
    dataset = load_dataset(f"{spec}?labels=a%2C b,c", image_size=8)
    assert dataset.classes == ("a, b", "c")
    parts = list_pictures(f"{spec}?labels=*").parts
    assert sum(len(part) for part in parts.values()) == 24
    assert dataset.labels.sum(0).tolist() == [int(parts["train"].labels[:, n].sum()) for n in range(2)]


def test_the_test_split_is_the_same_in_any_order_of_rows(tmp_path: Path) -> None:
    table(tmp_path, "path,edema,mass,hernia", ROWS)
    spec = f"csv:{tmp_path / 't.csv'}?labels=*"
    first = {*list_pictures(spec).parts["test"].paths}
    header, *lines = (tmp_path / "t.csv").read_text().splitlines()
    (tmp_path / "t.csv").write_text("\n".join([header, *reversed(lines)]))
    parts = list_pictures(spec).parts
    assert {*parts["test"].paths} == first
    assert len(first) == 5
    assert (parts["test"].labels.sum(0) > 0).all()


def test_one_column_of_several_names(tmp_path: Path) -> None:
    names = ["mass", "edema|mass", "No Finding", "", "hernia| edema", "hernia"] * 4
    spec = table(tmp_path, "path,findings", [(name,) for name in names])
    dataset = load_dataset(f"{spec}?labels=findings&separator=|&none=No Finding", image_size=8)
    assert dataset.classes == ("edema", "hernia", "mass")
    parts = list_pictures(f"{spec}?labels=findings&separator=|&none=No Finding").parts
    total = sum(part.labels.sum(0) for part in parts.values())
    assert total.tolist() == [8, 8, 8]
    assert "No Finding" in load_dataset(f"{spec}?labels=findings&separator=|", image_size=8).classes


def test_a_row_that_stands_twice_is_taken_once(tmp_path: Path) -> None:
    spec = table(tmp_path, "path,edema,mass,hernia", ROWS)
    with (tmp_path / "t.csv").open("a") as file:
        file.write("3.png,0,0,0\n")
    found = list_pictures(f"{spec}?labels=*")
    assert "listed more than once, taken once: 1 row" in found.notes
    with (tmp_path / "t.csv").open("a") as file:
        file.write("4.png,0,1,1\n")
    wanted = "4.png has two values of mass, '0' in line 6 and '1' in line 27: keep one of the lines"
    assert wanted in error_line(f"{spec}?labels=*")


def test_a_picture_that_cannot_be_read_is_left_out_with_its_labels(tmp_path: Path) -> None:
    spec = table(tmp_path, "path,edema,mass,hernia,split", [(*row, split_of(n)) for n, row in enumerate(ROWS)])
    whole = load_dataset(f"{spec}?labels=*", image_size=8)
    (tmp_path / "7.png").write_bytes(b"nothing")
    some = load_dataset(f"{spec}?labels=*", image_size=8, skip_broken=True)
    assert some.labels.tolist() == [row for n, row in enumerate(whole.labels.tolist()) if n != 6]
    train, validation = some.positions(0)
    assert sorted([*train.tolist(), *validation.tolist()]) == list(range(19))


def test_nothing_to_learn_is_said(tmp_path: Path) -> None:
    spec = table(tmp_path, "path,edema,mass,hernia,split", [(a, b, 0, split_of(n)) for n, (a, b, _) in enumerate(ROWS)])
    assert "nothing to learn: no train image has label hernia" in load_dataset(f"{spec}?labels=*", image_size=8).notes


def test_one_label_each_is_said(tmp_path: Path) -> None:
    spec = table(tmp_path, "path,a,b", [(n % 2, 1 - n % 2) for n in range(12)])
    assert any("every picture has exactly one label" in note for note in list_pictures(f"{spec}?labels=*").notes)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ("labels=edema,edema", "labels= names 'edema' twice: name it once"),
        ("labels=edema,none", "has no column 'none': the columns are path, edema, mass, age"),
        ("labels=edema,path", "column 'path' holds no labels, but pictures or splits"),
        ("labels=edema", "labels=edema is one column: name two at least"),
        ("labels=edema,age", "line 2: 'age' says '7': it must be 0 or 1"),
        ("labels=edema,gap", "line 3: 'gap' is empty: it must be 0 or 1"),
        ("labels=edema,mass&separator=|", "separator= goes with one column, labels= names 2"),
        ("labels=edema,mass&label=age", "label= is for one label per picture, labels= for several"),
        ("separator=|", "separator= goes with labels=COLUMN"),
        ("labels=edema,mass&none=x", "none= goes with separator="),
        ("labels=edema&separator=|&none=0", "there is one label, 1: at least 2 are needed"),
        ("labels=names&separator=|", "line 2 has a label twice: 'a|a'"),
    ],
)
def test_refused_in_one_line(tmp_path: Path, options: str, part: str) -> None:
    rows = [(a, b, 7 + n, "" if n == 1 else 1, "a|a") for n, (a, b, _) in enumerate(ROWS)]
    spec = table(tmp_path, "path,edema,mass,age,gap,names", rows)
    assert part in error_line(f"{spec}?{options}")


@pytest.mark.parametrize(
    ("header", "values", "part"),
    [
        ("path,a,a", (0, 1), "has 2 columns 'a'"),
        ("path,a,b", (0, 0), "no train image has a label"),
        ("path,a,b", (0, 1), "all train images have the same labels"),
        ("path,a,b", (0, "nan"), "'b' says 'nan': it must be 0 or 1"),
        ("path,a,b", (0, -1), "'b' says '-1': it must be 0 or 1"),
    ],
)
def test_tables_that_are_refused(tmp_path: Path, header: str, values: tuple[object, ...], part: str) -> None:
    assert part in error_line(f"{table(tmp_path, header, [values] * 12)}?labels=a,b")


def test_without_columns_of_zero_and_one(tmp_path: Path) -> None:
    spec = table(tmp_path, "path,a,b", [(0, 2)] * 12)
    assert "has 1 columns of 0 and 1 alone, labels=* takes two at least" in error_line(f"{spec}?labels=*")


def test_folders_have_one_label_per_picture(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    message = error_line(f"folder:{tmp_path / 'set'}?labels=a,b")
    assert "folders say one label per picture: for others give a table, csv:FILE?labels=COLUMNS&root=FOLDER" in message
