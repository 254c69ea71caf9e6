"""A run as a library call does what the command does."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from archsearch import Budget
from archsearch.data import load_dataset
from archsearch.errors import InputError, StudyError
from archsearch.network.recipe import Recipe
from archsearch.study.observers import Counts, Observer
from archsearch.study.records import Record
from archsearch.workers.run import RunOptions, configure, run

BUDGET = Budget(max_params=20_000)


class Listener(Observer):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.notes: list[str] = []
        self.records: list[Record] = []

    def prepared(self, words: str, about: Mapping[str, Any]) -> None:
        self.words.append(words)

    def noted(self, line: str) -> None:
        self.notes.append(line)

    def finished(self, record: Record, history: Sequence[Record], counts: Counts) -> None:
        self.records.append(record)


def test_a_call_leaves_what_the_command_leaves(tmp_path: Path) -> None:
    dataset, heard = load_dataset("digits"), Listener()
    config = configure(BUDGET, dataset, recipe=Recipe(epochs=1))
    options = RunOptions(tmp_path / "s", trials=2)
    result = run(config, options, [heard], dataset)
    assert result.reason == "trials"
    assert [record.trial for record in heard.records] == [0, 1]
    assert heard.words == [
        "digits, 1,198 train and 299 validation images of 1x8x8, 10 classes; space resnin, under 20,000 parameters; cpu"
    ]
    left = {path.name for path in (tmp_path / "s").iterdir()}
    assert {"pareto.csv", "trials.csv", "rejected.csv", "run.json", "study.db", "report.html", "pareto.png"} <= left
    assert list(pd.read_csv(tmp_path / "s" / "pareto.csv")["arch"]) == list(result.front["arch"])
    about = json.loads((tmp_path / "s" / "run.json").read_text())
    assert (about["recipe"]["epochs"], about["limit_notes"], heard.notes) == (1, [], [])
    with pytest.raises(StudyError, match="exists: add --resume"):
        run(config, options)
    again = run(config, replace(options, trials=3, resume=True))
    assert again.counts.trained == 3
    other = configure(Budget(max_params=30_000), dataset, recipe=Recipe(epochs=1))
    with pytest.raises(StudyError, match="budget: max_params was 20000, is 30000"):
        run(other, replace(options, trials=4, resume=True))


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, float("nan")])
def test_a_share_outside_of_its_range_is_bad_input(share: float) -> None:
    with pytest.raises(InputError, match="must lie between 0 and 1"):
        configure(BUDGET, replace(load_dataset("digits"), share=share))


def test_a_limit_that_lies_idle_is_noted(tmp_path: Path) -> None:
    dataset, heard = load_dataset("digits"), Listener()
    config = configure(Budget(max_params=1e6, max_macs=100e3), dataset, space="resnin", recipe=Recipe(epochs=1))
    run(config, RunOptions(tmp_path / "s", trials=1), [heard], dataset)
    assert json.loads((tmp_path / "s" / "run.json").read_text())["limit_notes"] == heard.notes
    assert [note.partition(":")[0] for note in heard.notes] == [
        "the limit of 100k MACs binds, 99% of --max-params lies idle"
    ]


@pytest.mark.parametrize(("side", "space"), [(8, "resnin"), (32, "resnin"), (33, "photos"), (96, "photos")])
def test_the_space_follows_the_images(side: int, space: str) -> None:
    dataset = load_dataset("digits", image_size=side)
    assert configure(BUDGET, dataset).space_name == space
    assert configure(BUDGET, dataset, space="nin").space_name == "nin"
