"""What a run leaves: files and the columns of its tables, in this order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from commands import STUDY, Answer

BASE = "arch,val_accuracy,params,size_bytes,macs,peak_activation_bytes,epochs,train_seconds,trial,seed,summary"
USAGE = "images_per_second,data_seconds,step_seconds,eval_seconds,overhead_seconds,peak_memory_bytes"
TEST = "test_accuracy_mean,test_accuracy_std,test_seeds"
COLUMNS = {
    "pareto.csv": BASE,
    "trials.csv": f"{BASE},state,reason,{USAGE}",
    "rejected.csv": "arch,params,size_bytes,macs,broke",
}
RETRAINED = {
    "retrain.csv": "arch,seed,test_accuracy,mirrored,epochs,train_seconds,params,device,start,recipe",
    "pareto.csv": f"{BASE},{TEST}",
}


def columns(path: Path) -> str:
    return path.read_text().splitlines()[0]


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_of_a_run(finished: Path, name: str) -> None:
    assert columns(finished / "results" / STUDY / name) == COLUMNS[name]


def test_columns_after_retrain(command: Callable[..., Answer], study: Path) -> None:
    arch = (study / "pareto.csv").read_text().splitlines()[1].partition(",")[0]
    answer = command("retrain", STUDY, "--arch", arch, "--seeds", 1, "--epochs", 1)
    assert (answer.status, answer.err) == (0, "")
    assert {name: columns(study / name) for name in RETRAINED} == RETRAINED
    assert (study / "weights" / f"{arch}-seed0.safetensors").exists()


def test_files_of_a_run(finished: Path) -> None:
    folder = finished / "results" / STUDY
    names = {path.name for path in folder.iterdir()}
    assert {*COLUMNS, "pareto.png", "report.html", "run.json", "scores.json", "study.db", "archs", "weights"} <= names
    trained, front = (
        {line.partition(",")[0] for line in (folder / name).read_text().splitlines()[1:]}
        for name in ("trials.csv", "pareto.csv")
    )
    assert {path.stem for path in (folder / "archs").iterdir()} == trained
    assert {path.name for path in (folder / "weights").iterdir()} == {f"{arch}.safetensors" for arch in front}
