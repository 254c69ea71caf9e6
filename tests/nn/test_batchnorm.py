"""Folded BatchNorm is BatchNorm: outputs, gradients, running statistics."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import few
from torch import Tensor, nn

from archsearch.nn import batchnorm
from archsearch.nn.batchnorm import BatchNorm2d, fold

LAST = torch.channels_last


def pair(width: int, momentum: float | None = 0.1) -> tuple[nn.BatchNorm2d, BatchNorm2d]:
    """PyTorch's in float64, and ours, with the same parameters."""
    ours = BatchNorm2d(width, momentum=momentum)
    nn.init.uniform_(ours.weight, 0.5, 2)
    nn.init.normal_(ours.bias)
    theirs = nn.BatchNorm2d(width, momentum=momentum).double()
    theirs.load_state_dict(ours.state_dict())
    return theirs, ours


def everything(module: nn.BatchNorm2d, images: Tensor, grads: Tensor) -> dict[str, Tensor]:
    """What two training steps leave behind."""
    found: dict[str, Tensor] = {}
    for step in range(2):
        x = images.detach().clone().requires_grad_()
        out = module(x)
        found[f"out{step}"] = out.detach()
        found[f"x{step}"], found[f"weight{step}"], found[f"bias{step}"] = torch.autograd.grad(
            out, (x, module.weight, module.bias), grads
        )
    return {**found, **{f"state {name}": value for name, value in module.state_dict().items()}}


@few(200)
@given(
    width=st.integers(1, 80),
    images=st.integers(2, 6),
    sides=st.tuples(st.integers(4, 12), st.integers(4, 12)),
    seed=st.integers(0, 99),
    momentum=st.sampled_from([0.1, None]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_it_is_batch_norm(
    width: int, images: int, sides: tuple[int, int], seed: int, momentum: float | None, dtype: torch.dtype
) -> None:
    """Maps of bfloat16 are rounded once on their way forward, three times back; all sums are taken in float32."""
    torch.manual_seed(seed)
    theirs, ours = pair(width, momentum)
    x, grads = ((3 * torch.randn(images, width, *sides) + 1).to(dtype).contiguous(memory_format=LAST) for _ in range(2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batchnorm, "_SMALL", 0)
        found = everything(ours, x, grads)
    wanted = everything(theirs, x.double(), grads.double())
    for name, value in wanted.items():
        error = (found[name].double() - value.double()).abs().max()
        largest = max(1.0, float(value.abs().max()))
        rounded = 2**-7 * largest if dtype == torch.bfloat16 and name.startswith(("out", "x")) else 0.0
        scale = largest * (images * sides[0] * sides[1]) ** 0.5
        assert error <= 2e-5 * scale + rounded, (name, error, scale)


@pytest.mark.parametrize(
    ("width", "factor", "of_bfloat16"),
    [(4, 16, 16), (6, 16, 16), (12, 8, 8), (16, 4, 1), (24, 4, 4), (32, 1, 1), (40, 2, 2), (48, 1, 1), (56, 2, 1),
     (72, 1, 1)],
)  # fmt: skip
def test_what_is_folded(width: int, factor: int, of_bfloat16: int) -> None:
    shape = torch.Size((256, width, 16, 16))
    assert (fold(shape), fold(shape, torch.bfloat16)) == (factor, of_bfloat16)


def test_small_maps_and_odd_pixels_are_left_alone() -> None:
    assert fold(torch.Size((8, 4, 8, 8))) == 1
    assert fold(torch.Size((255, 12, 31, 31))) == 1


def test_folding_is_what_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    """Float32 and bfloat16 maps on a CPU that are channels_last, in training; nothing else."""
    taken: list[str] = []
    folded = batchnorm._Folded.apply
    monkeypatch.setattr(batchnorm._Folded, "apply", lambda *args: taken.append("folded") or folded(*args))
    module, images = BatchNorm2d(4), torch.randn(64, 4, 32, 32)
    module(images)
    module.eval()(images.contiguous(memory_format=LAST))
    module.train().double()(images.double().contiguous(memory_format=LAST))
    module.float()
    assert taken == []
    module(images.contiguous(memory_format=LAST))
    module(images.bfloat16().contiguous(memory_format=LAST))
    assert taken == ["folded", "folded"]


def test_a_gradient_of_any_layout_is_taken() -> None:
    theirs, ours = pair(4)
    images, grads = torch.randn(64, 4, 32, 32).contiguous(memory_format=LAST), torch.randn(64, 4, 32, 32)
    found, wanted = everything(ours, images, grads), everything(theirs, images.double(), grads.double())
    torch.testing.assert_close(found["x0"].double(), wanted["x0"], rtol=1e-4, atol=1e-4)
