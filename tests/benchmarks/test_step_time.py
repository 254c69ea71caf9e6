"""benchmarks/step_time.py, which a GPU's few minutes are spent on: its steps are tried here, on the CPU."""

from __future__ import annotations

import pytest
from by_path import benchmark_module

step_time = benchmark_module("step_time")


@pytest.mark.parametrize("optimiser", ["sgd", "muon"])
def test_a_step_is_timed(optimiser: str, capsys: pytest.CaptureFixture[str]) -> None:
    step_time.measure(step_time.Case("75k", optimiser, batch=4, side=16, graph=False), "cpu", 1)
    line = capsys.readouterr().out
    assert line.startswith(f"75k (74,682 params, 28M MACs) {optimiser}, batch 4, 16 px: step ")
