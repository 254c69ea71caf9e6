"""Accuracy, accuracy a class and confusion matrix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import small_npz
from exports import ARCH, CLASSES
from matplotlib.figure import Figure
from PIL import Image

from archsearch.data import Dataset, load_dataset
from archsearch.errors import InputError
from archsearch.inference.evaluate import Scores, accuracy, check_fit, correct, draw_confusion, evaluate, part_of, tally
from archsearch.network.arch import Arch

LABELS = torch.tensor([0, 0, 0, 1, 1, 2])
FOUND = torch.tensor([0, 0, 1, 1, 1, 0])
EXPECTED = [[2, 1, 0], [0, 2, 0], [1, 0, 0]]
NAMES = ("a", "b", "c")


def logits(found: torch.Tensor, classes: int = 3) -> torch.Tensor:
    return torch.nn.functional.one_hot(found, classes).float()


def test_the_figures_of_a_small_case() -> None:
    result = tally(logits(FOUND), LABELS, NAMES)
    assert result.confusion.tolist() == EXPECTED
    assert (result.n, result.accuracy) == (6, 4 / 6)
    assert result.per_class == {"a": 2 / 3, "b": 1.0, "c": 0.0}
    assert result.mistakes(10) == [("a", "b", 1), ("c", "a", 1)]
    assert result.mistakes(1) == [("a", "b", 1)]


def test_several_labels_are_right_one_by_one() -> None:
    logits = torch.tensor([[1.0, -1.0], [1.0, 1.0]])
    labels = torch.tensor([[True, True], [False, True]])
    assert correct(logits, labels).tolist() == [[True, False], [False, True]]
    assert accuracy(logits, labels) == 0.5


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_logits_that_are_no_numbers_have_no_accuracy(value: float) -> None:
    broken = logits(torch.tensor([0, 1, 2]))
    broken[1, 2] = value
    for score in (
        lambda: tally(broken, torch.tensor([0, 1, 2]), ("a", "b", "c")),
        lambda: accuracy(broken, torch.tensor([0, 1, 2])),
        lambda: evaluate(lambda images: broken, (torch.zeros(3), torch.tensor([0, 1, 2])), ("a", "b", "c")),
    ):
        with pytest.raises(InputError, match="outputs are not finite for 1 of 3 images"):
            score()


def test_a_class_without_images_has_no_accuracy() -> None:
    result = tally(logits(torch.tensor([0, 3]), 4), torch.tensor([0, 0]), (*NAMES, "d"))
    assert result.per_class == {"a": 0.5, "b": None, "c": None, "d": None}


def test_a_split_without_images_is_refused() -> None:
    with pytest.raises(InputError, match="no images"):
        evaluate(logits, (torch.zeros(0, 1, 2, 2, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64)), NAMES)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return load_dataset(f"npz:{small_npz(tmp_path / 'small.npz')}")


def test_a_split_is_the_one_that_a_run_made(dataset: Dataset) -> None:
    parts = {name: part_of(dataset, name, 3) for name in ("test", "train", "validation")}
    assert [len(labels) for _, labels in parts.values()] == [10, 48, 12]
    joined = torch.cat([parts["train"][0][:], parts["validation"][0][:]]).flatten(1)
    assert sorted(joined.tolist()) == sorted(dataset.images[:].flatten(1).tolist())
    assert not torch.equal(part_of(dataset, "validation", 4)[0][:], parts["validation"][0][:])


def test_a_validation_split_of_the_datasets_own_comes_first(tmp_path: Path) -> None:
    own = np.zeros((2, 8, 8), np.uint8)
    path = small_npz(tmp_path / "own.npz", val_images=own, val_labels=np.array([0, 1]))
    dataset = load_dataset(f"npz:{path}")
    assert part_of(dataset, "validation", 0)[0][:].sum() == 0
    assert len(part_of(dataset, "train", 0)[1]) == 60


@dataclass
class Described:
    arch: Arch
    info: dict[str, Any]


@pytest.mark.parametrize(
    ("shape", "classes", "names", "words"),
    [
        ((3, 8, 8), 2, None, "w takes images of 3x8x8, .* has 1x8x8: see --image-size"),
        ((1, 9, 9), 2, None, "w takes images of 1x9x9, .* has 1x8x8"),
        ((1, 8, 8), 3, None, "w tells 3 classes apart, .* has 2"),
        ((1, 8, 8), 2, ["0", "x"], "trained on other classes: 'x' where .* has '1'"),
        ((1, 8, 8), 2, ["0"], "trained on other classes: 1 where .* has 2"),
    ],
)
def test_a_network_for_other_data(
    dataset: Dataset, shape: tuple[int, ...], classes: int, names: list[str] | None, words: str
) -> None:
    network = Described(ARCH.adapted(shape, classes), {"classes": names} if names else {})
    with pytest.raises(InputError, match=words):
        check_fit(network, dataset, "w")


def test_a_network_for_these_data(dataset: Dataset) -> None:
    for info in ({}, {"classes": ["0", "1"]}, {"classes": 7}):
        check_fit(Described(ARCH.adapted((1, 8, 8), 2), info), dataset, "w")


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were saved."""
    seen: list[Figure] = []
    save: Callable[..., None] = Figure.savefig

    def keep(self: Figure, *args: Any, **kwargs: Any) -> None:
        seen.append(self)
        save(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", keep)
    return seen


def test_the_picture_shows_shares_and_numbers(tmp_path: Path, figures: list[Figure]) -> None:
    path = draw_confusion(tmp_path / "c.png", Scores(NAMES, torch.tensor(EXPECTED)), "w on small")
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 300
    (axes,) = figures[0].axes
    assert axes.get_title() == "w on small: 66.67% of 6"
    assert [label.get_text() for label in axes.get_yticklabels()] == list(NAMES)
    assert np.allclose(axes.images[0].get_array(), [[2 / 3, 1 / 3, 0], [0, 1, 0], [1, 0, 0]])
    assert sorted((*text.get_position(), text.get_text()) for text in axes.texts) == [
        (0, 0, "2"), (0, 2, "1"), (1, 0, "1"), (1, 1, "2"),
    ]  # fmt: skip


def test_a_picture_of_many_classes_has_no_numbers(tmp_path: Path, figures: list[Figure]) -> None:
    names = tuple(map(str, range(100)))
    draw_confusion(tmp_path / "c.png", Scores(names, torch.eye(100).long()), "many")
    assert list(figures[0].axes[0].texts) == []


def test_a_name_with_signs_that_matplotlib_reads_as_formulas(tmp_path: Path) -> None:
    names = ("$\\bad{$", *CLASSES[1:3])
    assert draw_confusion(tmp_path / "c.png", Scores(names, torch.tensor(EXPECTED)), "a $_$ b").exists()
