"""Captured steps. What needs CUDA runs where there is one; the rest of the module is plain tensors."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from archsearch.network.recipe import CHOSEN, OPTIMISERS, Recipe
from archsearch.training.cuda_graph import CapturedStep, GraphWarning, _differs, _State, graphed
from archsearch.training.loss import Loss
from archsearch.training.optim import make_optimiser, set_lr
from archsearch.training.step import Step

PLAIN = Loss(0.1)
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


def network() -> nn.Sequential:
    torch.manual_seed(0)
    convolution = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU()
    return nn.Sequential(*convolution, nn.Flatten(), nn.Linear(288, 5)).train()


def parts(
    device: str, loss: Loss = PLAIN, **recipe: object
) -> tuple[nn.Sequential, torch.optim.Optimizer, Step, Tensor, Tensor]:
    module = network().to(device)
    optimiser = make_optimiser(module, Recipe(**{"optimiser": "sgd", "lr": 0.4, **recipe}), 32)
    step = Step(module, optimiser, loss, torch.device(device))
    return module, optimiser, step, torch.randn(32, 3, 8, 8, device=device), torch.arange(32, device=device) % 5


def state(module: nn.Module) -> list[Tensor]:
    return [value.clone() for value in module.state_dict().values()]


def equal(one: list[Tensor], two: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("name", [name for name in OPTIMISERS if name != CHOSEN])
@pytest.mark.parametrize("steps_before", [0, 2])
def test_what_steps_changed_is_put_back(name: str, steps_before: int) -> None:
    module, optimiser, step, images, labels = parts("cpu", optimiser=name, lr=0.01)
    for _ in range(steps_before):
        step(images, labels)
    first = state(module)
    before = _State(module, optimiser)
    losses = []
    for _ in range(2):
        losses.append([float(step(images, labels)) for _ in range(3)])
        assert not equal(state(module), first)
        before.restore()
        assert equal(state(module), first)
    assert losses[0] == losses[1]  # momenta and step counts were put back too


def test_a_replay_that_does_as_the_step_does_not_differ() -> None:
    module, optimiser, step, images, labels = parts("cpu")
    before = _State(module, optimiser)
    first = state(module)
    assert _differs(step, step, module, before, images, labels) == ""
    assert equal(state(module), first)


def test_a_replay_that_does_not_train_differs() -> None:
    module, optimiser, step, images, labels = parts("cpu")

    def idle(images: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(module(images), labels, label_smoothing=0.1).detach()

    assert "weights differ" in _differs(step, idle, module, _State(module, optimiser), images, labels)


def test_a_replay_with_another_loss_differs() -> None:
    module, optimiser, step, images, labels = parts("cpu")
    before = _State(module, optimiser)
    assert "its loss is" in _differs(step, lambda x, y: 2 * step(x, y), module, before, images, labels)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_without_cuda_the_step_stays_as_it_is() -> None:
    module, optimiser, step, images, labels = parts("cpu")
    first = state(module)
    with pytest.warns(GraphWarning, match="no CUDA graph for this network"):
        assert graphed(step, module, optimiser, images, labels) is step
    assert equal(state(module), first)


def test_a_step_is_captured_once_for_images_of_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    module, optimiser, step, images, labels = parts("cpu")
    sizes: list[int] = []

    def capture(
        plain: Step, module: nn.Module, optimiser: object, images: Tensor, labels: Tensor
    ) -> Callable[..., Tensor]:
        assert plain is step
        sizes.append(images.shape[-1])
        return lambda images, labels: torch.tensor(float(images.shape[-1]))

    monkeypatch.setattr("archsearch.training.cuda_graph.graphed", capture)
    captured = CapturedStep(step, module, optimiser, torch.device("cuda"))
    small = images[..., :4, :4]
    assert [captured.prepare(some, labels) for some in (small, small, images, images)] == [True, False, True, False]
    assert sizes == [4, 8]
    assert float(captured(images, labels)) == 8
    elsewhere = CapturedStep(step, module, optimiser, torch.device("cpu"))
    assert not elsewhere.prepare(images, labels)
    assert float(elsewhere(images, labels)) != 8


@CUDA
@pytest.mark.parametrize(("name", "weighted"), [("sgd", False), ("muon", False), ("adamw", False), ("sgd", True)])
def test_a_graph_trains_the_same_network(name: str, weighted: bool) -> None:
    weights, shift = (torch.tensor(values, device="cuda") for values in ([0.2, 1, 1, 2, 3], [0.0, -1, -1, -2, -3]))
    loss, found = Loss(0.1, weights, shift) if weighted else PLAIN, []
    for capture in (False, True):
        module, optimiser, step, images, labels = parts("cuda", loss, optimiser=name, lr=0.02)
        torch.manual_seed(1)
        run = graphed(step, module, optimiser, images, labels) if capture else step
        assert (run is step) != capture
        losses = []
        for number in range(20):
            set_lr(optimiser, 0.02 * (1 - number / 20))
            losses.append(float(run(images.roll(number, 0), labels.roll(number, 0))))
        found.append(losses)
    assert found[1] == pytest.approx(found[0], rel=0.05)
    assert found[1][-1] < 0.8 * found[1][0]
