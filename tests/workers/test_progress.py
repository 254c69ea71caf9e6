"""What a library user sees of a search: names, a bar, a short result."""

from __future__ import annotations

import io
import math
import sys
from dataclasses import replace
from xml.etree import ElementTree

import optuna
import pytest

import archsearch
from archsearch import Arch, Budget, search
from archsearch.errors import TrainingFailed
from archsearch.evaluation import Report
from archsearch.space.reader import load_space
from archsearch.study.observers import Counts
from archsearch.workers.local import Result
from archsearch.workers.progress import is_watched

optuna.logging.set_verbosity(optuna.logging.ERROR)
SPACE = load_space("resnin")


def formula(arch: Arch, report: Report) -> float:
    score = 1 - 1 / math.log(arch.cost.params)
    report(1, score)
    return score


def run(progress: bool | None, trials: int = 5, study: optuna.Study | None = None) -> Result:
    calls: list[str] = []

    def evaluate(arch: Arch, report: Report) -> float:
        calls.append(arch.id)
        if len(calls) == 2:
            raise TrainingFailed("no")
        return formula(arch, report)

    return search(
        SPACE, evaluate=evaluate, input_shape=(3, 8, 8), classes=10, budget=Budget(max_params=5e4), trials=trials,
        study=study, progress=progress,
    )  # fmt: skip


def test_dir_shows_what_there_is() -> None:
    shown = [name for name in dir(archsearch) if not name.startswith("__")]
    assert shown == sorted(archsearch.__all__)
    assert {"__version__", "__doc__", "__all__"} <= {*dir(archsearch)}


def test_a_limit_that_lies_idle_is_said_above_the_bar(capsys: pytest.CaptureFixture[str]) -> None:
    budget = Budget(max_params=1e6, max_macs=100e3)
    search(SPACE, evaluate=formula, input_shape=(1, 8, 8), classes=10, budget=budget, trials=2, progress=True)
    assert "archsearch: the limit of 100k MACs binds" in capsys.readouterr().err


def test_a_bar_says_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    found = run(progress=True)
    out, err = capsys.readouterr()
    last = err.rstrip().splitlines()[-1].split("\r")[-1]
    assert out == ""
    assert f"front {len(found.front)}, best {found.front.val_accuracy.iloc[-1]:.4g}, failed 1: 100%" in last
    assert "5/5" in last
    assert f"{found.records[0].arch} of {found.records[0].params:,} parameters" in err


def test_a_bar_counts_the_history(capsys: pytest.CaptureFixture[str]) -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])
    run(progress=False, trials=3, study=study)
    assert capsys.readouterr().err == ""
    run(progress=True, trials=5, study=study)
    assert "3/5" in capsys.readouterr().err.split("\r")[1]


@pytest.mark.parametrize("terminal", [False, True])
def test_by_default_a_bar_where_somebody_looks(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    run(progress=None)
    assert ("5/5" in stream.getvalue()) == terminal


def test_somebody_looks_at_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    assert not is_watched()
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    assert is_watched()
    monkeypatch.delitem(sys.modules, "ipykernel")
    monkeypatch.setattr(sys, "stderr", None)  # a windowed program
    assert not is_watched()


def test_a_result_prints_its_front() -> None:
    found = run(progress=False)
    lines = repr(found).splitlines()
    assert lines[0] == f"Result: 5 trained, 1 failed, ended by trials; front of {len(found.front)}:"
    assert lines[1].split() == ["arch", "val_accuracy", "params", "size_bytes", "summary"]
    assert [line.split()[0] for line in lines[2:]] == list(found.front.arch)


def test_a_result_stays_short() -> None:
    found = run(progress=False, trials=30)
    assert len(found.front) > 12
    assert repr(found).splitlines()[0].endswith(f"front of {len(found.front)}, the last 12:")
    assert len(repr(found)) < 2000
    assert len(repr(found).splitlines()) == 14


def test_a_result_without_a_front() -> None:
    assert repr(Result([], Counts(), "timeout")) == "Result: 0 trained, ended by timeout; front of 0"
    assert Result([], Counts(), "a < b")._repr_html_() == "<p>Result: 0 trained, ended by a &lt; b; front of 0</p>"


def test_a_result_is_a_table_in_notebooks() -> None:
    found = run(progress=False)
    tree = ElementTree.fromstring(f"<div>{found._repr_html_()}</div>")
    assert tree.findtext("p") == repr(found).splitlines()[0].removesuffix(":")
    assert [cell.text for cell in tree.iter("th")] == ["arch", "val_accuracy", "params", "size_bytes", "summary"]
    rows = [[cell.text for cell in row.iter("td")] for row in tree.iter("tr")][1:]
    best = found.front.iloc[-1]
    assert [row[0] for row in rows] == list(found.front.arch)
    assert rows[-1][1:4] == [f"{best.val_accuracy:.4f}", f"{best.params:,}", f"{best.size_bytes:,}"]


def test_names_are_no_markup() -> None:
    found = run(progress=False)
    named = replace(found, records=[replace(record, summary="<b>own</b>") for record in found.records])
    assert "<b>" not in named._repr_html_()
    assert "&lt;b&gt;own&lt;/b&gt;" in named._repr_html_()
