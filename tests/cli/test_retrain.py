"""`archsearch retrain`: from the front to tested weights, and what it refuses."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from commands import STUDY, Answer, Process, small_npz, snapshot
from sklearn.datasets import load_digits

from archsearch._utils.files import write_text
from archsearch.data import Dataset
from archsearch.nn import weights

Command = Callable[..., Answer]
CSV = {"arch": str}


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the test split of a dataset was read, by its name."""
    counts: Counter[str] = Counter()
    read = Dataset.test

    def counting(self: Dataset) -> Any:
        counts[self.name] += 1
        return read(self)

    monkeypatch.setattr(Dataset, "test", counting)
    return counts


def table(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / name, dtype=CSV)


def test_the_front_with_two_seeds(command: Command, study: Path, reads: Counter[str]) -> None:
    before = table(study, "pareto.csv")
    answer = command("retrain", STUDY, "--front", "--seeds", 2, "--epochs", 3)
    assert (answer.status, answer.err) == (0, "")
    rows, after = table(study, "retrain.csv"), table(study, "pareto.csv")
    assert reads == {"digits": 2 * len(before)} == {"digits": len(rows)}
    assert list(after)[-3:] == ["test_accuracy_mean", "test_accuracy_std", "test_seeds"]
    pd.testing.assert_frame_equal(after[list(before)], before)
    for _, row in after.iterrows():
        mine = rows[rows["arch"] == row["arch"]]
        assert sorted(mine["seed"]) == [0, 1]
        assert set(mine["epochs"]) == {3}
        assert row["test_accuracy_mean"] == pytest.approx(mine["test_accuracy"].mean())
        assert row["test_accuracy_std"] == pytest.approx(mine["test_accuracy"].std(ddof=1))
        assert row["test_seeds"] == 2
        for _, training in mine.iterrows():
            path = study / "weights" / f"{row['arch']}-seed{training['seed']}.safetensors"
            found = json.loads(command("evaluate", path, "--json").out)
            assert found["accuracy"] == training["test_accuracy"]
    for again in (("pareto", STUDY), ("run", "--resume", "--trials", 6, *RESUME)):
        (study / "pareto.csv").unlink()
        assert command(*again).status == 0
        same = table(study, "pareto.csv")
        common = same.merge(after, on="arch", suffixes=("", "_before"))
        assert len(common)
        assert (common["test_accuracy_mean"] == common["test_accuracy_mean_before"]).all()


RESUME = ["--max-params", "20k", "--space", "tiny.toml", "--epochs", "2", "--seed", "3"]


def test_trained_on_everything_but_the_test_images(command: Command, study: Path) -> None:
    answer = command("retrain", STUDY, "--seeds", 1, "--epochs", 1)
    assert f"1 network on {len(load_digits().target) - 300:,} images of digits, cpu: 1 training" in answer.out
    best = table(study, "pareto.csv").iloc[-1]
    assert best["test_seeds"] == 1
    assert np.isnan(best["test_accuracy_std"])
    info = weights.read(study / "weights" / f"{best['arch']}-seed0.safetensors").info
    assert info["trained"] == "retrain"
    assert info["recipe"]["epochs"] == info["epochs"] == 1
    assert info["seed"] == 3
    assert info["training_seed"] == 0
    about = json.loads((study / "retrain.json").read_text())
    assert about[0]["command"] == f"archsearch retrain {STUDY} --seeds 1 --epochs 1"


def test_what_is_finished_is_not_trained_again(command: Command, study: Path, reads: Counter[str]) -> None:
    assert command("retrain", STUDY, "--seeds", 1, "--epochs", 1).status == 0
    files = snapshot(study / "weights")
    assert command("retrain", STUDY, "--seeds", 2, "--epochs", 1).status == 0
    assert reads["digits"] == 2
    after = snapshot(study / "weights")
    assert files.items() < after.items()
    answer = command("retrain", STUDY, "--seeds", 2, "--epochs", 2)
    assert answer.status == 2
    assert answer.error.endswith("was trained with epochs 1, not 2: ask for the same, or add --overwrite")
    assert snapshot(study / "weights") == after
    assert command("retrain", STUDY, "--seeds", 1, "--epochs", 2, "--overwrite").status == 0
    assert list(table(study, "retrain.csv")["epochs"]) == [2]
    assert table(study, "pareto.csv").iloc[-1]["test_seeds"] == 1


def test_another_dataset_is_not_what_is_finished(command: Command, work: Path) -> None:
    """Two files of one name, shape and number of classes."""
    for folder in ("a", "b"):
        (work / folder).mkdir()
        small_npz(work / folder / "x.npz", **({"train_labels": np.arange(60) // 2 % 2} if folder == "b" else {}))
    words = ("retrain", "ref:mlp", "--epochs", 1, "--seeds", 1, "--dataset")
    assert command(*words, "npz:a/x.npz").status == 0
    assert "1 is finished" in command(*words, "npz:a/x.npz").out
    before = snapshot(work)
    answer = command(*words, "npz:b/x.npz")
    assert answer.status == 2
    assert "was trained with images '" in answer.error
    assert snapshot(work) == before


def test_a_file_is_not_trained_into_a_searchs_folder(command: Command, study: Path) -> None:
    answer = command("retrain", "ref:mlp", "--dataset", "digits", "--study", STUDY)
    assert answer.status == 2
    assert "is a search's study, which ref:mlp is not of: choose another --study" in answer.error


def test_what_is_not_written_whole_is_no_result(command: Command, study: Path) -> None:
    """Temporary files of a training that was killed, or that saves at this moment."""
    assert command("retrain", STUDY, "--seeds", 1, "--epochs", 1).status == 0
    (path,) = (study / "weights").glob("*-seed0.safetensors")
    path.with_name(f".{path.stem}-abcd.safetensors").write_bytes(path.read_bytes())
    path.with_name(f".{path.stem}-efgh.safetensors").write_bytes(b"")
    assert command("retrain", STUDY, "--seeds", 1, "--epochs", 1).status == 0
    assert len(table(study, "retrain.csv")) == 1


def test_commands_share_the_seeds(command: Command, study: Path) -> None:
    assert command("retrain", STUDY, "--first-seed", 1, "--seeds", 1, "--epochs", 1).status == 0
    assert list(table(study, "retrain.csv")["seed"]) == [1]
    answer = command("retrain", STUDY, "--seeds", 1, "--epochs", 1)
    assert "1 training of 1 epoch" in answer.out
    assert list(table(study, "retrain.csv")["seed"]) == [0, 1]
    assert table(study, "pareto.csv").iloc[-1]["test_seeds"] == 2
    answer = command("retrain", STUDY, "--first-seed", 2, "--seeds", 1, "--epochs", 2)
    assert answer.status == 2
    assert "was trained with epochs 1, not 2" in answer.error


def test_half_precision_is_what_is_tested(command: Command, study: Path) -> None:
    words = ("retrain", STUDY, "--seeds", 1, "--epochs", 1)
    assert command(*words, "--dtype", "fp16").status == 0
    row = table(study, "retrain.csv").iloc[0]
    path = study / "weights" / f"{row['arch']}-seed0.safetensors"
    found = safetensors.torch.load_file(path)
    assert {value.dtype for value in found.values() if value.is_floating_point()} == {torch.float16}
    assert json.loads(command("evaluate", path, "--json").out)["accuracy"] == row["test_accuracy"]
    assert "was trained with dtype 'fp16', not 'fp32'" in command(*words).error
    assert command(*words, "--overwrite").status == 0
    whole = safetensors.torch.load_file(path)
    assert all(torch.equal(found[name], value.to(found[name].dtype)) for name, value in whole.items())


def test_int8_trains_the_last_epochs_as_the_file_computes(command: Command, work: Path) -> None:
    call = ["retrain", "ref:resnet20", "--dataset", "digits", "--seeds", "1", "--epochs", "1"]
    command(*call, "--quantize", "int8", "--study", "eight")
    command(*call, "--quantize", "int8", "--recipe", "qat=0.5", "--study", "half")
    rows = [pd.read_csv(work / "results" / name / "retrain.csv").iloc[0] for name in ("eight", "half")]
    assert [json.loads(row["recipe"])["qat"] for row in rows] == [0.1, 0.5]


FIT = re.compile(r"epochs that fit into 30 s: (\d+), each ([0-9.]+) s\n")


def test_as_many_epochs_as_fit_and_those_that_are_begun_stay(
    command: Command, study: Path, reads: Counter[str]
) -> None:
    """What is timed is not tested. A training that is begun, or finished, fixes the epochs of later calls."""
    words = ("retrain", STUDY, "--seeds", 2, "--within", "30s")
    answer = command(*words, "--timeout", "0.001s")
    assert answer.status == 0
    found = FIT.match(answer.out)
    assert found, answer.out
    epochs, each = int(found[1]), float(found[2])
    assert 1 < epochs <= min(300, 0.9 * 30 / 2 / (0.99 * each))
    assert not reads
    answer = command(*words, "--epochs", 3, "--timeout", "2s")
    assert "epochs that fit into 30 s: 3, each " in answer.out
    for more in ((), ("--recipe", "lr=0.4")):  # 0.4 is the default
        answer = command(*words, *more)
        assert answer.out.startswith("3 epochs, as in a training that is there: --overwrite begins anew\n")
        assert set(table(study, "retrain.csv")["epochs"]) == {3}
    assert reads["digits"] == 2
    assert command(*words, "--overwrite", "--epochs", 1).out.startswith("epochs that fit into 30 s: 1, ")
    assert set(table(study, "retrain.csv")["epochs"]) == {1}


def test_the_epochs_of_a_training_that_was_cut_off_stay(command: Command, study: Path) -> None:
    words = ("retrain", STUDY, "--seeds", 1)
    command(*words, "--epochs", 2000, "--timeout", "1s")
    assert list((study / "weights").glob("*-seed0.checkpoint"))
    answer = command(*words, "--within", "30s", "--timeout", "0.001s")
    assert answer.out.startswith("2,000 epochs, as in a training that is there")
    answer = command(*words, "--within", "30s", "--timeout", "0.001s", "--recipe", "lr=0.2")
    assert FIT.match(answer.out), answer.out


def test_time_for_not_one_epoch_is_refused(command: Command, study: Path) -> None:
    before = snapshot(study)
    answer = command("retrain", STUDY, "--within", "0.001s")
    assert answer.status == 2
    said = (
        r"--within 0 s: not one epoch of [0-9.]+ s fits, with [0-9.]+ s before it and [0-9.]+ s of timing,"
        " for each of 3 seeds: give more time"
    )
    assert re.search(said, answer.error), answer.error
    assert snapshot(study) == before


def test_notes_that_are_none_are_refused_before_anything_is_forgotten(command: Command, study: Path) -> None:
    assert command("retrain", STUDY, "--seeds", 1, "--epochs", 1).status == 0
    for text in ('[{"command": "arch', "{}"):
        (study / "retrain.json").write_text(text)
        before = snapshot(study)
        answer = command("retrain", STUDY, "--seeds", 1, "--epochs", 1, "--overwrite")
        assert answer.status == 2
        assert answer.error.endswith("retrain.json: not what `retrain` wrote: remove the file")
        assert snapshot(study) == before


def test_time_is_up_and_the_same_command_goes_on(command: Command, study: Path) -> None:
    words = ("retrain", STUDY, "--front", "--seeds", 1, "--epochs", 2)
    answer = command(*words, "--timeout", "0.001s")
    count = len(table(study, "pareto.csv"))
    assert answer.status == 0
    assert f"time is up, {count} of {count} trainings left: the same command goes on" in answer.out
    assert not list((study / "weights").glob("*-seed*"))
    assert command(*words).status == 0
    assert len(table(study, "retrain.csv")) == count


def test_time_that_is_up_in_a_training_loses_no_epoch(command: Command, study: Path) -> None:
    answer = command("retrain", STUDY, "--seeds", 1, "--epochs", 2000, "--timeout", "1s")
    assert "time is up, 1 of 1 training left" in answer.out
    [path] = (study / "weights").glob("*-seed0.checkpoint")
    state = torch.load(path, weights_only=True)["state"]
    assert state["epoch"] == len(state["reports"]) >= 1


def test_an_interrupted_training_leaves_only_whole_files(start: Callable[..., Process], study: Path) -> None:
    process = start("retrain", STUDY, "--seeds", "1", "--epochs", "2000")
    while not process.lines():
        assert process.process.is_alive()
    process.signal(2)
    assert process.wait().status == 130
    assert not list((study / "weights").glob("*-seed*.safetensors"))
    assert not list((study / "weights").glob(".*"))


def test_a_reference_on_other_images_with_mirrors(command: Command, work: Path, reads: Counter[str]) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 4
    images = (rng.integers(0, 60, (80, 12, 12, 3)) + 45 * labels[:, None, None, None]).astype(np.uint8)
    small_npz(work / "colour.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    words = ("retrain", "ref:resnet-course-small", "--dataset", "npz:colour.npz", "--seeds", 1, "--epochs", 2)
    flipped = command(*words, "--tta")
    assert (flipped.status, flipped.err) == (0, "")
    folder = work / "results" / "colour-resnet-course-small"
    (row,) = table(folder, "retrain.csv").to_dict("records")
    assert "with mirror images" in flipped.out
    assert 0 <= row["mirrored"] <= 1
    assert reads["npz:colour.npz"] == 1
    assert command("check", folder / "archs" / f"{row['arch']}.toml").status == 0
    assert command(*words).status == 0  # nothing left
    assert reads["npz:colour.npz"] == 1


def test_an_encoder_for_another_dataset(command: Command, study: Path, work: Path) -> None:
    small_npz(work / "dark.npz")
    best = table(study, "pareto.csv").iloc[-1]["arch"]
    source = study / "weights" / f"{best}.safetensors"
    words = ("retrain", source, "--dataset", "npz:dark.npz", "--seeds", 1, "--epochs", 2, "--study", "t")
    answer = command(*words, "--init-from", source, "--freeze-encoder")
    assert (answer.status, answer.err) == (0, "")
    (path,) = (work / "results" / "t" / "weights").iterdir()
    there, here = (safetensors.torch.load_file(file) for file in (source, path))
    kernels = [name for name in here if here[name].ndim == 4]
    assert kernels
    assert all(torch.equal(here[name], there[name]) for name in kernels)
    assert weights.read(path).arch.classes == 2
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:8]
    assert weights.read(path).info["start"] == f"{source.name} {digest}, frozen"
    other = command(*words)
    assert "was trained with start" in other.error
    tuned = command(*words, "--init-from", source, "--overwrite")
    assert tuned.status == 0
    (path,) = (work / "results" / "t" / "weights").iterdir()
    assert not any(torch.equal(safetensors.torch.load_file(path)[name], there[name]) for name in kernels)


def test_teachers_are_part_of_what_a_training_is(command: Command, study: Path) -> None:
    best = table(study, "pareto.csv").iloc[-1]["arch"]
    teacher = study / "weights" / f"{best}.safetensors"
    words = ("retrain", STUDY, "--seeds", 1, "--epochs", 2)
    answer = command(*words, "--teacher", teacher, "--teacher", teacher)
    assert (answer.status, answer.err) == (0, "")
    (row,) = table(study, "retrain.csv").to_dict("records")
    said = rf"{best}\.safetensors [0-9a-f]{{8}}"
    assert re.fullmatch(f"taught by {said}, {said}", row["start"])
    assert json.loads((study / "retrain.json").read_text())[-1]["start"] == row["start"]
    taught = safetensors.torch.load_file(study / "weights" / f"{best}-seed0.safetensors")
    assert "was trained with start" in command(*words).error
    before = snapshot(study)
    own = command(*words, "--overwrite", "--teacher", study / "weights" / f"{best}-seed0.safetensors")
    assert own.status == 2
    assert f"trainings of {best} are kept there" in own.error
    assert snapshot(study) == before
    assert command(*words, "--overwrite").status == 0
    alone = safetensors.torch.load_file(study / "weights" / f"{best}-seed0.safetensors")
    assert any(not torch.equal(taught[name], alone[name]) for name in taught)


def test_a_network_that_fails_is_told_and_the_others_go_on(command: Command, study: Path) -> None:
    answer = command("retrain", STUDY, "--front", "--seeds", 1, "--epochs", 1, "--recipe", "lr=1e30")
    count = len(table(study, "pareto.csv"))
    assert answer.status == 1
    assert answer.out.count("failed: ") == count
    assert not list((study / "weights").glob("*-seed*"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((STUDY, "--front", "--arch", "0"), "--front and --arch 0 exclude each other: give one"),
        ((STUDY, "--arch", "zz"), "has no candidate 'zz'"),
        ((STUDY, "--study", "s"), f"--study goes with a file or ref:NAME: {STUDY} is a study of its own"),
        ((STUDY, "--freeze-encoder"), "--freeze-encoder goes with --init-from"),
        ((STUDY, "--tta"), "--tta: mirrored images of digits may be of another class"),
        ((STUDY, "--recipe", "patience=3"), "--recipe patience: retraining has no validation images"),
        ((STUDY, "--recipe", "lr=-2"), "--recipe lr = -2"),
        ((STUDY, "--dataset", "npz:dark.npz"), "npz:dark.npz is not the dataset of this study"),
        (("nothing",), "there is no study 'nothing'"),
        (("ref:lenet5",), "ref:lenet5 says nothing of a dataset: give --dataset"),
        (("ref:lenet5", "--front", "--dataset", "digits"), "--front and --arch go with a study"),
        (("ref:lenet6", "--dataset", "digits"), "no reference network 'lenet6'"),
        (("ref:alexnet", "--dataset", "digits"), "this network on digits: "),
        (("ref:mlp", "--dataset", "digits", "--init-from", "no.safetensors"), "no.safetensors: no readable"),
        ((STUDY, "--teacher", "no.safetensors"), "no.safetensors: no readable"),
        (("tiny.toml", "--dataset", "digits"), "tiny.toml: "),
    ],
)
def test_bad_input_is_one_line(command: Command, study: Path, work: Path, words: tuple[str, ...], message: str) -> None:
    small_npz(work / "dark.npz")
    before = snapshot(work)
    answer = command("retrain", *words)
    assert answer.status == 2
    assert message in answer.error
    assert snapshot(work) == before


@pytest.mark.parametrize("change", [{"test_accuracy": "high"}, {"training_seed": None}, {"recipe": []}])
def test_a_tampered_weights_file_is_one_line(command: Command, study: Path, change: dict[str, Any]) -> None:
    assert command("retrain", STUDY, "--seeds", 1, "--epochs", 1).status == 0
    (path,) = (study / "weights").glob("*-seed0.safetensors")
    read = weights.read(path)
    weights.save(path, weights.load_module(path), read.arch, {**read.info, **change})
    answer = command("retrain", STUDY, "--seeds", 1, "--epochs", 1)
    assert answer.status == 2
    assert "its metadata have no " in answer.error


def test_a_study_without_candidates(command: Command, work: Path) -> None:
    write_text(work / "one.toml", "")
    answer = command("retrain", work / "one.toml", "--dataset", "digits")
    assert answer.status == 2
    assert "is missing" in answer.error


def test_from_run_to_a_quantised_file(command: Command, study: Path) -> None:
    """The chain of the README on digits: run (the fixture), retrain, export, evaluate."""
    assert command("retrain", STUDY, "--seeds", 2, "--epochs", 5).status == 0
    best = table(study, "pareto.csv").iloc[-1]
    export = ("export", STUDY, best["arch"], "--format", "onnx", "--quantize", "int8", "--json")
    done = json.loads(command(*export).out)
    found = json.loads(command("evaluate", done["path"], "--json").out)
    (first,) = table(study, "retrain.csv").query(f"arch == '{best['arch']}' and seed == 0").to_dict("records")
    assert found["accuracy"] >= first["test_accuracy"] - 0.03
    card = (Path(done["path"]).parent / "README.md").read_text()
    assert f"- test split: {100 * best['test_accuracy_mean']:.2f}%, mean of 2 trainings" in card
