"""Searches under fire, small enough for CI; docs/scaling.md has the results of the large ones."""

from __future__ import annotations

import pytest
from by_path import benchmark_module


@pytest.mark.slow
@pytest.mark.usefixtures("postgres")
def test_a_storm_on_postgresql_loses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    benchmark_module("faults").main(["storm", "--trials", "16", "--kills", "4", "--restarts", "2", "--joined", "1"])
    assert "16 trained, 16 different" in capsys.readouterr().out


@pytest.mark.slow
def test_kills_at_any_moment_leave_whole_files_and_lose_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    benchmark_module("faults").main(["again", "--trials", "8", "--kills", "4"])
    assert "8 trained, 8 different" in capsys.readouterr().out
