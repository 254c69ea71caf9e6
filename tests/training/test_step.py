"""One optimisation step."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from archsearch.training.loss import Loss
from archsearch.training.step import Step

CPU = torch.device("cpu")
SMOOTH = Loss(0.1)


class Picky(nn.Linear):
    """Runs out of memory with more than `most` rows; `calls` counts the rows of every call."""

    def __init__(self, most: int) -> None:
        super().__init__(4, 3)
        self.most = most
        self.calls: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls.append(len(x))
        if len(x) > self.most:
            raise torch.OutOfMemoryError
        return super().forward(x)


def stepped(most: int, steps: int = 2, loss: Loss = SMOOTH) -> tuple[Picky, Step, list[float]]:
    torch.manual_seed(0)
    module = Picky(most)
    step = Step(module, torch.optim.SGD(module.parameters(), lr=0.5, momentum=0.9), loss, CPU)
    images, labels = torch.randn(30, 4), torch.arange(30) % 3
    return module, step, [float(step(images, labels)) for _ in range(steps)]


def test_a_step_lowers_the_loss() -> None:
    _, step, losses = stepped(100, 20)
    assert losses[-1] < losses[0]
    assert step.parts == 1


def test_micro_batches_add_up_to_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exactly so in float32; bfloat16, where the hardware has it, rounds each on its own."""
    monkeypatch.setattr("archsearch.training.step.autocast_dtype", lambda device: None)
    whole, _, losses = stepped(100)
    split, step, same = stepped(8)
    assert step.parts == 4
    assert split.calls == [30, 15, 8, 8, 8, 6, 8, 8, 8, 6]  # the smaller size stays
    assert same == pytest.approx(losses, rel=1e-5)
    assert torch.allclose(whole.weight, split.weight, atol=1e-6)


def test_weighted_micro_batches_add_up_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archsearch.training.step.autocast_dtype", lambda device: None)
    loss = Loss(0.1, torch.tensor([0.1, 1.0, 7.0]), torch.tensor([0.0, -1.0, -2.0]))
    whole, _, losses = stepped(100, loss=loss)
    split, step, same = stepped(8, loss=loss)
    assert step.parts == 4
    assert same == pytest.approx(losses, rel=1e-5)
    assert torch.allclose(whole.weight, split.weight, atol=1e-6)


def test_there_is_a_smallest_micro_batch() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        stepped(3)


def test_other_errors_are_not_retried() -> None:
    module = nn.Linear(4, 3)
    step = Step(module, torch.optim.SGD(module.parameters(), lr=0.1), Loss(), CPU)
    with pytest.raises(RuntimeError, match="shapes"):
        step(torch.randn(8, 5), torch.arange(8) % 3)
    assert step.parts == 1
