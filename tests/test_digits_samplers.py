"""The comparison of samplers by real training, with the smallest of settings."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def benchmark():
    file = Path(__file__).parent.parent / "benchmarks" / "digits_samplers.py"
    spec = importlib.util.spec_from_file_location("benchmark_digits", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_it_trains(benchmark, capsys):
    options = "--budget 20000 --samplers pareto,random --seeds 1 --trials 2 --epochs 1"
    benchmark.main(options.split())
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[:2]] == ["seed 0 pareto", "seed 0 random"]
    for line in lines[2:]:
        assert "epochs 2 a run; infeasible trainings 0, duplicate trainings 0" in line
        assert float(re.search(r"hypervolume: ([\d.]+)", line)[1]) > 0
