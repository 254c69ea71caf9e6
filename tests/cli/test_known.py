"""`--teacher` and `--init-from` of `run` and `worker`: what is recorded, refused and handed to the workers."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from commands import RUN, STUDY, Answer, Process, until
from torchvision import models

from archsearch.data import load_dataset
from archsearch.nn import weights
from archsearch.study.storage import open_existing

Command = Callable[..., Answer]
Start = Callable[..., Process]
AGAIN = [word if word != "5" else "2" for word in RUN]


@pytest.fixture
def trained(study: Path, work: Path) -> Path:
    """A weights file of digits, out of the way of the study that it came from."""
    best = pd.read_csv(study / "pareto.csv", dtype={"arch": str}).iloc[-1]["arch"]
    path = work / "known.safetensors"
    shutil.copy(study / "weights" / f"{best}.safetensors", path)
    shutil.rmtree(study)
    return path


def test_candidates_are_taught_and_begin_with_what_is_known(start: Start, work: Path, trained: Path) -> None:
    words = [*AGAIN, "--teacher", trained.name, "--init-from", trained.name]
    answer = start(*words).wait()
    assert (answer.status, answer.err) == (0, "")
    assert f"blocks that agree begin with those of {trained.name}: conv" in answer.out
    folder = work / "results" / STUDY
    table = pd.read_csv(folder / "trials.csv")
    assert table["init_share"].between(0, 1).all()
    assert table["init_share"].max() > 0
    said = json.loads((folder / "run.json").read_text())
    assert said["teacher"] == said["init_from"] != ""
    assert said["teacher_places"] == [trained.name]
    (path, *_) = (folder / "weights").glob("*.safetensors")
    source = said["teacher"]
    assert weights.read(path).info["start"] == f"{source}; taught by {source}"
    files = {file: file.stat().st_mtime_ns for file in (folder / "weights").iterdir()}
    for fewer in (words[:-2], words[:-4], [*words, "--teacher", trained.name]):
        refused = start(*fewer, "--resume").wait()
        assert refused.status == 2
        assert "was made with another" in refused.error
        assert f"'{source}'" in refused.error
    assert files == {file: file.stat().st_mtime_ns for file in (folder / "weights").iterdir()}
    moved = work / "elsewhere" / trained.name
    moved.parent.mkdir()
    trained.rename(moved)
    gone = start(*words, "--resume").wait()
    assert "known.safetensors: no readable" in gone.error
    more = [word if word != "2" else "3" for word in AGAIN[:-4]] + AGAIN[-4:]
    again = start(*more, "--teacher", str(moved), "--init-from", str(moved), "--resume").wait()
    assert (again.status, again.err) == (0, "")
    assert len(pd.read_csv(folder / "trials.csv")) == 3


def test_nothing_known_is_as_before(start: Start, work: Path, study: Path) -> None:
    """No key, no column and the old format, so that an older archsearch opens it."""
    _, config = open_existing(study)
    carried = config.to_json()
    assert carried["format"] == 3
    assert not {"teacher", "init_from"} & carried.keys()
    assert "init_share" not in pd.read_csv(study / "trials.csv")


def test_a_logits_file_teaches_the_workers(start: Start, work: Path) -> None:
    dataset = load_dataset("digits")
    probs = torch.nn.functional.one_hot((dataset.labels + 1) % 10, 10).float().numpy()
    np.savez(work / "t.npz", train_probs=probs, fingerprint=dataset.fingerprint, classes=np.array(dataset.classes))
    answer = start(*AGAIN, "--teacher", "logits:t.npz", "--workers", "2").wait()
    assert (answer.status, answer.err) == (0, "")
    assert f"logits:t.npz: probabilities of {len(probs):,} train images, right on 0" in answer.out
    table = pd.read_csv(work / "results" / STUDY / "trials.csv")
    assert len(table) == 2
    assert table["val_accuracy"].max() < 0.3  # it has learnt the class after the label


def test_a_worker_looks_where_it_is_told(start: Start, command: Command, work: Path, trained: Path) -> None:
    storage = f"sqlite:///{work}/all.db"
    words = [*AGAIN, "--storage", storage, "--study", "s", "--teacher", trained.name]
    assert start(*words).wait().status == 0
    other = work / "other"
    other.mkdir()
    join = ["worker", "--storage", storage, "--study", "s", "--out", "there"]
    assert "known.safetensors: no readable" in start(*join, cwd=other).wait().error
    shutil.copy(trained, other / "mine.safetensors")
    refused = start(*join, "--teacher", "mine.safetensors", cwd=other).wait()
    assert "--teacher: here is mine.safetensors" in refused.error
    assert "the study was made with known.safetensors" in refused.error
    (other / "mine.safetensors").rename(other / trained.name)
    assert start(*join, cwd=other).wait().status == 0


def test_a_model_of_torchvision_teaches_a_retraining(command: Command, study: Path, work: Path) -> None:
    torch.manual_seed(0)
    torch.save(models.squeezenet1_1(num_classes=10).state_dict(), work / "s.pth")
    words = ("retrain", STUDY, "--seeds", 1, "--epochs", 1, "--teacher", "torchvision:squeezenet1_1@32=s.pth")
    answer = command(*words)
    assert (answer.status, answer.err) == (0, "")
    assert "torchvision:squeezenet1_1@32=s.pth: images at 32x32, bilinear" in answer.out
    (row,) = pd.read_csv(study / "retrain.csv").to_dict("records")
    assert row["start"].startswith("taught by torchvision:squeezenet1_1@32=s.pth ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--teacher", "none.safetensors"], "none.safetensors: no readable safetensors file"),
        (["--teacher", "logits:none.npz"], "none.npz: no readable .npz or .npy file"),
        (["--teacher", "torchvision:resnet18"], "tells 1,000 classes apart, the dataset has 10"),
        (["--init-from", "none.safetensors"], "none.safetensors: no readable safetensors file"),
        (["--init-from", "torchvision:resnet18"], "a search starts from a weights file of archsearch"),
        (["--init-from", ""], "--init-from '': give a weights file"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(command: Command, work: Path, words: list[str], message: str) -> None:
    answer = command(*AGAIN, *words)
    assert answer.status == 2
    assert message in answer.error
    assert not (work / "results").exists()


INHERIT = [*AGAIN[:-4], "--epochs", "4", "--seed", "3", "--inherit", "--no-rungs", "--study", "s"]
LINEAGE = ["arch", "val_accuracy", "epochs", "init_share", "parent", "lineage_epochs"]


def lineages(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "results" / "s" / "trials.csv", dtype={"arch": str})


def test_candidates_begin_with_their_relatives_the_same_each_time(start: Start, work: Path) -> None:
    words = [word if word != "2" else "5" for word in INHERIT]
    for out in ("a", "b"):
        answer = start(*words, "--out", out).wait()
        assert (answer.status, answer.err) == (0, "")
    one, two = (pd.read_csv(work / out / "s" / "trials.csv", dtype={"arch": str}) for out in ("a", "b"))
    pd.testing.assert_frame_equal(one[LINEAGE], two[LINEAGE])
    children = one[one.parent.notna()]
    assert len(children) > 0
    assert (children.parent < children.trial).all()
    assert children.init_share.between(0, 1).all()
    study, config = open_existing(work / "a" / "s")
    assert config.inherit
    assert [trial.number for trial in study.get_trials() if "effort" in trial.user_attrs] == children.trial.tolist()
    kept = {path.stem for path in (work / "a" / "s" / "parents").iterdir()}
    assert kept == set(one.arch)
    for path in (work / "a" / "s" / "weights").glob("*"):
        assert ("start" in weights.read(path).info) == (path.stem in set(children.arch))
    refused = start(*[word for word in words if word != "--inherit"], "--out", "a", "--resume").wait()
    assert refused.status == 2
    assert "was made with another" in refused.error


def test_relatives_are_there_after_a_kill(start: Start, work: Path) -> None:
    many = [word if word != "2" else "40" for word in INHERIT]
    process = start(*many)
    until(lambda: sum(line.startswith("[") for line in process.lines()) >= 2, process)
    process.signal(signal.SIGKILL)
    process.wait()
    before = lineages(work)
    total = str(len(before) + 2)
    answer = start(*[word if word != "40" else total for word in many], "--resume").wait()
    assert (answer.status, answer.err) == (0, "")
    after = lineages(work)
    assert list(after.arch[: len(before)]) == list(before.arch)
    assert after.parent[len(before) :].notna().any()
    assert set(after.parent.dropna()) <= set(after.trial)
