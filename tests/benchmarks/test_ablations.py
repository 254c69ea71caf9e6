"""Every benchmark loads, and those that compare recipes train by each and say what it earned."""

from __future__ import annotations

import pytest
from by_path import benchmark_module
from paths import ROOT

WORDS = ["--dataset", "digits", "--network", "mlp", "--size", "8", "--epochs", "1", "", "lr=0.2"]


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py")))
def test_a_benchmark_loads_and_says_what_it_is(name: str) -> None:
    assert benchmark_module(name).__doc__


@pytest.mark.parametrize(("name", "more"), [("ablations", []), ("robust", ["--images", "100", "--judges", "20"])])
def test_each_recipe_is_trained_and_has_a_line(
    name: str, more: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", [f"{name}.py", *more, *WORDS])
    benchmark_module(name).main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in lines[:2]] == ["seed 0  default", "seed 0  lr=0.2"]
    assert [" default: " in f" {line}" for line in lines[2:]] == [True, False]
    assert all("1 seeds" in line for line in lines[2:])
