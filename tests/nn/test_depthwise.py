"""Depthwise convolutions: the same sums as torch's, whatever kernel, stride, size and precision."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from archsearch.network.layers import Conv
from archsearch.nn import depthwise
from archsearch.nn.build import build_expr
from archsearch.nn.depthwise import DepthwiseConv2d, _Depthwise

LAYERS = [
    (kernel, stride, padding) for kernel in (2, 3, 4, 5, 7, 9) for stride in (1, 2, 3) for padding in (0, kernel // 2)
]


@pytest.fixture
def _every_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depthwise, "_SMALL", 0)
    monkeypatch.setattr(depthwise, "_CACHED", 6 * 30 * 27)  # two images of the three at once, then one


def gradients(call: Callable[[Tensor], Tensor], weight: Tensor, x: Tensor) -> list[Tensor]:
    """Outputs, and the gradients of inputs and weights of a loss that weighs every output otherwise."""
    x = x.clone().requires_grad_()
    weight.grad = None
    out = call(x)
    (out.float() * torch.arange(out.numel()).view(out.shape).cos()).sum().backward()
    assert x.grad is not None
    assert weight.grad is not None
    return [out.detach(), x.grad, weight.grad]


def in_bfloat16(layer: nn.Module) -> Callable[[Tensor], Tensor]:
    return torch.autocast("cpu", torch.bfloat16)(layer.forward)


@pytest.mark.usefixtures("_every_size")
@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize(("kernel", "stride", "padding"), LAYERS)
def test_the_same_as_torch(kernel: int, stride: int, padding: int, dilation: int) -> None:
    torch.manual_seed(0)
    layer = DepthwiseConv2d(6, 6, kernel, stride, padding * dilation, dilation, groups=6, bias=False)
    x = torch.randn(3, 6, 30, 27).to(memory_format=torch.channels_last)
    wanted = gradients(plain(layer), layer.weight, x)
    found = [(1e-5, gradients(layer, layer.weight, x)), (2e-2, gradients(in_bfloat16(layer), layer.weight, x))]
    assert found[1][1][0].dtype == torch.bfloat16
    if dilation == 1:
        ours = gradients(lambda x: _Depthwise.apply(x, layer.weight, stride, padding), layer.weight, x)
        found.append((1e-5, ours))
    for tolerance, results in found:
        for mine, theirs in zip(results, wanted, strict=True):
            assert mine.shape == theirs.shape
            assert float((mine.float() - theirs).abs().max()) <= tolerance * float(theirs.abs().max())


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    "leaf",
    [
        Conv(8, kernel=3, dilation=2, groups=8),
        Conv(8, kernel=5, stride=2, dilation=3, groups=8),
        Conv(8, kernel=3, dilation=2, groups=8, bias=True),
        Conv(16, kernel=3, stride=2, dilation=2, groups=8),
        Conv(16, kernel=3, dilation=3, groups=4, bias=True),
        Conv(8, kernel=3, padding=0, dilation=2, groups=4),
        Conv(8, kernel=4, padding=3, dilation=2, groups=8),
    ],
)
def test_dilated_kernels_in_groups_have_gradients(leaf: Conv, compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layer = build_expr(leaf, (8, 33, 32))
    assert isinstance(layer, nn.Conv2d)
    x = torch.randn(2, 8, 33, 32).to(memory_format=torch.channels_last)
    wanted = gradients(plain(layer), layer.weight, x)
    # "aot_eager" traces as the default does and leaves the kernels to torch.
    call = torch.compile(layer, backend="aot_eager", dynamic=False) if compiled else layer
    with torch.autocast("cpu", torch.bfloat16):
        found = gradients(call, layer.weight, x)
    assert found[0].dtype == torch.bfloat16
    for mine, theirs in zip(found, wanted, strict=True):
        assert float((mine.float() - theirs).abs().max()) <= 2e-2 * float(theirs.abs().max())


def plain(layer: nn.Conv2d) -> Callable[[Tensor], Tensor]:
    """The layer as torch has it."""
    options = (layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups)
    return lambda x: functional.conv2d(x, layer.weight, *options)


@pytest.mark.usefixtures("_every_size")
def test_the_detour_is_taken_where_it_gains(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = list[str]()
    monkeypatch.setattr(
        depthwise, "_kernel_gradient", lambda x, kernel, *_: taken.append("") or torch.zeros(kernel.shape)
    )

    def detours(kernel: int, stride: int, *, dilation: int = 1, half: bool = True, training: bool = True) -> bool:
        taken.clear()
        padding = dilation * (kernel // 2)
        layer = DepthwiseConv2d(4, 4, kernel, stride, padding, dilation, groups=4, bias=False).train(training)
        gradients(in_bfloat16(layer) if half else layer, layer.weight, torch.randn(2, 4, 8, 8))
        return bool(taken)

    assert detours(5, 1)
    assert detours(3, 2)
    assert not detours(3, 1)
    assert not detours(5, 2, half=False)
    assert not detours(5, 2, training=False)
    assert detours(5, 1, dilation=2)
    assert not detours(3, 1, dilation=2)
    assert not detours(4, 1, dilation=2)  # an even kernel does not keep the size


def test_networks_have_them_and_files_plain_convolutions() -> None:
    layer = build_expr(Conv(8, kernel=5, padding=2, groups=8), (8, 16, 16))
    assert isinstance(layer, DepthwiseConv2d)
    assert list(layer.state_dict()) == ["weight"]
    free = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(layer.eval(), (torch.zeros(2, 8, 16, 16),), dynamic_shapes=free)
    called = [node.target for node in program.graph.nodes if node.op == "call_function"]
    assert called == [torch.ops.aten.conv2d.default]
    assert not isinstance(build_expr(Conv(16, kernel=5, padding=2, groups=8), (8, 16, 16)), DepthwiseConv2d)
    assert not isinstance(build_expr(Conv(8, kernel=5, padding=2, groups=8, bias=True), (8, 16, 16)), DepthwiseConv2d)
