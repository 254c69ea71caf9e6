"""The most certain wrong answers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch.inference.mistakes import Mistake, confident_mistakes

NAMES = ["cat", "dog", "owl"]


def test_a_small_case() -> None:
    logits = torch.tensor([[0.0, 2.0, 0.0], [5.0, 0.0, 0.0], [0.0, 0.0, 4.0]])
    found = confident_mistakes(logits, torch.tensor([0, 0, 1]), NAMES)
    assert [(one.image, one.label, one.answer) for one in found] == [(2, "dog", "owl"), (0, "cat", "dog")]
    assert found[0].probability == pytest.approx(float(logits[2].softmax(0)[2]))
    cooler = confident_mistakes(logits, torch.tensor([0, 0, 1]), NAMES, most=1, temperature=2)
    assert cooler == [Mistake(2, "dog", "owl", pytest.approx(float((logits[2] / 2).softmax(0)[2])))]
    assert confident_mistakes(logits, logits.argmax(1), NAMES) == []


def test_of_several_labels_each_wrong_yes_and_no_is_one() -> None:
    logits = torch.tensor([[3.0, -1.0, -5.0], [-4.0, 2.0, 1.0]])
    labels = torch.tensor([[False, False, True], [False, True, True]])
    found = confident_mistakes(logits, labels, NAMES)
    assert [(one.image, one.label, one.answer) for one in found] == [(0, "owl", "not owl"), (0, "not cat", "cat")]
    assert found[0].probability == pytest.approx(float(torch.tensor(5.0).sigmoid()))


@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(1, 40), st.integers(1, 10))
@settings(max_examples=40)
def test_they_are_wrong_and_sorted(seed: int, classes: int, n: int, most: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits, labels = torch.randn(n, classes, generator=generator), torch.randint(classes, (n,), generator=generator)
    names = [str(i) for i in range(classes)]
    found = confident_mistakes(logits, labels, names, most)
    wrong = int((logits.argmax(1) != labels).sum())
    assert len(found) == min(most, wrong)
    shares = [one.probability for one in found]
    assert shares == sorted(shares, reverse=True)
    for one in found:
        assert (one.label, one.answer) == (str(int(labels[one.image])), str(int(logits[one.image].argmax())))
        assert one.label != one.answer
