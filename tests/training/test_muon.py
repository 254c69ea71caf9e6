"""Orthogonal steps."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from archsearch import Arch, build
from archsearch.network import zoo
from archsearch.network.recipe import Recipe
from archsearch.network.stage import Part, Stage
from archsearch.training.muon import Muon, kernels, orthogonal
from archsearch.training.optim import make_optimiser, set_lr

STAGES = (Stage("basic", 16, stride=2), Stage("separable", 16), Stage("resnin", 16))
SMALL = Arch((1, 8, 8), 10, Part("conv", (("width", 8),)), STAGES, Part("linear"))


def one(kernel: Tensor, **values: float) -> Muon:
    return Muon([{"params": [kernel], "orthogonal": True}], **{"lr": 0.5, "momentum": 0.9, **values})


@given(
    st.integers(1, 24), st.integers(1, 24), st.integers(0, 2**31), st.sampled_from([1e-6, 1.0, 1e6])
)  # fmt: skip
def test_a_matrix_becomes_orthogonal_and_keeps_its_directions(rows: int, columns: int, seed: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    left, _ = torch.linalg.qr(torch.randn(rows, rows, generator=generator))
    right, _ = torch.linalg.qr(torch.randn(columns, columns, generator=generator))
    least = min(rows, columns)
    values = 0.05 + 0.95 * torch.rand(least, generator=generator)
    [found] = orthogonal([scale * left[:, :least] * values @ right[:, :least].T])
    inner = left[:, :least].T @ found @ right[:, :least]
    assert torch.allclose(inner, torch.diag(inner.diagonal()), atol=2e-3)
    assert 0.5 < inner.diagonal().min() <= inner.diagonal().max() < 1.25


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=8), st.integers(0, 2**31))
def test_many_matrices_become_what_each_becomes_alone(shapes: list[tuple[int, int]], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    matrices = [torch.randn(shape, generator=generator) for shape in shapes]
    found = orthogonal(matrices)
    assert [matrix.shape for matrix in found] == [matrix.shape for matrix in matrices]
    for together, matrix in zip(found, matrices, strict=True):
        assert torch.allclose(together, orthogonal([matrix])[0], atol=1e-4)


def test_only_dense_kernels_without_a_bias_are_turned() -> None:
    module = build(SMALL)
    turned = kernels(module)
    depthwise = [p.weight for p in module.modules() if isinstance(p, nn.Conv2d) and p.groups > 1]
    assert depthwise
    assert not {id(p) for p in depthwise} & {id(p) for p in turned}
    convolutions = [p for p in module.modules() if isinstance(p, nn.Conv2d) and p.groups == 1 and p.bias is None]
    assert {id(p) for p in turned} == {id(p.weight) for p in convolutions} - {
        id(p.weight) for p in convolutions if p.weight.shape[1] == 1
    }
    groups = make_optimiser(module, Recipe(optimiser="muon", lr=0.4), 64).param_groups
    assert [group.get("orthogonal", False) for group in groups] == [False, False, True]
    assert [group["weight_decay"] for group in groups] == [5e-4, 0, 0]
    assert [group["share"] for group in groups] == [0.5, 0.5, 1]
    assert {id(p) for p in groups[2]["params"]} == {id(p) for p in turned}
    assert sum(len(group["params"]) for group in groups) == len(list(module.parameters()))


@pytest.mark.parametrize("name", ["resnet18", "resnet-nin", "mobilenet-v2", "resnet-course-large", "resnet20"])
def test_a_norm_follows_every_kernel_that_is_turned(name: str) -> None:
    with torch.device("meta"):
        leaves = [part for part in build(zoo.load(name).arch).modules() if not list(part.children())]
    turned = {id(p) for p in kernels(nn.ModuleList(leaves))}
    behind = [b for a, b in itertools.pairwise(leaves) if id(getattr(a, "weight", None)) in turned]
    assert len(behind) == len(turned) > 0
    assert all(isinstance(part, nn.BatchNorm2d) for part in behind)


def test_frozen_kernels_are_left_out() -> None:
    module = build(SMALL)
    some = kernels(module)[0]
    some.requires_grad_(False)
    assert not any(p is some for p in kernels(module))


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_a_step_is_a_share_of_the_norm_whatever_the_gradient(scale: float) -> None:
    kernel = nn.Parameter(torch.randn(8, 4, 3, 3))
    before = kernel.detach().clone()
    kernel.grad = scale * torch.randn_like(kernel)
    one(kernel, lr=0.2).step()
    assert float(kernel.norm().detach()) == pytest.approx(float(before.norm()), rel=1e-5)
    assert float((kernel - before).norm().detach()) == pytest.approx(0.02 * float(before.norm()), rel=0.1)


def test_a_share_of_the_rate_moves_by_that_share() -> None:
    whole, part = (nn.Parameter(torch.arange(6.0).view(2, 3)) for _ in range(2))
    optimiser = Muon([{"params": [whole]}, {"params": [part], "share": 0.25}], lr=0.5, momentum=0.9)
    whole.grad, part.grad = torch.ones(2, 3), torch.ones(2, 3)
    before = whole.detach().clone()
    optimiser.step()
    assert torch.allclose(before - part.detach(), (before - whole.detach()) / 4)


def test_a_state_from_before_shares_goes_on_at_the_whole_rate() -> None:
    kernel = nn.Parameter(torch.randn(8, 4, 3, 3))
    state = one(kernel).state_dict()
    del state["param_groups"][0]["share"]
    after = Muon([{"params": [kernel], "share": 0.5}], lr=0.2, momentum=0.9)
    after.load_state_dict(state)
    assert after.param_groups[0]["share"] == 1


def test_a_kernel_without_a_gradient_stays() -> None:
    kernel = nn.Parameter(torch.randn(8, 4, 3, 3))
    before = kernel.detach().clone()
    one(kernel).step()
    assert torch.equal(kernel, before)
    kernel.grad = torch.zeros_like(kernel)
    one(kernel).step()
    assert torch.allclose(kernel, before)


def test_what_is_not_turned_moves_as_with_sgd() -> None:
    one, two = (nn.Parameter(torch.arange(6.0).view(2, 3)) for _ in range(2))
    mine = Muon([{"params": [one], "weight_decay": 0.1}], lr=0.5, momentum=0.9)
    theirs = torch.optim.SGD([two], lr=0.5, momentum=0.9, weight_decay=0.1, nesterov=True)
    for step in range(4):
        for optimiser, p in ((mine, one), (theirs, two)):
            set_lr(optimiser, 0.5 / (1 + step))
            p.grad = torch.sin(p.detach() + step)
            optimiser.step()
    assert torch.allclose(one, two, atol=1e-6)


def test_a_learning_rate_may_be_a_tensor() -> None:
    found = []
    for lr in (0.5, torch.tensor(0.5)):
        torch.manual_seed(0)
        module = build(SMALL)
        optimiser = Muon([{"params": kernels(module), "orthogonal": True}], lr, 0.9)
        module(torch.randn(4, 1, 8, 8)).square().sum().backward()
        optimiser.step()
        found.append([p.detach() for p in module.parameters()])
    assert all(torch.allclose(a, b) for a, b in zip(*found, strict=True))


def test_it_goes_on_from_its_state() -> None:
    torch.manual_seed(0)
    found = []
    start = torch.randn(8, 4, 3, 3)
    grads = torch.randn(4, *start.shape)
    for cut in (False, True):
        kernel = nn.Parameter(start.clone())
        optimiser = one(kernel)
        for number, grad in enumerate(grads):
            if cut and number == 2:
                state, optimiser = optimiser.state_dict(), one(kernel)
                optimiser.load_state_dict(state)
            kernel.grad = grad.clone()
            optimiser.step()
        found.append(kernel.detach())
    assert torch.equal(*found)
