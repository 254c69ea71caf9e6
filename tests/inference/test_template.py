"""Sample submissions of contests: their ids, their order, and how labels are written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archsearch.data.picture import Broken
from archsearch.data.readers.folder import Files
from archsearch.data.unlabelled import PictureFiles, PixelArrays, Unlabelled
from archsearch.errors import InputError
from archsearch.inference.predict import Answers, Labels
from archsearch.inference.template import filled, filling_of, match, read_template

LABELS = Labels(("cat", "dog", "cow"))


def files(*paths: str) -> PictureFiles:
    return PictureFiles(Files(paths, np.zeros(len(paths), np.int64)))


def numbered(count: int) -> PixelArrays:
    return PixelArrays("made", (count, 1, 1, 1), lambda: iter(()))


def answers(labels: Sequence[int | None], first: int = 0) -> Answers:
    """Logits with these labels; None is broken."""
    logits = torch.tensor([[torch.nan] * 3 if one is None else [4.0 * (n == one) for n in range(3)] for one in labels])
    return Answers(first, logits, {first + n: Broken("cut off") for n, one in enumerate(labels) if one is None})


def submission(path: Path, images: Unlabelled, *said: Answers, labels: Labels = LABELS, **options: object) -> str:
    template = read_template(path, str(options.get("id_column", "")))
    filling = filling_of(template, labels, bool(options.get("numbers")))
    rows = filled(template, match(template, images), filling, iter(said))
    return "\n".join(",".join(row) for row in [template.header, *rows])


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    return tmp_path / "sample.csv"


@pytest.mark.parametrize(
    ("ids", "images"),
    [
        (["t/b.png", "t/a.png"], files("t/a.png", "t/b.png", "t/c.png")),
        (["b.png", "a.png"], files("t/a.png", "u/b.png", "c.png")),
        (["b", "a"], files("t/a.png", "u/b.jpg", "c.png")),
        (["1", "0"], numbered(2)),
        (["2", "1"], numbered(2)),
    ],
)
def test_images_by_id_name_stem_and_number(sample: Path, ids: list[str], images: Unlabelled) -> None:
    sample.write_text("Id,Label\n" + "".join(f"{one},cat\n" for one in ids))
    rest = [answers([2], 2)] if len(images) > 2 else []
    found = submission(sample, images, answers([0], 0), answers([1], 1), *rest)
    assert found == f"Id,Label\n{ids[0]},dog\n{ids[1]},cat"


@pytest.mark.parametrize(
    ("ids", "images", "words"),
    [
        (
            ["a", "x", "y"],
            files("a.png", "b.png"),
            "2 of 3 ids have no image: x, y; there are 2 images, the first is a",
        ),
        (["a"], files("t/a.png", "u/a.png"), "several images are called a: each id must be one's"),
        (["0", "1"], numbered(3), "2 of 2 ids have no image: 0, 1"),
        (["1", "2", "5"], numbered(3), "1 of 3 ids have no image: 5"),
        (["a", "b", "a"], files("a.png", "b.png"), "asks twice for a: each id must be there once"),
    ],
)
def test_ids_that_do_not_match(sample: Path, ids: list[str], images: Unlabelled, words: str) -> None:
    sample.write_text("Id,Label\n" + "".join(f"{one},cat\n" for one in ids))
    with pytest.raises(InputError, match=words):
        submission(sample, images, answers([0] * len(images)))


@given(
    order=st.permutations(range(9)), labels=st.lists(st.integers(0, 2), min_size=9, max_size=9), cut=st.integers(0, 9)
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_id_gets_its_own_images_label(sample: Path, order: list[int], labels: list[int], cut: int) -> None:
    sample.write_text("Id,Label\n" + "".join(f"n{one},0\n" for one in order))
    images = files(*(f"some/n{n}.png" for n in range(9)))
    said = [answers(labels[:cut]), answers(labels[cut:], cut)] if 0 < cut < 9 else [answers(labels)]
    assert submission(sample, images, *said).split("\n")[1:] == [f"n{one},{labels[one]}" for one in order]


@pytest.mark.parametrize(
    ("examples", "options", "wanted"),
    [
        (["cat", "cow"], {}, ["dog", "cow"]),
        (["0", "0"], {}, ["1", "2"]),
        (["", ""], {}, ["dog", "cow"]),
        (["", ""], {"numbers": True}, ["1", "2"]),
        (["cat", ""], {"numbers": True}, ["1", "2"]),
        (["1", "2"], {"labels": Labels(("1", "2", "3"))}, ["2", "3"]),  # names, though they are numbers
        (["0", "2"], {"labels": Labels(("1", "2", "3"))}, ["1", "2"]),
    ],
)
def test_labels_are_written_as_in_the_examples(
    sample: Path, examples: list[str], options: dict[str, object], wanted: list[str]
) -> None:
    sample.write_text("Id,Label\n" + "".join(f"{n},{one}\n" for n, one in enumerate(examples)))
    found = submission(sample, numbered(2), answers([1, 2]), **options)
    assert found.split("\n")[1:] == [f"{n},{one}" for n, one in enumerate(wanted)]


def test_a_column_per_class_has_probabilities(sample: Path) -> None:
    sample.write_text("cow,Id,cat,dog\n0.3,a,0.3,0.3\n")
    found = submission(sample, files("a.png"), answers([1]), id_column="Id")
    assert found == "cow,Id,cat,dog\n0.0176684,a,0.0176684,0.964663"
    several = Labels(LABELS.names, several=True, thresholds=(0.5,) * 3)
    assert submission(sample, files("a.png"), answers([1]), id_column="Id", labels=several).endswith(
        "0.5,a,0.5,0.982014"
    )
    sample.write_text("Id,cat,dog,cow\na,0,0,1\n")
    assert submission(sample, files("a.png"), answers([1]), labels=several).endswith("\na,0,1,0")


def test_a_picture_that_is_asked_for_and_cannot_be_read(sample: Path) -> None:
    sample.write_text("Id,Label\na,cat\nc,cat\n")
    images = files("a.png", "b.png", "c.png")
    assert submission(sample, images, answers([0, None, 1])).endswith("\na,cat\nc,dog")
    with pytest.raises(InputError, match=r"pictures of 2 ids cannot be read: a, c \(the first: cut off\)"):
        submission(sample, images, answers([None]), answers([1, None], 1))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("Id,Label\n", "needs a column of ids, one of labels, and a row per id"),
        ("Id\na\n", "needs a column of ids"),
        ("Id,Label\na,cat\nb\n", "the row of 'b' has 1 cells, the first 2"),
        ("Id,Label\na,lion\n", "the label 'lion' is neither a class nor the number of one; classes are cat, dog, cow"),
        ("Id,Label\na,3\n", "the label '3' is neither"),
        ("Id,Label\na,0.5\n", "the label '0.5' is neither"),
        (
            "Id,cat,dog\na,0,0\n",
            "has the columns cat, dog beside the ids: it needs one of labels, or a column per class",
        ),
        ('Id,Label\n"a,cat\n', "cannot be read: no CSV"),
        ("Id,Label\n\xff,cat\n", "cannot be read: no CSV"),
        (None, "cannot be read: No such file"),
    ],
)
def test_templates_that_are_none(sample: Path, text: str | None, words: str) -> None:
    if text is not None:
        sample.write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=words) as caught:
        submission(sample, files("a.png"), answers([0]))
    assert str(caught.value).startswith(f"--template {sample}: ")
    assert "\n" not in str(caught.value)


def test_options_of_templates_that_cannot_be(sample: Path) -> None:
    sample.write_text("Id,Label\na,cat\n")
    with pytest.raises(InputError, match="has no column 'ID': it has Id, Label"):
        submission(sample, files("a.png"), answers([0]), id_column="ID")
    several = Labels(LABELS.names, several=True, thresholds=(0.5,) * 3)
    with pytest.raises(InputError, match="it needs a column per class: cat, dog, cow"):
        submission(sample, files("a.png"), answers([0]), labels=several)


def test_names_for_a_network_that_knows_numbers_alone(sample: Path) -> None:
    sample.write_text("Id,Label\na,lion\n")
    with pytest.raises(InputError, match="train it on data that name them, or empty that column of the template"):
        submission(sample, files("a.png"), answers([0]), labels=Labels(("0", "1", "2")))
