"""Finished candidates as tables: columns, order, types, and the front."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archsearch.report import tables
from archsearch.report.files import write_csv
from archsearch.report.tables import front_table, rejects_table, retrained_table, trials_table
from archsearch.study.records import Record, Reject, Retrained, front

BASE = ["arch", "val_accuracy", "params", "size_bytes", "macs", "peak_activation_bytes", "epochs", "train_seconds",
        "trial", "seed", "summary"]  # fmt: skip

USAGE = ["images_per_second", "data_seconds", "step_seconds", "eval_seconds", "overhead_seconds", "peak_memory_bytes"]


def row(trial: int, accuracy: float | None, params: int, state: str = "complete") -> Record:
    return Record(f"{trial:012x}", accuracy, params, 4 * params, 10 * params, 64, 3, 0.5, trial, 0, "s", state)


def test_the_front_is_sorted_by_size_and_holds_no_beaten_one() -> None:
    rows = [row(0, 0.9, 300), row(1, 0.8, 100), row(2, 0.85, 400), row(3, 0.8, 120), row(4, 0.95, 500)]
    assert [r.trial for r in front(rows)] == [1, 0, 4]


@pytest.mark.parametrize("state", ["stopped", "failed", "reference"])
def test_only_complete_ones_are_on_the_front(state: str) -> None:
    rows = [row(0, 0.5, 300), row(1, None if state == "failed" else 0.9, 100, state)]
    assert [r.trial for r in front(rows)] == [0]


def test_an_accuracy_of_nothing_is_one() -> None:
    assert [r.trial for r in front([row(0, 0.0, 10), row(1, 0.1, 20)])] == [0, 1]


points = st.lists(st.tuples(st.integers(0, 8), st.integers(1, 9)), max_size=25)


@given(points)
def test_the_front_is_what_the_definition_says(points: list[tuple[int, int]]) -> None:
    rows = [row(i, accuracy / 8, params) for i, (accuracy, params) in enumerate(points)]
    best = {
        (r.val_accuracy, r.params)
        for r in rows
        if not any(
            o.params <= r.params and o.val_accuracy >= r.val_accuracy
            and (o.params, o.val_accuracy) != (r.params, r.val_accuracy)
            for o in rows
        )
    }  # fmt: skip
    found = front(rows)
    assert {(r.val_accuracy, r.params) for r in found} == best
    assert [r.params for r in found] == sorted(r.params for r in found)


def test_columns_and_types() -> None:
    rows = [row(0, 0.9, 300), row(1, None, 100, "failed")]
    assert list(front_table(rows).columns) == BASE
    trials = trials_table(rows)
    assert list(trials.columns) == [*BASE, "state", "reason", *USAGE]
    assert list(trials.state) == ["complete", "failed"]
    assert list(trials.params) == [300, 100]
    assert trials.val_accuracy[0] == 0.9
    assert math.isnan(trials.val_accuracy[1])


def test_what_a_training_measured_of_itself_has_columns_and_may_be_unknown() -> None:
    known = replace(row(0, 0.9, 300), usage={"images_per_second": 1234.5, "peak_memory_bytes": 10**9})
    trials = trials_table([known, row(1, 0.8, 100)])
    assert trials.images_per_second[0] == 1234.5
    assert trials.peak_memory_bytes[0] == 10**9
    assert trials.step_seconds.isna().all()
    assert trials.images_per_second.isna()[1]


def test_shares_that_were_taken_have_a_column_where_there_are_any() -> None:
    begun = replace(row(1, 0.6, 20), usage={"init_share": 0.25})
    assert "init_share" not in trials_table([row(0, 0.5, 10)])
    found = trials_table([row(0, 0.5, 10), begun])
    assert list(found)[-1] == "init_share"
    assert found["init_share"].tolist()[1] == 0.25
    assert math.isnan(found["init_share"].tolist()[0])


def test_a_lineage_has_columns_where_there_is_one() -> None:
    born = replace(row(1, 0.6, 20), usage={"init_share": 0.25, "parent": 0, "lineage_epochs": 6.5, "effort": 1.3})
    found = trials_table([row(0, 0.5, 10), born])
    assert list(found)[-3:] == ["init_share", "parent", "lineage_epochs"]
    assert found["parent"].dtype == "Int64"
    assert found["parent"].tolist()[1] == 0
    assert found["lineage_epochs"].tolist()[1] == 6.5


def scored(trial: int, score: float, accuracy: float, params: int, state: str = "complete") -> Record:
    return replace(row(trial, accuracy, params, state), val_score=score)


def test_the_front_is_by_the_score_where_there_is_another_than_accuracy() -> None:
    rows = [scored(0, 0.5, 0.9, 100), scored(1, 0.4, 0.95, 200), scored(2, 0.6, 0.1, 300), row(3, None, 50, "failed")]
    assert [r.trial for r in front(rows)] == [0, 2]
    assert [r.values for r in rows] == [[0.5, 100.0], [0.4, 200.0], [0.6, 300.0], None]
    table, trials = front_table(rows), trials_table(rows)
    assert list(table) == [*BASE, "val_score"]
    assert list(table.val_score) == [0.5, 0.6]
    assert list(table.val_accuracy) == [0.9, 0.1]
    assert list(trials) == [*BASE, "state", "reason", *USAGE, "val_score"]
    assert math.isnan(trials.val_score[3])


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(0, 1), st.integers(1, 9)), max_size=15))
def test_accuracies_beside_a_score_change_no_front(points: list[tuple[float, float, int]]) -> None:
    rows = [scored(i, score, accuracy, params) for i, (score, accuracy, params) in enumerate(points)]
    plain = [row(i, score, params) for i, (score, _, params) in enumerate(points)]
    assert [r.trial for r in front(rows)] == [r.trial for r in front(plain)]


def again(seed: int, accuracy: float, score: float | None) -> Retrained:
    return Retrained("0" * 12, seed, accuracy, None, 9, 1.0, 100, "cpu", "", {}, score)


def test_scores_of_retrainings_stand_behind_their_accuracies() -> None:
    rows = [scored(0, 0.5, 0.9, 100), scored(1, 0.6, 0.8, 200)]
    found = front_table(rows, [again(0, 0.7, 0.2), again(1, 0.8, 0.4)])
    assert list(found)[-5:] == [
        "test_accuracy_mean", "test_accuracy_std", "test_seeds", "test_score_mean", "test_score_std",
    ]  # fmt: skip
    assert found.test_score_mean[0] == pytest.approx(0.3)
    assert found.test_score_std[0] == pytest.approx(0.02**0.5)
    assert math.isnan(found.test_score_mean[1])
    assert list(retrained_table([again(0, 0.7, 0.2)]))[-2:] == ["recipe", "test_score"]
    assert "test_score" not in retrained_table([again(0, 0.7, None)])
    assert "test_score_mean" not in front_table(rows, [again(0, 0.7, None)])
    assert tables.tested([again(0, 0.7, 0.2), again(1, 0.7, None)])["0" * 12].score_mean is None  # not defined for all


def test_empty_tables_have_their_columns(tmp_path: Path) -> None:
    for name, frame in (("a", front_table([])), ("b", trials_table([])), ("c", rejects_table([]))):
        write_csv(tmp_path / name, frame)
        assert list(pd.read_csv(tmp_path / name).columns) == list(frame.columns)
        assert len(frame) == 0


def test_accuracies_are_written_to_the_last_digit(tmp_path: Path) -> None:
    accuracy = 1 / 3
    write_csv(tmp_path / "t.csv", trials_table([row(0, accuracy, 7), row(1, None, 8, "failed")]))
    first, second = [line.split(",")[1] for line in (tmp_path / "t.csv").read_text().splitlines()[1:]]
    assert float(first) == accuracy
    assert second == ""


def test_whole_numbers_stay_whole_beside_empty_ones(tmp_path: Path) -> None:
    rejects = [Reject("0" * 12, 10**10, 4, 5, "params>=1"), Reject("", None, None, None, "no network: too small")]
    write_csv(tmp_path / "r.csv", rejects_table(rejects))
    assert (tmp_path / "r.csv").read_text() == (
        "arch,params,size_bytes,macs,broke\n000000000000,10000000000,4,5,params>=1\n,,,,no network: too small\n"
    )
