"""Scores in words: what is a percentage, what a plain number, and what a name may be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archsearch._utils.scores import NAMES, WORDS, Score, score_named
from archsearch.errors import InputError

PERCENT = ["accuracy", "balanced-accuracy", "recall:a b"]
PLAIN = ["macro-f1", "macro-auroc", "average-precision", "cohen-kappa", "quadratic-kappa"]


def test_every_name_is_one_of_both() -> None:
    assert {*PERCENT[:-1], *PLAIN} == set(WORDS)
    assert NAMES[-1] == "recall:CLASS"


@pytest.mark.parametrize("name", PERCENT)
@given(value=st.floats(0, 1))
def test_shares_of_images_are_percent(name: str, value: float) -> None:
    score = Score(name)
    assert score.shown(value) == f"{score.drawn(value):.2f}%"
    assert score.drawn(value) == 100 * value
    assert score.spread(value, value) == f"{100 * value:.2f}% ± {100 * value:.2f}"
    assert score.spread(value, None) == score.shown(value)


@pytest.mark.parametrize("name", PLAIN)
@given(value=st.floats(-1, 1))
def test_others_are_numbers(name: str, value: float) -> None:
    score = Score(name)
    assert "%" not in score.shown(value)
    assert float(score.shown(value)) == pytest.approx(value, abs=1e-4)
    assert score.drawn(value) == value
    assert score.spread(0.5, 0.25) == "0.5000 ± 0.2500"


def test_in_a_sentence() -> None:
    assert Score().named(0.972, "validation") == "97.20% validation accuracy"
    assert Score("macro-f1").named(0.8123, "validation") == "validation macro F1 0.8123"
    assert Score("recall:mole").named(0.5) == "recall of mole 50.00%"
    assert Score("cohen-kappa").title == "Cohen's kappa"
    assert (Score().best, Score("macro-f1").best) == ("most accurate network", "network with the highest macro F1")
    assert Score("of my own").words == "of my own"


def test_what_nothing_was_measured_of_is_drawn_at_the_bottom() -> None:
    assert Score("macro-f1").drawn(None) == 0


def test_names_for_columns_objectives_and_folders() -> None:
    assert (Score().column, Score("macro-f1").column) == ("val_accuracy", "val_score")
    assert (Score().objective, Score("balanced-accuracy").objective) == ("val_accuracy", "val_balanced_accuracy")
    assert Score("recall:a b/..").slug == "recall-a-b"


@pytest.mark.parametrize("name", ["f1", "", "recall:", "recall", "Accuracy"])
def test_an_unknown_name_is_one_line_with_all_others(name: str) -> None:
    with pytest.raises(InputError, match=r"must be one of accuracy, .*, recall:CLASS$") as caught:
        score_named(name)
    assert "\n" not in str(caught.value)
    assert score_named("recall:no one knows yet").name == "recall:no one knows yet"
