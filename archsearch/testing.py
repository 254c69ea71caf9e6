"""The contract that every stem, block, head and leaf keeps, yours included: call these from your own tests.

    from archsearch.testing import check_block

    def test_my_block():
        check_block("my-block", kernel=5)

Each check builds the expression in several places and compares the module with what was counted: output shape,
parameters, buffers, multiply-accumulates; then a forward and a backward pass, evaluation without side effects, and
a state dict that reloads; of a block also that networks inherit its state. A broken contract is an AssertionError that
names the place.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import product
from math import prod

import torch
from torch import Tensor, nn

from archsearch.errors import SpecError
from archsearch.network.arch import Arch
from archsearch.network.blocks import Value, expand
from archsearch.network.cost import Cost, measure
from archsearch.network.kin import begins_as_identity
from archsearch.network.layers import Combinator, Custom, Expr, Shape, canonical
from archsearch.network.stage import Part, Stage
from archsearch.nn.build import AuxHead, build, build_expr
from archsearch.nn.inherit import inherit

IMAGES: tuple[Shape, ...] = ((1, 8, 8), (3, 9, 7), (8, 14, 14))
"""Where a block is tried: one channel, an odd map, as many channels as one of the widths."""
FEATURES: tuple[Shape, ...] = ((64,), (7,))
WIDTHS = (8, 12)
STRIDES = (1, 2)
BATCH = 3


def check_block(
    name: str,
    *,
    shapes: Iterable[Shape] = IMAGES + FEATURES,
    widths: Iterable[int] = WIDTHS,
    strides: Iterable[int] = STRIDES,
    **dims: Value,
) -> int:
    """Check a registered block with `dims` at every combination of input shape, width and stride.

    A combination that the block refuses with a SpecError is skipped, as a search does.

    Returns:
        How many combinations made a network.

    Raises:
        AssertionError: a broken contract, an output of another width, or every combination was refused.
        SpecError: no such block.
    """
    done = 0
    for shape, width, stride in product(shapes, widths, strides):
        where = f"block {name!r} {dims} at {shape}, width {width}, stride {stride}"
        cost = _cost_of(where, "block", name, (shape[0], width, stride), dims, shape)
        if cost is not None:
            assert cost.out[0] == width, f"{where}: gives {cost.out[0]} channels"
            done += 1
            if stride == 1 and shape[0] == width:
                _check_inheritance(where, Stage(name, width, dims=tuple(dims.items())), shape)
    assert done, f"block {name!r} {dims}: refuses every shape, width and stride tried"
    return done


def check_stem(name: str, *, shapes: Iterable[Shape] = IMAGES, **dims: Value) -> int:
    """Check a registered stem with `dims` at every input shape (channels, height, width); as `check_block`."""
    found = [_cost_of(f"stem {name!r} {dims} at {shape}", "stem", name, (shape[0],), dims, shape) for shape in shapes]
    assert any(found), f"stem {name!r} {dims}: refuses every shape tried"
    return sum(cost is not None for cost in found)


def check_head(name: str, *, shapes: Iterable[Shape] = IMAGES + FEATURES, classes: int = 5, **dims: Value) -> int:
    """Check a registered head with `dims` at every input shape; it must give `classes` logits; as `check_block`."""
    done = 0
    for shape in shapes:
        where = f"head {name!r} {dims} at {shape}"
        cost = _cost_of(where, "head", name, (shape, classes), dims, shape)
        if cost is not None:
            assert cost.out == (classes,), f"{where}: gives {cost.out}, not ({classes},)"
            done += 1
    assert done, f"head {name!r} {dims}: refuses every shape tried"
    return done


@torch.no_grad()
def _check_inheritance(where: str, stage: Stage, shape: Shape) -> None:
    """The state is handed on: to an equal network, and to one with another block where that begins as the identity."""
    parent = Arch(shape, 5, Part("none"), (stage,), Part("linear"))
    trained = build(parent)
    torch.manual_seed(0)
    for value in trained.state_dict().values():
        if value.ndim == 1:
            value.copy_(torch.rand(value.shape) + 0.5)
    images = torch.randn(BATCH, *shape)
    wanted = trained.eval()(images)
    assert torch.equal(_child(parent, parent, trained)(images), wanted), f"{where}: an equal network inherits another"
    if begins_as_identity(expand("block", stage.block, (stage.width, stage.width, 1), stage.dims)):
        deeper = replace(parent, stages=(replace(stage, depth=2),))
        off = float((_child(deeper, parent, trained)(images) - wanted).abs().max())
        assert off < 1e-5, f"{where}: with another block that begins as the identity, outputs are off by {off}"


def _child(arch: Arch, parent: Arch, trained: nn.Module) -> nn.Module:
    module = build(arch)
    inherit(module, arch, parent, trained.state_dict())
    return module.eval()


def _cost_of(
    where: str, kind: str, name: str, args: tuple[object, ...], dims: dict[str, Value], shape: Shape
) -> Cost | None:
    expr = _expanded(kind, name, args, dims, shape)
    return None if expr is None else check_expr(expr, shape, where)


def _expanded(kind: str, name: str, args: tuple[object, ...], dims: dict[str, Value], shape: Shape) -> Expr | None:
    try:
        expr = expand(kind, name, args, tuple(dims.items()))
        measure(expr, shape)
    except SpecError as error:
        if any(problem.startswith("there is no ") for problem in error.problems):
            raise
        return None
    return expr


def check_expr(expr: Expr, shape: Shape, where: str = "") -> Cost:
    """Check an expression, or one leaf, for inputs of `shape` (without the batch). Returns its cost.

    Raises:
        AssertionError: count and module disagree, a pass fails, or the state does not reload.
        SpecError: the expression makes no network at this shape.
    """
    where = where or f"{expr!r} at {shape}"
    cost = measure(expr, shape)
    json.dumps(canonical(expr))  # its identity is made of plain values
    module = build_expr(expr, shape)
    _check_state(module, cost, where)
    images = torch.randn(BATCH, *shape, generator=torch.Generator().manual_seed(0), requires_grad=True)
    _check_training(module, images, cost, where)
    _check_evaluation(module, build_expr(expr, shape), images.detach(), where)
    if not any(isinstance(leaf, Custom) for leaf in _all_leaves(expr)):
        macs = count_macs(module, images.detach())
        assert macs == cost.macs, f"{where}: {macs} multiply-accumulates, counted {cost.macs}"
    return cost


def _check_state(module: nn.Module, cost: Cost, where: str) -> None:
    """Parameters and buffers of the deployed module, and those of auxiliary classifiers, as counted."""
    heads = [part.head for part in module.modules() if isinstance(part, AuxHead)]
    aux = {id(tensor) for head in heads for tensor in (*head.parameters(), *head.buffers())}
    params = sum(p.numel() for p in module.parameters() if id(p) not in aux)
    buffers = sum(b.numel() for b in module.buffers() if id(b) not in aux)
    extra = sum(p.numel() for head in heads for p in head.parameters())
    assert params == cost.params, f"{where}: {params} parameters, counted {cost.params}"
    assert buffers == cost.buffers, f"{where}: {buffers} values in buffers, counted {cost.buffers}"
    assert extra == cost.aux_params, f"{where}: {extra} auxiliary parameters, counted {cost.aux_params}"


def _check_training(module: nn.Module, images: Tensor, cost: Cost, where: str) -> None:
    module.train()
    out = module(images)
    assert tuple(out.shape) == (BATCH, *cost.out), f"{where}: gives {tuple(out.shape[1:])}, counted {cost.out}"
    assert torch.isfinite(out).all(), f"{where}: output is not finite"
    loss = out.square().mean()
    for part in module.modules():
        if isinstance(part, AuxHead) and part.logits is not None:
            loss = loss + part.logits.square().mean()
    torch.autograd.backward(loss)
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, f"{where}: no gradient reaches {name}"
            assert torch.isfinite(parameter.grad).all(), f"{where}: the gradient of {name} is not finite"
    assert images.grad is not None, f"{where}: no gradient reaches the input"


@torch.no_grad()
def _check_evaluation(module: nn.Module, fresh: nn.Module, images: Tensor, where: str) -> None:
    """Evaluation is repeatable, and a fresh module with the state reloaded does the same."""
    module.eval()
    out = module(images)
    assert torch.equal(out, module(images)), f"{where}: two evaluations differ"
    fresh.load_state_dict(module.state_dict())
    fresh.eval()
    assert torch.equal(out, fresh(images)), f"{where}: reloading the state dict changes the output"


@torch.no_grad()
def count_macs(module: nn.Module, images: Tensor) -> int:
    """Multiplications in convolutions and linear layers for one of `images` (N, ...), no biases, in evaluation.

    Counted from the shapes that pass through the module's Conv2d and Linear layers.
    """
    total = 0

    def note(layer: nn.Module, _: object, out: Tensor) -> None:
        nonlocal total
        weight = layer.get_parameter("weight")
        total += weight.numel() * prod(out.shape[2:])

    parts = [part for part in module.modules() if isinstance(part, nn.Conv2d | nn.Linear)]
    handles = [part.register_forward_hook(note) for part in parts]
    try:
        module.eval()(images)
    finally:
        for handle in handles:
            handle.remove()
    return total


def _all_leaves(expr: Expr) -> Iterator[Expr]:
    if isinstance(expr, Combinator):
        for part in expr.parts:
            yield from _all_leaves(part)
    else:
        yield expr


__all__ = [
    "FEATURES", "IMAGES", "check_block", "check_expr", "check_head", "check_stem", "count_macs",
]  # fmt: skip
