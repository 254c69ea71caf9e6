"""The comparison of samplers by real training, with the smallest of settings."""

import re

import pytest
from by_path import benchmark_module


@pytest.fixture(scope="module")
def benchmark():
    return benchmark_module("digits_samplers")


def test_it_trains(benchmark, capsys):
    options = "--budget 20000 --samplers pareto,random --seeds 1 --trials 2 --epochs 1"
    benchmark.main(options.split())
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[:2]] == ["seed 0 pareto", "seed 0 random"]
    for line in lines[2:]:
        assert "epochs 2 a run; infeasible trainings 0, duplicate trainings 0" in line
        assert float(re.search(r"hypervolume: ([\d.]+)", line)[1]) > 0
