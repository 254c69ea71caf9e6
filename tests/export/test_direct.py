"""Graphs straight from layers: those that torch's exporter leaves, for every layer, space and textbook network."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from exports import ARCH
from strategies import SPACES, draws

from archsearch.export.direct import direct_model
from archsearch.export.graphs import outline
from archsearch.export.slim import slim
from archsearch.export.timed import random_network
from archsearch.export.write import onnx_model
from archsearch.inference.pixels import PixelNetwork
from archsearch.network import zoo
from archsearch.network.arch import Arch
from archsearch.network.layers import (
    ACTIVATIONS,
    Act,
    AdaptivePool,
    Aux,
    Conv,
    Dropout,
    Expr,
    Flatten,
    Linear,
    Norm,
    Pool,
    Shuffle,
    Subsample,
    Take,
    add,
    concat,
    mul,
    seq,
    shared,
)
from archsearch.nn.build import build_chain, untied

TAIL = seq(AdaptivePool(1), Flatten(), Linear(4))
GATE = seq(AdaptivePool(1), Conv(2, 1, bias=True), Act("relu6"), Conv(8, 1, bias=True), Act("sigmoid"))
NORMED = seq(Conv(8), Norm())
TOYS: dict[str, Expr] = {
    "activations": seq(*(part for name in ACTIVATIONS for part in (Conv(4, 1), Act(name))), TAIL),
    "norms": seq(
        NORMED, Act(), add(seq(), seq(Norm(1e-3), Act(), NORMED)), Norm(), Pool(), Norm(), Flatten(),
        Linear(12, False), Norm(), Act(), Dropout(), Linear(6), Norm(), Act(), Linear(4, False),
    ),
    "branches": seq(
        add(Subsample(8, 2), seq(Conv(8, 3, 2, bias=True), Norm())),
        concat(Take(0, 3), seq(Take(3, 5), Conv(5, 3, 1, dilation=2)), Take(0, 8)), Shuffle(2), Conv(8, 1, groups=2),
        mul(seq(), GATE), concat(seq(AdaptivePool(1), Act()), seq(AdaptivePool(1), Act("tanh"))), Flatten(), Linear(4),
    ),
    "twice the same": seq(concat(seq(Norm(), Act(), Conv(4)), seq(Norm(), Act(), Conv(4, 1))), shared(NORMED, 1), TAIL),
    "windows": seq(
        Conv(6, 1, 2), Pool("max", 3, 1, 1), Pool("avg", 3, 2, 1), shared(add(seq(), seq(Conv(6, 5), Norm())), 2),
        Aux(TAIL, 0.3), Pool("avg", 2, 2, 0, True), Conv(6, 3, groups=6), AdaptivePool(1), TAIL,
    ),
    "window of a share": seq(Conv(4, 3), AdaptivePool(8), Flatten(), Linear(4)),
}  # fmt: skip


def toy(expr: Expr, shape: tuple[int, ...] = (3, 16, 16)) -> tuple[PixelNetwork, Any]:
    """The network of an expression with random state, and what stands for its architecture."""
    torch.manual_seed(0)
    parts = [("body", expr)]
    module = build_chain(parts, shape)
    for name, state in module.named_buffers():
        if name.endswith("running_mean"):
            state.normal_()
        elif name.endswith("running_var"):
            state.uniform_(0.5, 2)
    return shipped(module, shape[0]), SimpleNamespace(input_shape=shape, classes=4, parts=lambda: parts)


def shipped(module: torch.nn.Module, channels: int) -> PixelNetwork:
    return PixelNetwork(untied(module.eval()), ((0.5,) * channels, (0.25,) * channels))


def require_same(network: PixelNetwork, arch: Arch) -> None:
    mine, theirs = direct_model(network, arch), onnx_model(network, arch)
    assert mine is not None
    assert outline(mine) == outline(theirs)
    ours, exported = (
        {one.name: onnx.numpy_helper.to_array(one) for one in slim(model).graph.initializer} for model in (mine, theirs)
    )
    for name, values in ours.items():
        np.testing.assert_allclose(values, exported[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", TOYS)
def test_every_layer_as_the_exporter_writes_it(name: str) -> None:
    require_same(*toy(TOYS[name]))


@pytest.mark.parametrize("space", SPACES)
def test_outputs_are_those_of_the_network(space: str) -> None:
    for arch in draws(space, 3):
        network = shipped(random_network(arch), arch.input_shape[0])
        model = direct_model(network, arch)
        assert model is not None
        onnx.checker.check_model(model, full_check=True)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        images = torch.rand(3, *arch.input_shape, generator=torch.Generator().manual_seed(1))
        (found,) = session.run(["logits"], {"images": images.numpy()})
        wanted = network(images).numpy()
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.slow
@pytest.mark.parametrize("space", SPACES)
def test_every_space_as_the_exporter_writes_it(space: str) -> None:
    for arch in draws(space, 3, seed=1):
        require_same(shipped(random_network(arch), arch.input_shape[0]), arch)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in zoo.names() if zoo.load(name).arch.cost.params < 5e6])
def test_textbook_networks_as_the_exporter_writes_them(name: str) -> None:
    arch = zoo.load(name).arch
    require_same(shipped(random_network(arch), arch.input_shape[0]), arch)


@pytest.mark.parametrize(
    "expr",
    [
        seq(AdaptivePool(3), Flatten(), Linear(4)),  # windows of several sizes
        seq(Conv(4), Act(), Act("relu6"), TAIL),  # becomes one
        seq(Subsample(3, 2), Conv(4), TAIL),  # the padding is the convolution's
        seq(Conv(4), Shuffle(2), Flatten(), Linear(4)),
    ],
)
def test_what_the_optimiser_makes_another_graph_of_is_left_to_it(expr: Expr) -> None:
    assert direct_model(*toy(expr)) is None


def test_other_precisions_are_left_to_the_exporter() -> None:
    half = PixelNetwork(random_network(ARCH), ((0.5,) * 3, (0.25,) * 3), torch.float16)
    assert direct_model(half, ARCH) is None
