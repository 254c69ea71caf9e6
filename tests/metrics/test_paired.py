"""The least drop of a metric: on the same resamples as scikit-learn would score, and none where nothing has changed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from archsearch.metrics import NAMES, metric_of
from archsearch.metrics.bootstrap import image_weights
from archsearch.metrics.paired import paired

SINGLE = [*(name for name in NAMES if not name.endswith("CLASS")), "recall:b"]
SEVERAL = [name for name in SINGLE if "kappa" not in name]
CLASSES = ("a", "b", "c")


def drawn(several: bool, n: int = 80) -> tuple[Tensor, Tensor, Tensor]:
    """Logits before and after, which are less often right, and labels; some of the logits are equal."""
    generator = torch.Generator().manual_seed(3)
    single = torch.arange(n) % 3
    labels = torch.rand(n, 3, generator=generator) < 0.4 if several else single
    mine = (labels if several else torch.nn.functional.one_hot(single, 3)).float()
    noise = [torch.randn(n, 3, generator=generator) for _ in range(2)]
    before = (2 * mine - 1 + noise[0]).mul(4).round() / 4
    return before, (before + 2 * noise[1]).mul(4).round() / 4, labels


@pytest.mark.parametrize(
    ("name", "several"), [*((name, False) for name in SINGLE), *((name, True) for name in SEVERAL)]
)
def test_it_is_what_the_metric_says_of_resampled_images(
    name: str, several: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archsearch.metrics.paired.affordable", lambda cells: 40)
    before, after, labels = drawn(several)
    metric = metric_of(name, CLASSES, several=several)
    found = paired(metric, before, after, labels)
    assert (found.before, found.after, found.n) == (metric(before, labels), metric(after, labels), 80)
    assert found.drop == found.before - found.after > 0
    falls = []
    for counts in np.concatenate(list(image_weights(80, 40))):
        rows = torch.from_numpy(np.repeat(np.arange(80), counts))
        falls.append(metric(before[rows], labels[rows]) - metric(after[rows], labels[rows]))
    assert found.least_drop == pytest.approx(min(np.percentile(falls, 5), found.drop), abs=1e-9)
    assert found.least_drop < found.drop
    assert paired(metric, before, after, labels) == found


@pytest.mark.parametrize("name", ["macro-f1", "macro-auroc"])
def test_what_has_not_dropped_needs_no_chance(name: str) -> None:
    before, after, labels = drawn(False)
    metric = metric_of(name, CLASSES)
    assert paired(metric, before, before, labels).least_drop == 0
    better = paired(metric, after, before, labels)
    assert better.least_drop == better.drop < 0


def test_a_rare_class_that_a_resample_leaves_out_is_left_out_of_its_mean() -> None:
    labels = torch.tensor([0] * 30 + [1] * 30 + [2])
    before = 5 * torch.nn.functional.one_hot(labels, 3).float()
    after = before.clone()
    after[-1] = torch.tensor([5.0, 0.0, 0.0])
    for name in ("balanced-accuracy", "macro-f1", "average-precision", "recall:c"):
        found = paired(metric_of(name, CLASSES), before, after, labels)
        assert found.drop > 0
        assert found.least_drop == pytest.approx(0)


def test_where_there_are_too_many_to_resample_the_drop_itself_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archsearch.metrics.paired.affordable", lambda cells: 0)
    before, after, labels = drawn(False)
    found = paired(metric_of("macro-f1", CLASSES), before, after, labels)
    assert found.least_drop == found.drop > 0
