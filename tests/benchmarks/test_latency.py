"""The benchmark's figures, by a formula in place of a clock."""

from __future__ import annotations

from by_path import benchmark_module

from archsearch.network.arch import Arch

latency = benchmark_module("latency")


def milliseconds(arch: Arch) -> float:
    return arch.cost.macs / 1e7 + 0.02 * sum(stage.depth for stage in arch.stages) + arch.cost.peak / 1e6


def test_figures_of_networks_that_were_not_learnt_from() -> None:
    learnt, fresh = latency.chosen("compact", 32, 20, 20)
    assert len({arch.cost.parts for arch in (*learnt, *fresh)}) == 40
    found = latency.figures(learnt, [*map(milliseconds, learnt)], fresh, [*map(milliseconds, fresh)], "litert")
    assert found["spearman"] > 0.95
    assert found["median_error"] < found["macs_median_error"]
    row = {"space": "compact", "pixels": 32, "runtime": "litert", **found}
    assert latency.table([row]).splitlines()[2].startswith("| compact | 32 | LiteRT | 0.9")


def test_sizes_are_those_that_are_asked_for() -> None:
    learnt, _ = latency.chosen("photos", 96, 3, 0)
    assert {arch.input_shape for arch in learnt} == {(3, 96, 96)}


def test_the_fastest_pass_counts() -> None:
    archs, _ = latency.chosen("compact", 32, 3, 0)
    slow, fast = ((lambda arch, again, by=by: by * milliseconds(arch)) for by in (1.5, 1.0))
    assert latency.fastest(archs, [slow, fast]) == (archs, [*map(milliseconds, archs)])
