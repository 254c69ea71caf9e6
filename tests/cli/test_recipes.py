"""Options for one value of a recipe, from a search to its full training, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import Answer, small_npz

from archsearch.cli.recipes import given_values
from archsearch.errors import InputError
from archsearch.nn import weights

Command = Callable[..., Answer]
DATA = ("--dataset", "npz:rare.npz")
RUN = ("run", "--max-params", "20k", "--space", "tiny.toml", "--trials", "1", "--epochs", "1", *DATA, "--study", "s")
BALANCED = ("--class-weights", "balanced")


def rare_npz(path: Path) -> Path:
    """20 images of one class for each of the other."""
    labels = (np.arange(105) % 21 == 0).astype(np.int64)
    images = (np.random.default_rng(0).integers(0, 60, (105, 8, 8)) + 180 * labels[:, None, None]).astype(np.uint8)
    return small_npz(path, train_images=images, train_labels=labels)


def table(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(["class,weight", *lines]) + "\n")
    return path


def test_from_a_search_to_a_full_training(command: Command, work: Path) -> None:
    rare_npz(work / "rare.npz")
    table(work / "weights.csv", "1,4.5", "0,1")
    told = command(*RUN, *BALANCED)
    assert told.status == 0, told.err
    assert "2 classes: 0 (100), 1 (5)" in told.out
    assert "classes are imbalanced 20:1: --metric balanced-accuracy judges and trains as if they were not\n" in told.out
    about = json.loads((work / "results" / "s" / "run.json").read_text())
    assert about["recipe"]["class_weights"] == "balanced"

    again = command(*RUN, "--resume")
    assert again.status == 2
    assert "recipe: class_weights was 'balanced', is 'none'" in again.error

    retrain = ("retrain", "s", "--seeds", "1", "--epochs", "1")
    assert command(*retrain, "--class-weights", "weights.csv").status == 0
    (path,) = (work / "results" / "s" / "weights").glob("*-seed0.safetensors")
    assert weights.read(path).info["recipe"]["class_weights"] == "1,4.5"
    other = command(*retrain)
    assert other.status == 2
    assert "was trained with class_weights '1,4.5', not 'balanced'" in other.error


def test_scores_by_int8_are_said_and_kept(command: Command, work: Path) -> None:
    rare_npz(work / "rare.npz")
    told = command(*RUN, "--score-precision", "int8")
    assert told.status == 0, told.err
    assert "scores: of each network rounded as its int8 file will be\n" in told.out
    assert json.loads((work / "results" / "s" / "run.json").read_text())["recipe"]["score_precision"] == "int8"
    again = command(*RUN, "--resume")
    assert again.status == 2
    assert "recipe: score_precision was 'int8', is 'fp32'" in again.error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--class-weights", "even"), "--class-weights 'even': must be none, balanced, or a .csv file of class,weight"),
        (("--class-weights", "bad.csv"), "bad.csv, line 2: no class 'x'"),
        ((*BALANCED, "--recipe", "class_weights=none"), "--recipe class_weights=none says it too: give one"),
        (
            ("--score-precision", "int8", "--recipe", "score_precision=fp32"),
            "--score-precision int8: --recipe score_precision=fp32 says it too: give one",
        ),
        (("--recipe", "class_weights=1,2,3"), "class_weights=1,2,3: 3 numbers for 2 classes: give one per class"),
        (("--recipe", "class_weights=1,x"), "class_weights = '1,x': must be none, balanced, or numbers from 0 on"),
        (("--space", "listed.toml"), "class_weights=1,2,3: 3 numbers for 2 classes: give one per class"),
        (("--space", "searched.toml", *BALANCED), "--class-weights: space 'searched' sets it for every candidate"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    command: Command, work: Path, words: tuple[str, ...], message: str
) -> None:
    rare_npz(work / "rare.npz")
    table(work / "bad.csv", "x,1")
    searched = '\n[train]\nclass_weights = { choice = ["none", "balanced"] }\n'
    (work / "searched.toml").write_text((work / "tiny.toml").read_text() + searched)
    (work / "listed.toml").write_text((work / "tiny.toml").read_text() + '\n[train]\nclass_weights = "1,2,3"\n')
    found = command(*RUN, *words)
    assert found.status == 2
    assert message in found.error
    assert not (work / "results").exists()


def test_what_options_say_of_a_recipe(tmp_path: Path) -> None:
    path = table(tmp_path / "w.csv", "b,2", "a,1")
    for asked, value in (("none", "none"), ("balanced", "balanced"), (str(path), "1,2")):
        found = given_values({"recipe": ["lr=0.1"], "class_weights": asked}, ["a", "b"])
        assert found == {"lr": 0.1, "class_weights": value}
    assert given_values({"recipe": ["class_weights=3,4"]}, ["a", "b"]) == {"class_weights": "3,4"}
    with pytest.raises(InputError, match="give one per class"):
        given_values({"recipe": ["class_weights=3,4"]}, ["a", "b", "c"])


@pytest.mark.parametrize(
    ("words", "tau"),
    [
        (("--metric", "balanced-accuracy"), 1.0),
        (("--metric", "balanced-accuracy", "--recipe", "logit_adjustment=0"), 0.0),
        (("--metric", "balanced-accuracy", *BALANCED), 0.0),
        (("--metric", "balanced-accuracy", "--space", "searched.toml"), 0.0),
    ],
)
def test_balanced_accuracy_trains_for_what_it_judges(
    command: Command, work: Path, words: tuple[str, ...], tau: float
) -> None:
    rare_npz(work / "rare.npz")
    searched = '\n[train]\nclass_weights = { choice = ["none", "balanced"] }\n'
    (work / "searched.toml").write_text((work / "tiny.toml").read_text() + searched)
    found = command(*RUN, *words)
    assert found.status == 0, found.err
    about = json.loads((work / "results" / "s" / "run.json").read_text())
    assert about["recipe"].get("logit_adjustment", 0) == tau
    assert about["recipe"]["label_smoothing"] == (0 if tau == 1 else 0.1)
    line = "logit_adjustment=1, label_smoothing=0; --recipe logit_adjustment=0 leaves it out"
    assert (line in found.out + found.err) == (tau == 1)


def test_a_file_is_trained_for_the_metric_too(command: Command, work: Path) -> None:
    rare_npz(work / "rare.npz")
    words = ("retrain", "ref:mlp", "--dataset", "npz:rare.npz", "--seeds", 1, "--epochs", 1)
    taus = []
    for more in ((), ("--metric", "balanced-accuracy"), ("--metric", "balanced-accuracy", *BALANCED)):
        study = f"s{len(taus)}"
        found = command(*words, *more, "--study", study)
        assert found.status == 0, found.err
        [row] = pd.read_csv(work / "results" / study / "retrain.csv").to_dict("records")
        taus.append(json.loads(row["recipe"]).get("logit_adjustment", 0))
    assert taus == [0, 1, 0]
