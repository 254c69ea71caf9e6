"""Answers as a table: columns, rows, and files that are whole or not there."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch.data.picture import Broken
from archsearch.data.readers.folder import Files
from archsearch.data.unlabelled import PictureFiles
from archsearch.errors import InputError
from archsearch.inference.predict import Answers, Labels
from archsearch.inference.table import Columns, write_table

LABELS = Labels(("cat", "dog", "a,b"))
LOGITS = torch.tensor([[0.0, 2, 1], [5, 5, 1], [torch.nan] * 3])
ANSWERS = Answers(1, LOGITS, {3: Broken("cut off", "x/3.png")})
IMAGES = PictureFiles(Files([f"x/{n}.png" for n in range(4)], np.zeros(4, np.int64)))


def rows(columns: Columns, answers: Answers = ANSWERS) -> list[list[str]]:
    return [columns.header, *columns.rows(answers, IMAGES)]


def test_label_probability_and_what_is_broken() -> None:
    assert rows(Columns(LABELS)) == [
        ["id", "label", "probability", "error"],
        ["x/1.png", "dog", "0.665241", ""],
        ["x/2.png", "cat", "0.495463", ""],
        ["x/3.png", "", "", "cut off"],
    ]


def test_the_likeliest_classes_by_number_with_logits() -> None:
    found = rows(Columns(LABELS, top=3, numbers=True, logits=True))
    assert found[0] == [
        "id", "label", "probability", "label_2", "probability_2", "label_3", "probability_3",
        "logit_cat", "logit_dog", "logit_a,b", "error",
    ]  # fmt: skip
    assert found[1] == ["x/1.png", "1", "0.665241", "2", "0.244728", "0", "0.0900306", "0", "2", "1", ""]
    assert found[2][1:4:2] == ["0", "1"]  # of equal ones the first
    assert found[3] == ["x/3.png", *[""] * 9, "cut off"]


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (("ID", "Labels"), [["ID", "Labels"], ["x/1.png", "dog"], ["x/2.png", "cat"], ["x/3.png", ""]]),
        (("ID",), [["ID"], ["x/1.png"], ["x/2.png"], ["x/3.png"]]),
        (("ID", "is", "p"), [["ID", "is", "p"], ["x/1.png", "dog", "0.665241"], ["x/2.png", "cat", "0.495463"],
                             ["x/3.png", "", ""]]),
    ],
)  # fmt: skip
def test_columns_by_name(names: tuple[str, ...], wanted: list[list[str]]) -> None:
    assert rows(Columns(LABELS, names=names)) == wanted


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("a", "b", "c", "d"), "--columns a,b,c,d: names 4 columns of 3, id, label, probability"),
        (("a", "a"), "'a' is empty or there twice"),
        (("a", ""), "'' is empty or there twice"),
    ],
)
def test_columns_that_cannot_be(names: tuple[str, ...], words: str) -> None:
    with pytest.raises(InputError, match=words):
        _ = Columns(LABELS, names=names).header


def test_several_labels_are_a_column_each() -> None:
    several = Labels(("cat", "dog", "a,b"), several=True, thresholds=(0.5, 0.9, 0.5))
    assert rows(Columns(several)) == [
        ["id", "cat", "dog", "a,b", "probability_cat", "probability_dog", "probability_a,b", "error"],
        ["x/1.png", "0", "0", "1", "0.5", "0.880797", "0.731059", ""],
        ["x/2.png", "1", "1", "1", "0.993307", "0.993307", "0.731059", ""],
        ["x/3.png", *[""] * 6, "cut off"],
    ]


@given(st.lists(st.lists(st.integers(-3, 3), min_size=3, max_size=3), min_size=1, max_size=20), st.integers(1, 3))
@settings(max_examples=50)
def test_the_first_label_is_argmax_and_shares_fall(values: list[list[int]], top: int) -> None:
    logits = torch.tensor(values, dtype=torch.float32)
    images = PictureFiles(Files([str(n) for n in range(len(values))], np.zeros(len(values), np.int64)))
    for row, wanted in zip(
        Columns(LABELS, top, numbers=True).rows(Answers(0, logits), images), logits.argmax(1).tolist(), strict=True
    ):
        assert int(row[1]) == wanted
        shares = [float(cell) for cell in row[2:-1:2]]
        assert shares == sorted(shares, reverse=True)
        assert len({*row[1:-1:2]}) == top


def test_cells_are_quoted_and_names_keep_their_bytes(tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9,\n.png")
    path = write_table(tmp_path / "deep" / "t.csv", ["id", "label"], [[odd, "a,b"], ["größer", '"']])
    assert path.read_bytes() == b'id,label\n"caf\xe9,\n.png","a,b"\ngr\xc3\xb6\xc3\x9fer,""""\n'
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        assert [*csv.reader(file)][1] == [odd, "a,b"]


def test_a_table_is_whole_or_as_it_was(tmp_path: Path) -> None:
    def fail() -> Iterator[list[str]]:
        yield ["1"]
        raise InputError("no more")

    path = tmp_path / "t.csv"
    path.write_text("before")
    with pytest.raises(InputError, match="no more"):
        write_table(path, ["id"], fail())
    assert path.read_text() == "before"
    assert [*tmp_path.iterdir()] == [path]
