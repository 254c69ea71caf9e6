"""`--metric` from a search to its tables, on images that are not balanced."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
from commands import Answer, small_npz, snapshot
from sklearn.metrics import balanced_accuracy_score

from archsearch.data import load_dataset
from archsearch.inference import open_runner
from archsearch.inference.evaluate import part_of
from archsearch.nn import weights

Command = Callable[..., Answer]
RUN = ("run", "--dataset", "npz:rare.npz", "--max-params", "20k", "--space", "tiny.toml", "--trials", 3, "--epochs", 2)
NAME = "rare-tiny-params20k-balanced-accuracy"
CSV = {"arch": str}


def rare_npz(path: Path, counts: tuple[int, ...] = (60, 30, 10), tested: tuple[int, ...] = (12, 6, 4)) -> Path:
    """Classes of different size and brightness, in noise that hides some of it."""
    rng = np.random.default_rng(0)
    arrays: dict[str, object] = {}
    for part, sizes in (("train", counts), ("test", tested)):
        labels = np.repeat(np.arange(len(sizes)), sizes)
        images = rng.integers(0, 140, (len(labels), 8, 8)) + 40 * labels[:, None, None]
        arrays |= {f"{part}_images": images.astype(np.uint8), f"{part}_labels": labels}
    return small_npz(path, **arrays)


def table(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / name, dtype=CSV)


def test_from_the_search_to_the_retrained_network(command: Command, work: Path) -> None:
    rare_npz(work / "rare.npz")
    answer = command(*RUN, "--metric", "balanced-accuracy", "--workers", 2)
    assert (answer.status, answer.err) == (0, "")
    assert "; by balanced accuracy; space tiny" in answer.out
    assert "Pareto front, by balanced accuracy:" in answer.out
    folder = work / "results" / NAME
    _tables_are_right(folder, work)
    _is_gone_on_with(command, folder)
    _is_retrained(command, folder)
    _is_shown(command, folder)


def _tables_are_right(folder: Path, work: Path) -> None:
    front, trials = table(folder, "pareto.csv"), table(folder, "trials.csv")
    assert list(front)[-2:] == ["summary", "val_score"]
    assert "val_score" in trials
    assert front.val_score.is_monotonic_increasing
    data = load_dataset(f"npz:{work / 'rare.npz'}")
    images, labels = part_of(data, "validation", 0)
    for _, row in front.iterrows():
        file = folder / "weights" / f"{row.arch}.safetensors"
        answers = open_runner(file)(images).argmax(1)
        assert row.val_score == pytest.approx(balanced_accuracy_score(labels, answers), abs=1e-6)
        assert row.val_accuracy == pytest.approx(float((answers == labels).float().mean()), abs=1e-6)
        info = weights.read(file).info
        assert (info["metric"], info["val_score"]) == ("balanced-accuracy", row.val_score)
    assert json.loads((folder / "run.json").read_text())["metric"] == "balanced-accuracy"
    study = optuna.load_study(study_name=NAME, storage=f"sqlite:///{folder}/study.db")
    assert study.metric_names == ["val_balanced_accuracy", "params"]
    for trial, value in zip(trials.trial, trials.val_score, strict=True):
        found = study.trials[trial]
        assert found.values is None or found.values[0] == value
        assert found.user_attrs["curve"][-1][1] == value
    page = (folder / "report.html").read_text()
    assert "The network with the highest balanced accuracy under" in page
    assert "validation balanced accuracy" in page


def _is_gone_on_with(command: Command, folder: Path) -> None:
    before = (folder / "trials.csv").read_bytes()
    other = command(*RUN, "--metric", "macro-f1", "--study", NAME, "--resume")
    assert other.status == 2
    assert "made with another recipe and metric" in other.error
    assert "metric was 'balanced-accuracy', is 'macro-f1'" in other.error
    for words in (("--metric", "balanced-accuracy"), ("--study", NAME)):  # the same, or the study's own
        assert command(*RUN, *words, "--resume").status == 0
    assert (folder / "trials.csv").read_bytes() == before


def _is_retrained(command: Command, folder: Path) -> None:
    refused = command("retrain", NAME, "--metric", "macro-f1")
    assert refused.status == 2
    assert "goes by balanced-accuracy" in refused.error
    answer = command("retrain", NAME, "--seeds", 2, "--epochs", 1)
    assert (answer.status, answer.err) == (0, "")
    assert "test balanced accuracy" in answer.out
    rows, front = table(folder, "retrain.csv"), table(folder, "pareto.csv")
    assert list(rows)[-1] == "test_score"
    assert list(front)[-2:] == ["test_score_mean", "test_score_std"]
    images, labels = load_dataset(f"npz:{folder.parents[1] / 'rare.npz'}").test()
    for _, row in rows.iterrows():
        answers = open_runner(folder / "weights" / f"{row.arch}-seed{row.seed}.safetensors")(images).argmax(1)
        assert row.test_score == pytest.approx(balanced_accuracy_score(labels, answers), abs=1e-6)
    last = front.iloc[-1]
    assert last.test_score_mean == pytest.approx(rows.test_score.mean())
    assert last.test_score_std == pytest.approx(rows.test_score.std(ddof=1))


def _is_shown(command: Command, folder: Path) -> None:
    front = table(folder, "pareto.csv")
    before = {name: (folder / name).read_bytes() for name in ("pareto.csv", "trials.csv", "pareto.png")}
    answer = command("pareto", NAME)
    assert (answer.status, answer.err) == (0, "")
    assert f"{100 * front.val_score.iloc[-1]:.2f}%" in answer.out
    assert {name: (folder / name).read_bytes() for name in before} == before
    best = front.arch.iloc[-1]
    shown = command("show", NAME, best[:6])
    assert f"val_score: balanced accuracy {100 * front.val_score.iloc[-1]:.2f}%" in shown.out
    assert json.loads(command("show", NAME, best, "--json").out)["val_score"] == front.val_score.iloc[-1]
    file = folder / "weights" / f"{best}-seed0.safetensors"
    score = table(folder, "retrain.csv").test_score.iloc[0]
    assert f"balanced accuracy {100 * score:.2f}%, accuracy " in command("evaluate", file).out
    plain = json.loads(command("evaluate", file, "--metric", "macro-f1", "--json").out)
    assert plain["metric"] == "macro-f1"
    assert plain.keys() >= {"accuracy", "n", "per_class", "macro-f1"}


@pytest.mark.parametrize(
    ("metric", "told"),
    [
        ("f1", "--metric f1: must be one of accuracy, "),
        ("recall:z", "there is no class 'z'"),
        ("macro-auroc", "the validation images have none of class '2'"),
    ],
)
def test_what_is_no_metric_of_these_images_leaves_nothing_behind(
    command: Command, work: Path, metric: str, told: str
) -> None:
    rare_npz(work / "rare.npz", counts=(30, 20, 1))
    before = snapshot(work)
    answer = command(*RUN, "--metric", metric)
    assert answer.status == 2
    assert told in answer.error
    assert snapshot(work) == before


def test_a_test_split_that_leaves_it_undefined_is_refused_before_the_training(command: Command, work: Path) -> None:
    rare_npz(work / "rare.npz", tested=(5, 5))
    words = ("retrain", "ref:mlp", "--dataset", "npz:rare.npz", "--seeds", 1, "--epochs", 1)
    answer = command(*words, "--metric", "macro-f1")
    assert answer.status == 2
    assert "the test images have none of class '2'" in answer.error
    assert not (work / "results").exists()
    answer = command(*words, "--metric", "recall:1")
    assert (answer.status, answer.err) == (0, "")
    assert "test recall of 1 " in answer.out
    file = next((work / "results").rglob("*-seed0.safetensors"))
    refused = command("evaluate", file, "--metric", "macro-f1")
    assert refused.status == 2
    assert "these images have none of class '2'" in refused.error
