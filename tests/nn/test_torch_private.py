"""torch's private parts stand in one module, and each has a plain way that says the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import archsearch
from archsearch.nn import profile, torch_private, trace
from archsearch.nn.torch_private import call_specs, foreach, memory_of, written_by
from archsearch.training.muon import Muon, kernels
from archsearch.training.optim import Average

PRIVATE = re.compile(r"\btorch(\.\w+)*\._[a-z]|\._cdata|\._schema|_pytree")
FUSED = ("add", "add_", "mul", "mul_", "sub_", "norm", "copy_", "lerp_")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Conv2d(4, 6, 3, bias=False),
        nn.BatchNorm2d(6), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3),
    )  # fmt: skip


def without_fused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FUSED:
        monkeypatch.delattr(torch, f"_foreach_{name}")


def moved() -> list[torch.Tensor]:
    """Weights after three steps of Muon, and their average."""
    module = network()
    turned = kernels(module)
    rest = [part for part in module.parameters() if all(part is not one for one in turned)]
    groups = [{"params": turned, "orthogonal": True}, {"params": rest, "weight_decay": 0.1}]
    optimiser, average = Muon(groups, lr=0.1, momentum=0.9), Average(module, 10)
    for _ in range(3):
        optimiser.zero_grad()
        module(torch.ones(2, 1, 8, 8).normal_()).square().sum().backward()
        optimiser.step()
        average.update()
    return [part.detach() for part in (*module.parameters(), *average.module.parameters())]


def test_steps_without_fused_kernels_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = moved()
    without_fused(monkeypatch)
    for one, two in zip(moved(), wanted, strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize(
    ("name", "others", "options"),
    [
        ("add", ([torch.ones(2), torch.ones(3)],), {"alpha": 2.0}),
        ("mul_", (torch.tensor(0.5),), {}),
        ("norm", (), {}),
        ("lerp_", ((torch.ones(2), torch.ones(3)), 0.25), {}),
    ],
)
def test_methods_of_many_tensors(
    monkeypatch: pytest.MonkeyPatch, name: str, others: tuple[Any, ...], options: dict[str, Any]
) -> None:
    def found() -> list[torch.Tensor]:
        return foreach(name, [torch.arange(2.0), torch.arange(3.0)], *others, **options)

    wanted = found()
    without_fused(monkeypatch)
    torch.testing.assert_close(found(), wanted)


def measured() -> profile.Traced:
    return profile.measure_module(network, "network", (1, 8, 8))


def test_without_schemas_and_addresses_a_trace_counts_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = measured()
    assert wanted.traced

    def plainly(func: Any, args: Any, kwargs: Any, outputs: Any) -> list[torch.Tensor]:
        return written_by(object(), args, kwargs, outputs)

    monkeypatch.setattr(trace, "written_by", plainly)
    monkeypatch.setattr(trace, "memory_of", lambda tensor: id(tensor.untyped_storage()))
    assert measured() == wanted


def test_without_a_dispatch_mode_the_state_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = measured()
    monkeypatch.setattr(profile, "CAN_TRACE", False)
    found = measured()
    assert not found.traced
    assert found.cost.params == wanted.cost.params
    assert found.note == f"torch {torch.__version__} cannot trace its forward pass"


def test_views_share_their_memory() -> None:
    for device in ("cpu", "meta"):
        one, other = torch.zeros(4, 4, device=device), torch.zeros(4, 4, device=device)
        assert memory_of(one) == memory_of(one.view(16)) == memory_of(one[1:])
        assert memory_of(one) != memory_of(other)


def test_call_specs_are_those_that_torch_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = call_specs()
    monkeypatch.delattr(torch.utils._pytree, "treespec_dumps")
    assert call_specs() == wanted


def test_private_names_stand_in_one_module() -> None:
    root = Path(archsearch.__file__).parent
    # A module that the forkserver is to import and that is missing is passed over; the others are names in files.
    said = re.compile(r'"torch\._(dynamo|utils|tensor)"')
    texts = {str(path): said.sub("", path.read_text()) for path in root.rglob("*.py")}
    assert [name for name, text in texts.items() if PRIVATE.search(text)] == [torch_private.__file__]
