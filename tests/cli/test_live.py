"""The live view, frame by frame; `test_run` sees it in a terminal."""

from __future__ import annotations

import io
import random

import pytest
from commands import TINY
from rich.console import Console

from archsearch import Budget
from archsearch.cli.live import Lines, Live
from archsearch.space.reader import parse_space
from archsearch.study.observers import Candidate, Counts
from archsearch.study.records import Draw, Record


@pytest.fixture
def candidate() -> Candidate:
    arch = parse_space(TINY, "tiny").random(random.Random(0), (1, 8, 8), 10)
    return Candidate(arch, Budget(max_params=1e6).check(arch.cost), Draw({}, {}))


def record_of(candidate: Candidate, state: str) -> Record:
    arch, accuracy = candidate.arch, None if state == "failed" else 0.75
    size = arch.cost.size_bytes("fp32")
    return Record(arch.id, accuracy, arch.cost.params, size, arch.cost.macs, 1, 1, 0.5, 0, 0, arch.summary, state)


def frame(view: Live) -> str:
    """What a wide terminal shows."""
    out = io.StringIO()
    Console(file=out, width=200).print(view.render())
    return out.getvalue()


def test_each_frame_says_what_is_known(candidate: Candidate) -> None:
    view, name = Live(4, 1), candidate.arch.id
    view.started([], Counts())
    assert "trained 0 of 4   failed 0   time left: unknown" in frame(view)
    assert "now: drawing" in frame(view)
    view.checked(Counts(checked=9, over_budget=7, broke={"max_params": 7}), None)
    assert "checked 9   over budget 7 (max_params 7)" in frame(view)
    view.training(candidate)
    assert f"now: {name}  {candidate.arch.cost.params:,} params  {candidate.arch.summary}\n" in frame(view)
    view.epoch(candidate, 1, 0.5, {})
    assert "  epoch 1/1  50.00%" in frame(view)
    record = record_of(candidate, "complete")
    view.finished(record, [record], Counts(checked=9, over_budget=7, trained=1))
    last = frame(view)
    assert "trained 1 of 4   failed 0   about " in last
    assert "now: drawing" in last
    assert [name, "75.00%"] == last[last.index("Pareto front") :].splitlines()[2].split()[:2]


def test_no_more_time_is_promised_than_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("archsearch.cli.live.time.monotonic", lambda: now)
    view = Lines(1_000_000, 1, timeout=1200.0)
    view.started([], Counts())
    assert view.left(Counts()) == "about 20 min 00 s left"
    now = 700.0
    assert view.left(Counts(trained=1)) == "about 10 min 00 s left"
    assert view.left(Counts(trained=900_000)) == "about 1 min 07 s left"
    now = 2000.0
    assert view.left(Counts(trained=1)) == "time is up, the last candidates are finishing"


def test_a_lost_and_a_failed_candidate_are_trained_no_more(
    candidate: Candidate, capsys: pytest.CaptureFixture[str]
) -> None:
    view = Live(4, 1)
    for end in (
        lambda: view.lost(candidate.arch.id, "the worker died"),
        lambda: view.finished(record_of(candidate, "failed"), [], Counts(failed=1)),
    ):
        view.training(candidate)
        end()
        assert "now: drawing" in frame(view)
        assert candidate.arch.id in capsys.readouterr().out
    assert "failed 1" in frame(view)
