"""What moves the weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from archsearch import Arch, build
from archsearch.network.recipe import Recipe
from archsearch.network.stage import Part, Stage
from archsearch.training.optim import Average, Lookahead, make_optimiser, one_cycle, recalibrate

SMALL = Arch((1, 8, 8), 10, Part("conv", (("width", 8),)), (Stage("basic", 16, stride=2),), Part("linear"))


def test_only_kernels_and_matrices_are_decayed() -> None:
    module = build(SMALL)
    decayed, free = make_optimiser(module, Recipe(optimiser="sgd", lr=0.4, weight_decay=0.01), 64).param_groups
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.01, 0.0)
    norms = {id(p) for part in module.modules() if isinstance(part, nn.BatchNorm2d) for p in part.parameters()}
    biases = {id(p) for name, p in module.named_parameters() if name.endswith("bias")}
    assert {id(p) for p in free["params"]} == norms | biases
    assert len(decayed["params"]) + len(free["params"]) == len(list(module.parameters()))


@pytest.mark.parametrize(
    ("name", "kind"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)]
)
def test_optimisers(name: str, kind: type[torch.optim.Optimizer]) -> None:
    optimiser = make_optimiser(build(SMALL), Recipe(optimiser=name, lr=0.4), 64)
    assert type(optimiser) is kind
    assert optimiser.param_groups[0]["lr"] == pytest.approx(0.1)  # linear in the batch, 0.4 at 256
    if name == "sgd":
        assert optimiser.param_groups[0]["nesterov"]
        assert optimiser.param_groups[0]["momentum"] == 0.9


@pytest.mark.parametrize(("steps", "warmup"), [(100, 0.2), (7, 0.5), (30, 0.0), (1, 0.2), (1000, 0.001)])
def test_one_cycle_rises_to_one_and_falls_to_nothing(steps: int, warmup: float) -> None:
    factor = one_cycle(steps, warmup)
    values = [factor(step) for step in range(steps + 1)]
    assert values[-1] == 0
    assert all(0 < value <= 1 for value in values[:-1])
    assert max(values) > 1 - 1 / (1 + warmup * steps) - 1e-9 if warmup else values[0] == 1
    top = values.index(max(values))
    assert values[:top] == sorted(values[:top])
    assert values[top:] == sorted(values[top:], reverse=True)
    assert abs(top - warmup * steps) <= 1


@pytest.mark.parametrize("recipe", [Recipe(), Recipe(optimiser="sgd"), Recipe(lr=0.4)])
def test_what_is_left_open_is_no_optimiser(recipe: Recipe) -> None:
    with pytest.raises(ValueError, match=r"TrainingData\.settle"):
        make_optimiser(nn.BatchNorm2d(3), recipe, 64)


def test_a_module_without_kernels_has_one_group() -> None:
    (only,) = make_optimiser(nn.BatchNorm2d(3), Recipe(optimiser="sgd", lr=0.4), 64).param_groups
    assert only["weight_decay"] == 0


@pytest.mark.parametrize("steps", [1, 3, 50])
def test_an_average_lies_between_and_forgets_the_start(steps: int) -> None:
    module = nn.Linear(2, 2)
    average = Average(module, horizon=10)
    start = module.weight.detach().clone()
    with torch.no_grad():
        module.weight.copy_(start + 1)
    for _ in range(steps):
        average.update()
    share = (average.module.weight - start).detach()
    expected = 1.0
    for step in range(1, steps + 1):
        expected *= 1 - max(1 / 10, 1 / (1 + step / 2))
    assert torch.allclose(share, torch.full_like(share, 1 - expected), atol=1e-5)
    assert not average.module.weight.requires_grad


def test_an_average_holds_the_statistics_too() -> None:
    module = build(SMALL)
    average = Average(module, horizon=0.5)
    module(torch.randn(16, 1, 8, 8))
    average.update()
    for mine, theirs in zip(average.module.state_dict().values(), module.state_dict().values(), strict=True):
        assert not mine.is_floating_point() or torch.equal(mine, theirs)


def test_slow_weights_go_half_of_the_way_and_the_module_with_them() -> None:
    module = nn.Linear(1, 1, bias=False)
    module.weight.data.fill_(0.0)
    lookahead = Lookahead(module, every=2, steps=5)
    seen = []
    for done in range(1, 6):
        with torch.no_grad():
            module.weight.add_(1.0)
        lookahead.update(done)
        seen.append(module.weight.item())
    assert seen == [1.0, 1.0, 2.0, 2.0, 2.5]
    other = Lookahead(module, every=2, steps=5)
    other.restore([torch.full((1, 1), -4.0)])
    other.update(4)
    assert module.weight.item() == -0.75
    assert other.state()[0].item() == -0.75


@pytest.mark.parametrize("count", [2, 100, 700])
def test_recalibrated_statistics_are_those_of_the_images(count: int) -> None:
    module = nn.Sequential(nn.BatchNorm2d(3, momentum=0.2), nn.Dropout(0.9))
    images = torch.randn(count, 3, 4, 4) * 2 + 5
    module[0](images * 100)
    recalibrate(module, images)
    norm = module[0]
    assert torch.allclose(norm.running_mean, images.mean((0, 2, 3)), atol=1e-3)
    assert torch.allclose(norm.running_var, images.var((0, 2, 3)), rtol=0.05)
    assert norm.momentum == 0.2
    assert not module.training
    assert not norm.training


def test_one_image_recalibrates_nothing() -> None:
    module = nn.Sequential(nn.BatchNorm2d(3))
    recalibrate(module, torch.randn(1, 3, 1, 1))
    assert torch.equal(module[0].running_mean, torch.zeros(3))
    assert not module.training
