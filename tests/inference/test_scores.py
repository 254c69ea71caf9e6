"""A judged network: every figure, per class too, with intervals and calibration."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from commands import small_npz
from sklearn.metrics import precision_recall_fscore_support
from torch import Tensor

from archsearch.data import load_dataset
from archsearch.data.pixels import Pixels
from archsearch.errors import InputError
from archsearch.inference.evaluate import part_of, tally
from archsearch.inference.scores import Judgement, judge, logits_of, sample, unseen
from archsearch.metrics import every_metric
from archsearch.metrics.calibration import ece, fit_temperature

NAMES = ("cat", "dog", "owl", "rat")


def drawn(seed: int = 0, n: int = 150, classes: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    logits = torch.randn(n, classes, generator=generator) * 3
    logits[torch.arange(n), labels] += 4
    return logits, labels


@pytest.fixture(scope="module")
def judged() -> Judgement:
    return judge(*drawn(), NAMES, drawn(1, 90))


def test_the_figures_are_those_of_the_parts(judged: Judgement) -> None:
    logits, labels = drawn()
    before = tally(logits, labels, NAMES)
    assert judged.values == every_metric(logits, labels, NAMES)
    assert judged.confusion is not None
    assert torch.equal(judged.confusion, before.confusion)
    plain = judged.plain()
    assert (plain["accuracy"], plain["n"], plain["per_class"]) == (before.accuracy, 150, before.per_class)
    assert plain["recall"] == before.per_class
    assert plain["support"] == dict.fromkeys(NAMES, 37) | {"cat": 38, "dog": 38}
    assert (plain["ece"], plain["temperature"]) == (ece(logits, labels), fit_temperature(*drawn(1, 90)))
    assert plain["ece_at_temperature"] == ece(logits, labels, plain["temperature"])
    assert judged.temperature
    assert (judged.temperature.images, judged.temperature.same) == (90, False)


def test_every_figure_has_an_interval(judged: Judgement) -> None:
    plain = json.loads(json.dumps(judged.plain()))
    spans = plain["intervals"]
    assert list(spans) == [*judged.values, "ece", "ece_at_temperature", "precision", "recall", "f1"]
    for name, span in spans.items():
        pairs = [(plain[name], span)] if isinstance(span, list) else [(plain[name][k], span[k]) for k in NAMES]
        assert all(low <= value <= high for value, (low, high) in pairs), name
    low, high = spans["accuracy"]
    assert high - low == pytest.approx(2 * 1.96 * math.sqrt(judged.accuracy * (1 - judged.accuracy) / 150), rel=0.15)
    assert judge(*drawn(), NAMES, drawn(1, 90)).plain() == judged.plain()


def test_a_class_without_images() -> None:
    logits, labels = drawn(n=40, classes=3)
    logits = torch.cat([logits, torch.full((40, 1), -50.0)], dim=1)
    plain = judge(logits, labels, NAMES).plain()
    assert plain["macro-f1"] is None
    assert plain["recall"]["rat"] is plain["precision"]["rat"] is plain["intervals"]["recall"]["rat"] is None
    assert plain["support"]["rat"] == 0
    assert plain["temperature"] is plain["ece_at_temperature"] is None
    assert plain["intervals"]["macro-f1"] is None


def test_one_image_and_all_right() -> None:
    plain = judge(torch.tensor([[2.0, 0.0]]), torch.tensor([0]), ("a", "b")).plain()
    assert (plain["accuracy"], plain["n"]) == (1, 1)
    assert plain["intervals"]["accuracy"] == pytest.approx([0.2065, 1], abs=1e-3)
    logits, labels = drawn(n=12)
    logits[torch.arange(12), labels] += 50
    plain = judge(logits, labels, NAMES, (logits, labels)).plain()
    assert plain["intervals"]["recall"]["cat"] == pytest.approx([0.4385, 1], abs=1e-3)
    assert plain["intervals"]["balanced-accuracy"] is None
    assert plain["temperature"] is None  # a lower one is always better


def test_the_same_images_are_seen() -> None:
    found = judge(*drawn(), NAMES, drawn())
    assert found.temperature
    assert found.temperature.same


def test_several_labels() -> None:
    generator = torch.Generator().manual_seed(2)
    labels = torch.rand(80, 4, generator=generator) < 0.3
    logits = torch.randn(80, 4, generator=generator) + 2 * labels - 1
    found = judge(logits, labels, NAMES, (logits, labels))
    plain = json.loads(json.dumps(found.plain()))
    assert found.confusion is None
    assert plain["ece"] is plain["temperature"] is None
    assert {name: plain[name] for name in found.values} == every_metric(logits, labels, NAMES)
    assert "cohen-kappa" not in plain
    assert plain["support"] == dict(zip(NAMES, labels.sum(0).tolist(), strict=True))
    assert sum(plain["auroc"].values()) / 4 == pytest.approx(plain["macro-auroc"])
    for name in ("accuracy", "balanced-accuracy", "macro-f1", "macro-auroc", "average-precision"):
        low, high = plain["intervals"][name]
        assert low < plain[name] < high
    for name in ("precision", "recall", "f1", "auroc"):
        assert all(low <= plain[name][k] <= high for k, (low, high) in plain["intervals"][name].items())


def test_labels_are_said_above_thresholds() -> None:
    """Recall, precision and F1 go by them; the metrics, AUROC and the accuracy of a label do not."""
    generator = torch.Generator().manual_seed(2)
    labels = torch.rand(80, 4, generator=generator) < 0.3
    logits = torch.randn(80, 4, generator=generator) + 2 * labels - 1
    thresholds = (0.5, 0.2, 0.7, 0.9)
    plain = json.loads(json.dumps(judge(logits, labels, NAMES, thresholds=thresholds).plain()))
    even = judge(logits, labels, NAMES).plain()
    told = logits.sigmoid().numpy() > list(thresholds)
    wanted = precision_recall_fscore_support(labels.numpy(), told, average=None)
    for n, name in enumerate(NAMES):
        figures = [plain[figure][name] for figure in ("precision", "recall", "f1", "support")]
        assert figures == pytest.approx([row[n] for row in wanted])
        low, high = plain["intervals"]["f1"][name]
        assert low <= plain["f1"][name] <= high
    assert plain["thresholds"] == dict(zip(NAMES, thresholds, strict=True))
    same = ("accuracy", "per_class", "auroc", "macro-f1", "macro-auroc", "average-precision", "support")
    assert {name: plain[name] for name in same} == {name: even[name] for name in same}
    assert "thresholds" not in even


def test_logits_of_a_split() -> None:
    labels = torch.tensor([0, 1])
    assert logits_of(lambda images: torch.eye(2), (torch.zeros(2), labels)).shape == (2, 2)
    with pytest.raises(InputError, match="no images"):
        logits_of(lambda images: torch.eye(2), (torch.zeros(0), labels[:0]))
    with pytest.raises(InputError, match="not finite for 2 of 2"):
        logits_of(lambda images: torch.full((2, 2), torch.nan), (torch.zeros(2), labels))


def test_a_temperature_is_fitted_on_images_that_were_not_trained_on(tmp_path: Path) -> None:
    dataset = load_dataset(f"npz:{small_npz(tmp_path / 'small.npz')}")
    wanted = part_of(dataset, "validation", 3)[1]
    for info in ({}, {"trained": "search"}, {"trained": "retrain", "fingerprint": "that of others"}):
        found = unseen(dataset, info, 3)
        assert found
        assert torch.equal(found[1], wanted)
    for info in ({"trained": "retrain"}, {"trained": "retrain", "fingerprint": dataset.fingerprint}):
        assert unseen(dataset, info, 3) is None


def test_a_sample_is_evenly_spaced() -> None:
    images, labels = Pixels.of(torch.arange(10).view(10, 1, 1, 1).to(torch.uint8)), torch.arange(10)
    few, mine = sample((images, labels), 4)
    assert mine.tolist() == few[:].flatten().tolist() == [0, 3, 6, 9]
    assert sample((images, labels), 10)[0] is images
