"""Milliseconds in the tables, in the page and in the dashboard's note."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd

from archsearch._utils.scores import Score
from archsearch.network.budget import Budget
from archsearch.report.dashboard import _row
from archsearch.report.files import read_rejects, write_csv
from archsearch.report.html.contents import PageContents
from archsearch.report.html.words import fast_claim, fast_rows, front_rows
from archsearch.report.html.write import render
from archsearch.report.tables import front_table, rejects_table
from archsearch.study.records import Record, Reject


def record(trial: int, accuracy: float, params: int, ms: float) -> Record:
    more = {"latency_ms": ms}
    return Record(f"{trial:012x}", accuracy, params, 4 * params, 10 * params, 8, 1, 1.0, trial, 0, "net", more=more)


HISTORY = [record(0, 0.80, 100, 2.0), record(1, 0.90, 200, 1.0), record(2, 0.95, 300, 3.0), record(3, 0.85, 400, 4.0)]
CONTENTS = PageContents("timed", {"budget": Budget(max_latency=5).to_dict()}, HISTORY)


def test_the_front_by_milliseconds_is_another_than_by_size() -> None:
    assert [one.trial for one in CONTENTS.front] == [0, 1, 2]
    assert [one.trial for one in CONTENTS.fast_front] == [1, 2]
    assert [row["ms"] for row in fast_rows(CONTENTS)] == ["1 ms", "3 ms"]
    assert "(ONNX Runtime, fp32, 1 thread)" in fast_claim(CONTENTS)


def test_without_milliseconds_there_is_no_such_front() -> None:
    plain = replace(CONTENTS, about={}, history=[replace(one, more={}) for one in HISTORY])
    assert plain.fast_front == []
    assert {row["ms"] for row in front_rows(plain)} == {"–"}
    assert "one image" not in render(plain)
    assert "one image" not in _row(1, plain.history[0], None, Score())


def test_the_page_and_the_note_say_them() -> None:
    page = render(CONTENTS)
    assert "The front by milliseconds" in page
    assert page.count('<td data-name="one image">1 ms</td>') == 2
    assert _row(1, HISTORY[0], None, Score())["one image"] == "2 ms"


def test_tables_have_them() -> None:
    assert front_table(HISTORY)["latency_ms"].tolist() == [2.0, 1.0, 3.0]


def test_rejects_are_read_again(tmp_path: Path) -> None:
    rejects = [
        Reject("a", 1, 2, 3, "latency_ms>=5", 7.25),
        Reject("b", 1, 2, 3, "latency_ms>=5 (predicted 7.31)"),
        Reject("c", 1, 2, 3, "latency_ms>=5", float("inf")),
    ]
    write_csv(tmp_path / "rejected.csv", rejects_table(rejects))
    assert read_rejects(tmp_path) == rejects
    write_csv(tmp_path / "rejected.csv", rejects_table(rejects[1:2]))
    assert "latency_ms" not in pd.read_csv(tmp_path / "rejected.csv")
    assert read_rejects(tmp_path) == rejects[1:2]
