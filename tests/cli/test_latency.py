"""`--max-latency`: a search whose candidates are measured before they are trained, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from commands import Answer

FAST = """summary = "narrow and wide"
[stem]
type = "conv"
width = 4
[[stage]]
block = "basic"
width = { choice = [8, 12, 256] }
stride = 2
[head]
type = "linear"
"""
MEASURE = "wc -c < \"$1\" | awk '{ print $1 / 1000 }'\n"
"""A thousand bytes of a file take a millisecond."""
RUN = ["run", "--space", "fast.toml", "--trials", "2", "--epochs", "1", "--device", "cpu"]
BOARD = ["--max-latency", "100ms", "--measure-with", "sh measure.sh {file}"]
STUDY = "digits-fast-latency100ms-elsewhere"


@pytest.fixture
def work(work: Path) -> Path:
    """With a space of three networks and a board to measure them on."""
    (work / "fast.toml").write_text(FAST)
    (work / "measure.sh").write_text(MEASURE)
    return work


def test_a_search_under_a_limit_on_milliseconds(command: Callable[..., Answer], work: Path) -> None:
    answer = command(*RUN, *BOARD)
    assert (answer.status, answer.err) == (0, "")
    words = "ONNX Runtime, fp32, 1 thread, by sh measure.sh {file}"
    assert f"under 100 ms ({words})" in answer.out
    assert f"measuring up to 3 networks before the first training ({words})" in answer.out
    assert "3 networks measured in" in answer.out
    folder = work / "results" / STUDY
    for name in ("pareto.csv", "trials.csv"):
        table = pd.read_csv(folder / name)
        assert len(table)
        assert table["latency_ms"].between(1, 100, inclusive="neither").all()
    rejected = pd.read_csv(folder / "rejected.csv")
    assert rejected["broke"].tolist() == ["latency_ms>=100"]
    assert rejected["latency_ms"].iloc[0] > 1000
    run = json.loads((folder / "run.json").read_text())
    assert run["budget"]["timing"]["command"] == "sh measure.sh {file}"
    assert run["counts"]["broke"] == {"latency_ms": 1}
    page = (folder / "report.html").read_text()
    assert "The front by milliseconds" in page
    assert "milliseconds for one image" in page  # what broke the limit

    again = command(*RUN, *BOARD, "--trials", "3", "--resume")
    assert again.status == 0
    assert "measuring" not in again.out  # what was measured is known
    assert "nothing new is left in this space" in again.out
    other = command(*RUN, *BOARD, "--threads", "2", "--resume", "--study", STUDY)
    assert other.status == 2
    assert "budget: timing: threads was 1, is 2" in other.error

    arch = pd.read_csv(folder / "pareto.csv")["arch"].iloc[0]
    target = str(folder / "archs" / f"{arch}.toml")
    checked = command("check", target, *BOARD, "--json")
    value = pd.read_csv(folder / "pareto.csv")["latency_ms"].iloc[0]
    assert json.loads(checked.out)["limits"] == [{"name": "latency_ms", "limit": 100, "value": value, "ok": True}]
    slow = command("check", target, "--max-latency", "1ms", *BOARD[2:])
    assert slow.status == 1
    assert f"latency_ms {value:.3g} ms is not under 1 ms" in slow.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--runtime", "litert"], "--runtime goes with --max-latency, such as --max-latency 5ms"),
        (["--max-latency", "5ms", "--measure-with", "true"], "says no {file}"),
        (["--max-latency", "5ms", "--runtime", "executorch", "--precision", "fp16"], "written at fp32, int8, not at"),
        (["--max-latency", "5 parsecs"], "is no duration: write a positive number such as 5ms, 800us or 0.1s"),
    ],
)
def test_what_is_refused_before_anything_is_loaded(
    command: Callable[..., Answer], work: Path, words: list[str], said: str
) -> None:
    answer = command(*RUN, *words)
    assert answer.status == 2
    assert said in answer.error
    assert not (work / "results").exists()


@pytest.mark.slow
def test_a_search_by_this_machines_own_clock(command: Callable[..., Answer], work: Path) -> None:
    """What is trained was measured and is under the limit; on a busy machine nothing is trained, and it says why."""
    answer = command(*RUN, "--max-latency", "2ms", "--timeout", "3m")
    table = pd.read_csv(work / "results" / "digits-fast-latency2ms" / "trials.csv")
    if answer.status == 0:
        assert (table["latency_ms"] < 2).all()
        assert len(table) > 0
    else:
        assert "what is not measured is not trained" in answer.out
        assert len(table) == 0
