"""Figures of several labels per image are scikit-learn's."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import average_precision_score, precision_recall_fscore_support, roc_auc_score

from archsearch.errors import InputError
from archsearch.inference.evaluate import accuracy, correct
from archsearch.inference.several import score_several

NAMES = ("a", "b", "c", "d")


def some(count: int = 80) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(count, 4, generator=generator)
    labels = torch.randn(count, 4, generator=generator) + logits > torch.tensor([0.0, 1.0, 1.5, 99.0])
    return logits, labels


def test_figures_are_scikit_learns() -> None:
    logits, labels = some()
    thresholds = (0.5, 0.3, 0.7, 0.5)
    found = score_several(logits, labels, NAMES, thresholds)
    shares, flags = logits.double().sigmoid().numpy(), labels.numpy()
    told = shares > list(thresholds)
    wanted = precision_recall_fscore_support(flags, told, average=None, zero_division=0.0)
    for n, name in enumerate(NAMES[:3]):
        one = found.labels[name]
        assert (one.precision, one.recall, one.f1, one.support) == pytest.approx([row[n] for row in wanted])
        assert one.auroc == pytest.approx(roc_auc_score(flags[:, n], shares[:, n]), abs=1e-12)
        assert one.average_precision == pytest.approx(average_precision_score(flags[:, n], shares[:, n]), abs=1e-12)
    assert found.accuracy == pytest.approx(((shares > 0.5) == flags).mean())
    assert found.accuracy == accuracy(logits, labels)
    assert found.f1 == pytest.approx(wanted[2][:3].mean())


def test_what_is_not_defined_is_none() -> None:
    logits, labels = some()
    found = score_several(logits, labels, NAMES, (0.5,) * 4)
    last = found.labels["d"]
    assert (last.support, last.recall, last.auroc, last.average_precision) == (0, None, None, None)
    assert found.metrics["macro-auroc"] is None
    assert "cohen-kappa" not in found.metrics
    plain = found.to_json()
    assert plain["auroc"]["d"] is None
    assert plain["per_class"].keys() == set(NAMES)
    assert plain["n"] == 80


def test_answers_are_right_one_by_one() -> None:
    logits = torch.tensor([[1.0, -1.0], [1.0, 1.0]])
    labels = torch.tensor([[True, True], [False, True]])
    assert correct(logits, labels).tolist() == [[True, False], [False, True]]
    assert accuracy(logits, labels) == 0.5


def test_no_images_and_no_numbers_are_refused() -> None:
    logits, labels = some()
    with pytest.raises(InputError, match="no images to evaluate on"):
        score_several(logits[:0], labels[:0], NAMES, (0.5,) * 4)
    logits[3, 2] = float("nan")
    with pytest.raises(InputError, match="outputs are not finite for 1 of 80 images"):
        score_several(logits, labels, NAMES, (0.5,) * 4)
