"""Weights per class from a table."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import few

from archsearch.errors import DataError
from archsearch.network.recipe import Recipe, weights_listed
from archsearch.training.weight_table import read_class_weights

CLASSES = ("cat", "dog, brown", "owl")


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "weights.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_every_class_once_in_any_order(tmp_path: Path) -> None:
    path = written(tmp_path, b'\xef\xbb\xbfClass, Weight\r\nowl,0\r\n\r\n"dog, brown", 2.5\r\ncat,1e-1\r\n')
    assert read_class_weights(path, CLASSES) == "0.1,2.5,0"


@few(30)
@given(st.lists(st.floats(1e-3, 1e6), min_size=2, max_size=9))
def test_what_is_read_is_a_recipes_value(tmp_path_factory: pytest.TempPathFactory, weights: list[float]) -> None:
    classes = [str(number) for number in range(len(weights))]
    lines = [f"{name},{weight!r}" for name, weight in zip(classes, weights, strict=True)]
    text = read_class_weights(written(tmp_path_factory.mktemp("w"), "\n".join(["class,weight", *lines])), classes)
    assert weights_listed(Recipe(class_weights=text).class_weights) == pytest.approx(weights, rel=1e-5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "its first line must be class,weight"),
        ("cat,1\n", "its first line must be class,weight"),
        ("class,weight\ncat,1\nowl,2\n", "no weight for class 'dog, brown': add a line for each"),
        ("class,weight\ncat,1\ncatt,2\n", "line 3: no class 'catt' (did you mean 'cat'?)"),
        ("class,weight\ncat,1\ncat,1\n", "line 3: class 'cat' a second time: keep one line per class"),
        ("class,weight\ncat,-1\n", "line 2: weight '-1': must be a number from 0 on"),
        ("class,weight\ncat,nan\n", "line 2: weight 'nan': must be a number from 0 on"),
        ("class,weight\ncat,inf\n", "line 2: weight 'inf': must be a number from 0 on"),
        ("class,weight\ncat,\n", "line 2: weight '': must be a number from 0 on"),
        ("class,weight\ndog, brown,1\n", "line 2: has 3 columns: write class,weight, with quotes around a comma"),
        ('class,weight\ncat,0\n"dog, brown",0\nowl,0\n', "all weights are 0"),
        ('class,weight\n"cat,1\n', "line 2: unexpected end of data"),
        (b"class,weight\ncat,\xff\n", "not UTF-8 text"),
    ],
)
def test_bad_tables_are_one_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(DataError) as caught:
        read_class_weights(path, CLASSES)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_class_weights(tmp_path, CLASSES)
