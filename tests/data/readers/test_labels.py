"""Labels as they are written become classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archsearch.data.readers.labels import Labelled, classes_of, split_off, written
from archsearch.errors import DataError

FEW = st.lists(st.sampled_from(["0", "1", "2", "10"]), min_size=4, max_size=30)


def labelled(names: Sequence[str] | None = None, **parts: Sequence[str]) -> Labelled:
    return classes_of({part: written(labels) for part, labels in parts.items()}, "x", lambda p, n: f"{p} {n}", names)


@given(FEW)
def test_every_picture_keeps_its_label(labels: list[str]) -> None:
    labels = [*labels, *["0", "1"] * 3, *labels, *labels]
    found = labelled(train=labels)
    assert [found.classes[number] for number in found.parts["train"]] == labels
    assert [*map(int, found.classes)] == sorted(map(int, set(labels)))


@given(FEW, st.randoms())
def test_a_fifth_of_each_class_whatever_the_order(labels: list[str], random: object) -> None:
    numbers = np.array([int(label) for label in labels * 3])
    parts = split_off(numbers)
    assert sorted([*parts["train"], *parts["test"]]) == list(range(len(numbers)))
    for number in set(numbers.tolist()):
        share = (numbers[parts["test"]] == number).sum() - 0.2 * (numbers == number).sum()
        assert abs(share) < 1
    order = np.random.default_rng(len(labels)).permutation(len(numbers))
    again = split_off(numbers[order], np.argsort(order))
    assert sorted(order[again["test"]]) == parts["test"].tolist()


def test_names_of_numbers() -> None:
    found = labelled(["ant", "bee", "cat"], train=["2", "0"] * 3, test=["0"])
    assert found.classes == ("ant", "cat")
    assert found.parts["test"].tolist() == [0]
    assert found.notes == (
        "left out, no picture has the label: 1 of 3 names: bee", "test has no picture of class cat",
    )  # fmt: skip
    assert labelled(["ant", "bee"], train=["b", "a"] * 3).classes == ("a", "b")
    with pytest.raises(DataError, match="two classes are named 'ant': names must differ"):
        labelled(["ant", "ant"], train=["1", "0"] * 3)


def test_what_is_said() -> None:
    assert labelled(train=["1", "5", "9"] * 3).notes == (
        "labels are not counted without a gap: no picture has 2 to 4, 6 to 8",
    )
    assert labelled(train=["1", "2"] * 3).notes == ()
    assert labelled(train=["Cat", "cat"] * 3).notes == ("two classes differ by capitals alone: Cat, cat",)


@pytest.mark.parametrize(
    ("train", "test", "words"),
    [
        ([], [], "holds no picture of the train split"),
        (["a", "b"] * 2, ["c"], "no train picture is of class c, which test has"),
        (["a", "b"] * 2 + ["c"], ["a"], "class c has 1 train picture"),
        (["a", " "] * 2, ["a"], "the label of train 1 is empty"),
        (["0", "-1"] * 2, ["0"], "the label of train 1 is -1, which marks"),
        (["1e5", "2"] * 2, ["2"], "label 1e5 is a fraction"),
        (["+1", "1"] * 2, ["1"], r"labels \+1 and 1 are one number"),
    ],
)
def test_what_is_refused(train: list[str], test: list[str], words: str) -> None:
    with pytest.raises(DataError, match=words):
        labelled(train=train, test=test)
