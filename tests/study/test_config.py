"""What a study carries: every format that was ever written is read, and written as the newest."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from studies import config

from archsearch.errors import StudyError
from archsearch.network.budget import Budget
from archsearch.network.timing import Timing
from archsearch.study.config import FORMAT, Known, StudyConfig
from archsearch.study.differences import differences

CARRIED = json.loads((Path(__file__).parent / "study_configs.json").read_text())


@pytest.mark.parametrize("carried", [one["archsearch"] for one in CARRIED], ids=[one["study"] for one in CARRIED])
def test_every_format_is_read(carried: dict[str, Any]) -> None:
    found = StudyConfig.from_json(carried)
    assert found.space.name == carried["space"]["name"]
    assert found.input_shape == tuple(carried["input"])
    assert found.data.validation == carried["dataset"].get("validation")
    limits = {name: limit for name, limit in carried["budget"].items() if limit is not None}
    assert found.budget.to_dict() == limits
    assert {**found.recipe.to_dict(), **carried["recipe"]} == found.recipe.to_dict()
    if "initial_scale" not in carried["recipe"]:
        assert found.recipe.initial_scale == 1  # trainings began with whole images then
    assert StudyConfig.from_json(found.to_json()) == found


def test_sizes_of_the_run_go_before_those_of_the_space() -> None:
    found = StudyConfig.from_json(CARRIED[-1]["archsearch"])
    assert found.data.sizes == (32, 64)
    assert found.domain.shapes == ((1, 32, 32), (1, 64, 64), (3, 32, 32), (3, 64, 64))
    assert found.to_json()["dataset"]["sizes"] == [32, 64]
    assert "sizes" not in config().to_json()["dataset"]


def test_the_formats_are_all_there() -> None:
    assert {one["archsearch"].get("format", 1) for one in CARRIED} == set(range(1, FORMAT + 1))


@given(teachers=st.lists(st.text(), max_size=3), init_from=st.text(), taught=st.text(), started=st.text())
def test_what_is_known_beforehand_is_carried(teachers: list[str], init_from: str, taught: str, started: str) -> None:
    known = Known(tuple(teachers), init_from, taught, started)
    carried = replace(config(), known=known).to_json()
    assert StudyConfig.from_json(carried).known == known
    assert carried["format"] == (3 if known == Known() else 4)


def test_several_labels_are_carried_and_one_leaves_no_trace() -> None:
    several = replace(config(), data=replace(config().data, several=True))
    carried = several.to_json()
    assert (carried["dataset"]["several"], carried["format"]) == (True, 5)
    assert StudyConfig.from_json(carried) == several
    assert "several" not in config().to_json()["dataset"]


def test_a_metric_is_carried_and_accuracy_leaves_no_trace() -> None:
    by = next(one["archsearch"] for one in CARRIED if one["study"] == "by-macro-f1")
    assert StudyConfig.from_json(by).score.words == "macro F1"
    carried = replace(config(), metric="recall:a").to_json()
    assert (carried["metric"], carried["format"]) == ("recall:a", 5)
    assert StudyConfig.from_json(carried).metric == "recall:a"
    plain = replace(config(), metric="accuracy").to_json()
    assert "metric" not in plain
    assert StudyConfig.from_json(plain).metric == "accuracy"
    assert differences(plain, carried) == ["format was 3, is 5", "metric was 'accuracy', is 'recall:a'"]


def test_a_size_format_is_carried_and_safetensors_leave_no_trace() -> None:
    by = replace(config(), budget=Budget(max_size=1e5, size_dtype="int8", size_format="litert"))
    carried = by.to_json()
    assert (carried["budget"]["size_format"], carried["format"]) == ("litert", 6)
    assert StudyConfig.from_json(carried) == by
    plain = replace(config(), budget=Budget(max_size=1e5, size_dtype="int8")).to_json()
    assert "size_format" not in plain["budget"]
    assert differences(plain, carried) == ["format was 3, is 6", "budget: size_format was 'safetensors', is 'litert'"]


def test_a_limit_on_milliseconds_is_carried_and_none_leaves_no_trace() -> None:
    by = replace(config(), budget=Budget(max_latency=5, timing=Timing("litert", "int8", 2)))
    carried = by.to_json()
    assert carried["format"] == 7
    assert carried["budget"]["timing"] == {"runtime": "litert", "precision": "int8", "threads": 2}
    assert StudyConfig.from_json(carried) == by
    assert "timing" not in replace(config(), budget=Budget(max_params=5)).to_json()["budget"]
    other = replace(config(), budget=Budget(max_latency=5, timing=Timing("litert", "int8", 1))).to_json()
    assert differences(carried, other) == ["budget: timing: threads was 2, is 1"]


def test_inheritance_is_carried_and_none_leaves_no_trace() -> None:
    carried = replace(config(), inherit=True).to_json()
    assert (carried["inherit"], carried["format"]) == (True, 8)
    assert StudyConfig.from_json(carried).inherit
    assert "inherit" not in config().to_json()
    assert not StudyConfig.from_json(config().to_json()).inherit


def test_nothing_known_leaves_no_trace() -> None:
    assert not {"teacher", "init_from", "teacher_places", "init_from_place"} & config().to_json().keys()


def test_a_newer_format_is_refused_in_one_line() -> None:
    with pytest.raises(StudyError, match=f"has format {FORMAT + 1}, of a newer archsearch; .* upgrade it"):
        StudyConfig.from_json({**config().to_json(), "format": FORMAT + 1})


@pytest.mark.parametrize("missing", ["space", "budget", "dataset", "input", "classes", "recipe", "seed"])
def test_what_is_missing_is_named(missing: str) -> None:
    carried = config().to_json()
    del carried[missing]
    with pytest.raises(StudyError, match=f"carries no '{missing}'"):
        StudyConfig.from_json(carried)


def test_what_no_archsearch_wrote_is_refused() -> None:
    with pytest.raises(StudyError, match="no archsearch wrote"):
        StudyConfig.from_json({**config().to_json(), "recipe": {"epochz": 3}})
