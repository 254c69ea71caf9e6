"""The live view, frame by frame; `test_run` sees it in a terminal."""

from __future__ import annotations

import io
import random
from dataclasses import replace

import pytest
from commands import TINY
from rich.console import Console

from archsearch import Budget
from archsearch._utils.scores import Score
from archsearch._utils.units import format_short
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


def test_another_score_is_named_and_written_as_it_is(candidate: Candidate) -> None:
    view = Live(4, 1, score=Score("macro-f1"))
    view.started([], Counts())
    view.training(candidate)
    view.epoch(candidate, 1, 0.5, {"val_accuracy": 0.9})
    assert "  epoch 1/1  0.5000" in frame(view)
    record = replace(record_of(candidate, "complete"), val_score=0.25)
    view.finished(record, [record], Counts(trained=1))
    last = frame(view)
    lines = last[last.index("Pareto front, by macro F1:") :].splitlines()
    assert "val macro F1" in lines[1]
    assert lines[2].split()[:2] == [candidate.arch.id, "0.2500"]
    assert view.describe(record).startswith(" 0.2500 ")
    assert Lines(4, 1).describe(record_of(candidate, "complete")).startswith(" 75.00% ")


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


def test_what_to_expect_is_said_before_the_first_candidate(
    candidate: Candidate, capsys: pytest.CaptureFixture[str]
) -> None:
    view = Lines(24, 20)
    view.prepared("digits", {"dataset": {"name": "x"}, "workers": 2})
    view.started([], Counts())
    view.estimated(candidate.arch, 120.0)
    macs = candidate.arch.cost.macs
    assert capsys.readouterr().out.splitlines()[1:] == [
        f"expected: 2 min 00 s a candidate (measured here on a median one: {format_short(macs)} MACs,"
        f" {format_short(candidate.arch.cost.params)} parameters), 24 min 00 s at most for 24",
        f"to be done sooner: --max-macs {format_short(macs / 2)}, fewer --epochs or --trials,"
        " or a --timeout such as 20m",
    ]
    assert view.left(Counts()) == "about 24 min 00 s left"
    view.training(candidate)
    assert capsys.readouterr().out.startswith(f"training {candidate.arch.id}  {candidate.arch.cost.params:,} params")


def test_a_short_search_is_not_to_be_shortened(candidate: Candidate, capsys: pytest.CaptureFixture[str]) -> None:
    for view, end in ((Lines(4, 5), ""), (Lines(400, 5, timeout=60.0), ", ended after 1 min 00 s")):
        view.estimated(candidate.arch, 4.0)
        view.training(candidate)
        assert capsys.readouterr().out.splitlines()[0].endswith(f"at most for {view.trials}{end}")
        assert not capsys.readouterr().out


def test_an_epoch_is_a_line_after_ten_seconds_of_silence(
    candidate: Candidate, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("archsearch.cli.live.time.monotonic", lambda: now)
    view = Lines(4, 3)
    for now, epoch in ((105.0, 1), (111.0, 2), (115.0, 3)):  # noqa: B007  the clock reads it
        view.epoch(candidate, epoch, 0.5, {})
    assert capsys.readouterr().out == f"{candidate.arch.id}  epoch 2/3  50.00%\n"
