"""`scores.json` of a study's most accurate network."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import STUDY, Answer

from archsearch.data import load_dataset
from archsearch.errors import DataError
from archsearch.inference import open_runner
from archsearch.inference.evaluate import accuracy, part_of
from archsearch.report.best import NAME, BestScores, scores_of
from archsearch.report.html import write_page
from archsearch.study.config import StudyConfig
from archsearch.study.observers import Counts
from archsearch.study.records import Record, front
from archsearch.study.storage import open_existing, records
from archsearch.workers.worker import study_dataset


def opened(folder: Path) -> tuple[StudyConfig, list[Record]]:
    study, config = open_existing(folder)
    return config, list(records(study))


def refused(*_: object) -> Any:
    raise DataError("digits: gone")


def test_a_run_judges_its_best_on_the_validation_images(study: Path) -> None:
    config, history = opened(study)
    best = front(history)[-1]
    found = json.loads((study / NAME).read_text())
    assert found["arch"] == best.arch
    assert found["accuracy"] == pytest.approx(best.val_accuracy, abs=2 / found["n"])
    dataset = load_dataset("digits")
    images, labels = part_of(replace(dataset, share=config.data.validation), "validation", config.seed)
    assert found["n"] == len(labels)
    runner = open_runner(study / "weights" / f"{best.arch}.safetensors")
    assert found["accuracy"] == accuracy(runner(images), labels)
    assert len(found["mistakes"]) == min(24, round(len(labels) * (1 - found["accuracy"])))
    page = (study / "report.html").read_text()
    assert page.count("data:image/png") == len(found["mistakes"])
    assert "class by class" in page


def test_it_is_kept_where_the_network_is_the_same(study: Path) -> None:
    config, history = opened(study)
    before = (study / NAME).read_bytes()
    observer = BestScores(study, config, Path("data"), "cpu", refused)
    observer.ended(history, Counts())
    assert (study / NAME).read_bytes() == before
    observer.ended([], Counts())
    (study / NAME).unlink()
    for path in (study / "weights").iterdir():
        path.rename(study / path.name)
    observer.ended(history, Counts())
    assert not (study / NAME).exists()


def test_data_that_are_gone_are_said_and_looked_for_again(study: Path) -> None:
    config, history = opened(study)
    before = (study / NAME).read_bytes()
    (study / NAME).unlink()
    BestScores(study, config, Path("data"), "cpu", refused).ended(history, Counts())
    arch = front(history)[-1].arch
    assert scores_of(study, arch) == {"arch": arch, "missing": "digits: gone"}
    assert scores_of(study, "another") == {}
    page = write_page(study, *open_existing(study)).read_text()
    assert "scores.json</code> says why" in page
    assert "gone" not in page
    (study / NAME).write_text('{"arch": "')
    assert scores_of(study, arch) == {}
    BestScores(study, config, Path("data"), "cpu", study_dataset).ended(history, Counts())
    assert (study / NAME).read_bytes() == before


def test_a_page_without_pictures(command: Callable[..., Answer], study: Path) -> None:
    (study / NAME).unlink()
    assert command("pareto", STUDY).status == 0
    page = (study / "report.html").read_text()
    assert "data:image" not in page
    assert "class by class" not in page
