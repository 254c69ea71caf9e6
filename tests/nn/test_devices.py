"""Devices: which are here, what they took, and how repeatable they are."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
import torch
from toys import toy

from archsearch.errors import InputError
from archsearch.inference import Runner
from archsearch.network import zoo
from archsearch.nn.devices import Stopwatch, determinism, out_of_memory, peak_memory, resolve_device
from archsearch.retrain.plan import on_test

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "cpu:x", "", "cuda:-3"])
def test_a_device_that_is_none(name: str) -> None:
    with pytest.raises(InputError, match=r"(unknown device|not available)") as caught:
        resolve_device(name)
    assert repr(name) in str(caught.value)
    assert "auto" in str(caught.value)


@pytest.mark.parametrize("name", ["meta", "xpu", "cuda:99"])
def test_a_device_that_is_not_here(name: str) -> None:
    with pytest.raises(InputError, match="is not available here: use auto or cpu"):
        resolve_device(name)


def test_devices_that_are_here(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_device("cpu") == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert resolve_device("auto").type == "cuda"
    assert resolve_device("cuda:0").index == 0
    with pytest.raises(InputError, match="'cuda:1' is not available"):
        resolve_device("cuda:1")


def test_a_stopwatch_adds_up_by_name() -> None:
    watch = Stopwatch(CPU)
    for _ in range(2):
        time.sleep(0.02)
        watch.lap("one")
        time.sleep(0.01)
        watch.lap("two")
        time.sleep(0.05)
        watch.start()
    seconds = watch.seconds()
    assert set(seconds) == {"one", "two"}
    assert 0.04 <= seconds["one"] < 0.14
    assert 0.02 <= seconds["two"] < 0.12


def test_what_is_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60)
    assert out_of_memory(caught.value)
    assert out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not out_of_memory(RuntimeError("shapes differ"))


def test_peak_memory_is_in_bytes() -> None:
    before = peak_memory(CPU)
    block = torch.ones(before // 4 + 10_000_000)
    assert peak_memory(CPU) >= block.nbytes > before / 2


def test_determinism_is_given_back_after_an_error() -> None:
    def fail() -> None:
        with determinism(True, CPU):
            assert torch.are_deterministic_algorithms_enabled()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not torch.are_deterministic_algorithms_enabled()


def test_what_is_tested_is_computed_in_whole_float32() -> None:
    seen: list[bool] = []

    class Look(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(torch.backends.cudnn.allow_tf32)
            return torch.zeros(len(images), 10)

    before = torch.backends.cudnn.allow_tf32
    dataset = toy(40)
    on_test(Look(), replace(dataset, read_test=lambda: (dataset.images, dataset.labels)), CPU)
    Runner(zoo.load("lenet5").arch, {}, Look())(torch.zeros(3, 1, 28, 28, dtype=torch.uint8))
    assert seen == [False, False]
    assert torch.backends.cudnn.allow_tf32 == before
