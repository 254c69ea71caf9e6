"""The calibration error by its definition, and a temperature that is the best one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy

from archsearch.metrics.calibration import BINS, LEAST, MOST, ece, error, fit_temperature, gaps


def drawn(seed: int, classes: int = 4, n: int = 200, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """Logits and labels that are drawn by their softmax: calibrated at temperature `scale`."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, classes, generator=generator).double()
    return logits * scale, torch.multinomial(logits.softmax(1), 1, generator=generator).view(-1)


@given(st.integers(0, 10_000), st.integers(2, 9), st.integers(1, 60), st.floats(0.1, 30))
@settings(max_examples=60)
def test_the_error_by_its_definition(seed: int, classes: int, n: int, scale: float) -> None:
    logits, labels = drawn(seed, classes, n, scale)
    confidence, answers = (values.numpy() for values in logits.softmax(1).max(1))
    wanted = 0.0
    for k in range(BINS):
        mine = (confidence > k / BINS) & (confidence <= (k + 1) / BINS)
        if mine.any():
            wanted += mine.mean() * abs((answers == labels.numpy())[mine].mean() - confidence[mine].mean())
    assert ece(logits, labels) == pytest.approx(wanted, abs=1e-9)
    assert 0 <= ece(logits, labels) <= 1


def test_a_small_case() -> None:
    logits = torch.tensor([[9.0, 1.0], [8.0, 2.0]]).log()
    assert ece(logits, torch.tensor([0, 1])) == pytest.approx((0.1 + 0.8) / 2)
    assert ece(torch.tensor([[50.0, 0.0]]), torch.tensor([1])) == pytest.approx(1)


def test_weights_repeat_images() -> None:
    logits, labels = drawn(3, n=20)
    counts = np.random.default_rng(0).integers(1, 4, size=(2, 20)).astype(np.int32)
    found = error(*gaps(logits, labels), counts)
    for k in range(2):
        rows = torch.from_numpy(np.repeat(np.arange(20), counts[k]))
        assert found[k] == pytest.approx(ece(logits[rows], labels[rows]))


@given(st.integers(0, 10_000), st.integers(2, 6), st.floats(0.3, 4))
@settings(max_examples=40)
def test_the_temperature_is_the_best_and_changes_no_label(seed: int, classes: int, scale: float) -> None:
    logits, labels = drawn(seed, classes, scale=scale)
    found = fit_temperature(logits, labels)
    assert found is not None
    assert LEAST < found < MOST
    assert torch.equal((logits / found).argmax(1), logits.argmax(1))
    best = cross_entropy(logits / found, labels)
    for other in (0.99, 1.01, 1 / found):
        assert best <= cross_entropy(logits / (found * other), labels) + 1e-12
    assert fit_temperature(3 * logits, labels) == pytest.approx(3 * found, rel=1e-6) or 3 * found > MOST


def test_it_finds_what_calibrates() -> None:
    logits, labels = drawn(0, n=20_000, scale=2.5)
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(2.5, rel=0.05)
    assert ece(logits, labels, found) < 0.02 < ece(logits, labels)


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        ([[1.0, 0.0], [0.0, 1.0]], [0, 1]),
        ([[1.0, 0.0], [0.0, 1.0]], [1, 0]),
        ([[1.0, 1.0]], [0]),
        (torch.empty(0, 2).tolist(), []),
    ],
)
def test_there_may_be_none(logits: list[list[float]], labels: list[int]) -> None:
    assert fit_temperature(torch.tensor(logits).view(-1, 2), torch.tensor(labels, dtype=torch.int64)) is None
