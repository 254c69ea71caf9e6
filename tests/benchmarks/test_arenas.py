"""benchmarks/arenas.py, and the formula of RAM against what tflite-micro said of real files."""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path
from typing import Any

import pytest
from by_path import benchmark_module

from archsearch.network.ram import ram_bytes

arenas = benchmark_module("arenas")


def options(**changes: Any) -> argparse.Namespace:
    known = {"micro": "python", "spaces": "lenet,nin", "first": 0, "draws": 2, "most": 1e6, "minutes": 5.0}
    return argparse.Namespace(**known | changes)


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(arenas, "FILES", tmp_path / "arenas.csv")
    return tmp_path / "arenas.csv"


def test_no_committed_arena_is_above_the_formula(capsys: pytest.CaptureFixture[str]) -> None:
    assert arenas.verify(options()) == 0
    lines = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert len(lines) >= 8
    for space, files, _, least, *_ in lines:
        assert int(files) > 0, space
        assert float(least.rstrip("%")) >= 0, space


def test_what_is_there_is_not_measured_again(
    table: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def arena(row: Any, python: str) -> int:
        asked.append(row[:2])
        if row.number == 1:
            raise subprocess.CalledProcessError(1, [python, "micro.py"])
        return ram_bytes(arenas.drawn(row.space, row.number).cost, row.per_channel) - 16

    monkeypatch.setattr(arenas, "arena", arena)
    for _ in range(2):
        assert arenas.measure(options()) == 0
    assert len(asked) == len(set(asked)) == len(arenas.rows())
    failed = [row for row in arenas.rows() if row.number == 1]
    assert all(row.arena == 0 and "non-zero exit status 1" in row.why for row in failed)
    capsys.readouterr()
    assert arenas.verify(options()) == 0
    assert "| `lenet` | 1 | 1 | " in capsys.readouterr().out


@pytest.mark.parametrize("factor", [0.9, 1.01])
def test_a_figure_that_is_below_or_far_above_is_an_error(
    table: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], factor: float
) -> None:
    def arena(row: Any, _: str) -> int:
        return int(factor * ram_bytes(arenas.drawn(row.space, row.number).cost, row.per_channel))

    monkeypatch.setattr(arenas, "arena", arena)
    arenas.measure(options(draws=1, spaces="lenet"))
    assert arenas.verify(options()) == 1
    assert "Row(space='lenet', number=0" in capsys.readouterr().err
