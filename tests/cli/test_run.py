"""`archsearch run` in real processes: what it leaves, how it ends, that it can be repeated and resumed."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import tomllib
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
import torch
import torchinfo
from commands import RUN, STUDY, TINY, Answer, Process, small_npz, until
from paths import ROOT
from PIL import Image

from archsearch import Arch, build, load
from archsearch.data import load_dataset
from archsearch.network.file_size import Written
from archsearch.network.format_size import file_bytes
from archsearch.nn.weights import load_module, read
from archsearch.study.storage import sqlite_url
from archsearch.training.data import TrainingData
from archsearch.training.validation import accuracy_and_loss

PARETO = ["arch", "val_accuracy", "params", "size_bytes", "macs", "peak_activation_bytes", "epochs", "train_seconds",
          "trial", "seed", "summary"]  # fmt: skip
USAGE = ["images_per_second", "data_seconds", "step_seconds", "eval_seconds", "overhead_seconds", "peak_memory_bytes"]
TRIALS = [*PARETO, "state", "reason", *USAGE]
Start = Callable[..., Process]


def table(path: Path) -> pd.DataFrame:
    """Accuracies by Python's own parser: exact in every version of pandas."""
    frame = pd.read_csv(path, dtype={"arch": str, "val_accuracy": str})
    if "val_accuracy" in frame:
        frame["val_accuracy"] = frame.val_accuracy.map(float, na_action="ignore").astype(float)
    return frame


@pytest.fixture(scope="module")
def left(finished: Path) -> Path:
    """The folder that the finished run has left. Not to be changed."""
    return finished / "results" / STUDY


def test_the_files_of_the_contract(left: Path) -> None:
    names = {path.name for path in left.iterdir()}
    assert {
        "pareto.csv",
        "trials.csv",
        "rejected.csv",
        "archs",
        "weights",
        "pareto.png",
        "report.html",
        "run.json",
        "study.db",
    } <= names
    assert not [name for name in names if name.startswith(".") or name.endswith(("-wal", "-shm"))]
    assert (left / "pareto.png").read_bytes().startswith(b"\x89PNG")


def test_the_front_is_that_of_the_complete_trials(left: Path) -> None:
    front, trials = table(left / "pareto.csv"), table(left / "trials.csv")
    complete = trials[trials.state == "complete"]
    best = [
        row.arch
        for row in complete.itertuples()
        if not any(
            other.params <= row.params
            and other.val_accuracy >= row.val_accuracy
            and (other.params, other.val_accuracy) != (row.params, row.val_accuracy)
            for other in complete.itertuples()
        )
    ]
    assert set(front.arch) == set(best)
    assert front.params.is_monotonic_increasing
    assert front.val_accuracy.between(0, 1).all()


def test_every_trial_is_under_budget_when_it_is_rebuilt(left: Path) -> None:
    trials = table(left / "trials.csv").set_index("arch")
    files = sorted((left / "archs").glob("*.toml"))
    assert {path.stem for path in files} == set(trials.index)
    assert len(files) >= 5
    for path in files:
        arch = Arch.load(path)
        counted = torchinfo.summary(build(arch), input_size=(1, *arch.input_shape), verbose=0).total_params
        assert arch.id == path.stem
        assert counted == trials.params[path.stem] < 20_000
        assert arch.cost.size_bytes("fp32") == trials.size_bytes[path.stem]
        assert arch.cost.macs == trials.macs[path.stem]
        assert arch.summary == trials.summary[path.stem]


def test_rejected_candidates_are_over_budget_and_were_not_trained(left: Path) -> None:
    rejected, trials = table(left / "rejected.csv"), table(left / "trials.csv")
    assert len(rejected) > 0
    assert (rejected.params >= 20_000).all()
    assert (rejected.broke == "params>=20000").all()
    assert rejected.arch.is_unique
    assert not set(rejected.arch) & set(trials.arch)


def test_weights_are_those_of_the_front_and_as_accurate_as_it_says(left: Path) -> None:
    front = table(left / "pareto.csv").set_index("arch")
    files = sorted((left / "weights").glob("*.safetensors"))
    assert {path.stem for path in files} == set(front.index)
    data = TrainingData.of(load_dataset("digits"), 3, torch.device("cpu"))
    for path in files:
        module = load_module(path)
        assert accuracy_and_loss(module, data.validation)[0] == front.val_accuracy[path.stem]
        assert path.stat().st_size <= front.size_bytes[path.stem] <= path.stat().st_size + 16_000
        written = read(path)
        assert written.arch.id == path.stem
        assert {"recipe", "normalisation", "classes", "dataset", "val_accuracy"} <= set(written.info)


def test_run_json(left: Path) -> None:
    about = json.loads((left / "run.json").read_text())
    trials, rejected = table(left / "trials.csv"), table(left / "rejected.csv")
    assert about["seed"] == 3
    assert about["device"] in ("cpu", "cuda")
    assert about["budget"]["max_params"] == 20_000
    assert about["dataset"]["fingerprint"] == load_dataset("digits").fingerprint
    assert {"python", "archsearch", "torch", "optuna"} <= set(about["versions"])
    assert "git_commit" in about
    assert tomllib.loads(about["space"]["toml"]) == tomllib.loads(TINY)
    assert about["counts"]["trained"] == len(trials) == 5
    assert about["counts"]["over_budget"] == len(rejected)
    assert about["counts"]["checked"] >= len(trials) + len(rejected) + about["counts"]["duplicates"]
    assert about["recipe"]["epochs"] == 2


def test_what_it_says_without_a_terminal(finished: Path, left: Path) -> None:
    lines = (finished / "stdout").read_text().splitlines()
    counts = json.loads((left / "run.json").read_text())["counts"]
    front = table(left / "pareto.csv")
    assert "\x1b" not in "".join(lines)
    assert any("--dataset cifar10" in line for line in lines[:3])
    assert [line[:5] for line in lines if line.startswith("[")] == [f"[{n}/5]" for n in range(1, 6)]
    summary = f"checked {counts['checked']}, over budget {counts['over_budget']}"
    assert any(line.startswith(summary) and line.endswith("trained 5") for line in lines)
    shown = lines[lines.index("Pareto front:") + 1 :][: len(front)]
    assert [line.split()[0] for line in shown] == list(front.arch)
    assert f"results/{STUDY}/" in lines[-1]


def test_the_study_opens_in_optuna(left: Path, tmp_path: Path) -> None:
    (tmp_path / "study.db").write_bytes((left / "study.db").read_bytes())
    url = sqlite_url(tmp_path / "study.db")
    assert optuna.get_all_study_names(url) == [STUDY]
    study = optuna.load_study(study_name=STUDY, storage=url)
    trials = table(left / "trials.csv")
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert study.metric_names == ["val_accuracy", "params"]
    assert [trial.user_attrs["arch"] for trial in study.get_trials()] == list(trials.arch)
    assert {trial.user_attrs["arch"] for trial in study.best_trials} == set(table(left / "pareto.csv").arch)


def test_the_same_seed_gives_the_same_run(start: Start, work: Path, left: Path) -> None:
    """Another process, forked rather than started, with the same answers to the last digit."""
    assert start(*RUN).wait().status == 0
    for name in ("pareto.csv", "trials.csv", "rejected.csv"):
        one, two = table(left / name), table(work / "results" / STUDY / name)
        pd.testing.assert_frame_equal(
            one.drop(columns=["train_seconds", *USAGE], errors="ignore"),
            two.drop(columns=["train_seconds", *USAGE], errors="ignore"),
            check_exact=True,
        )


def run(*more: str, trials: int = 4, epochs: int = 1, study: str = "s") -> list[str]:
    return ["run", "--max-params", "20k", "--space", "tiny.toml", "--trials", str(trials), "--epochs", str(epochs),
            "--study", study, *more]  # fmt: skip


def check_tables(folder: Path) -> pd.DataFrame:
    """Every table, weights and architecture file is whole; returns trials.csv."""
    front, trials = table(folder / "pareto.csv"), table(folder / "trials.csv")
    assert list(front.columns) == PARETO
    assert list(trials.columns) == TRIALS
    assert set(front.arch) <= set(trials.arch)
    for name in front.arch:
        assert load(folder / "weights" / f"{name}.safetensors") is not None
    for name in trials.arch:
        assert Arch.load(folder / "archs" / f"{name}.toml").id == name
    table(folder / "rejected.csv")
    json.loads((folder / "run.json").read_text())
    return trials


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_ended_in_the_middle_and_resumed(start: Start, work: Path, number: signal.Signals) -> None:
    """Two candidates trained, then Ctrl-C or a kill, then on to four in total."""
    folder = work / "results" / "s"
    options = ("--no-rungs", "--sampler", "random", "--seed", "1")
    process = start(*run(*options, trials=200, epochs=4))
    until(lambda: sum(line.startswith("[") for line in process.lines()) >= 2, process)
    process.signal(number)
    answer = process.wait()
    before = check_tables(folder)
    assert len(before) >= 2
    if number == signal.SIGINT:
        assert answer.status == 130
        assert answer.err.strip() == ""  # but for the end of the line that ^C stands in
        assert "--resume" in answer.out.splitlines()[-1]
        study = optuna.load_study(study_name="s", storage=sqlite_url(folder / "study.db"))
        assert all(trial.state.is_finished() for trial in study.get_trials())
    else:
        assert answer.status == -signal.SIGKILL
    total = len(before) + 2
    answer = start(*run(*options, "--resume", trials=total, epochs=4)).wait()
    assert (answer.status, answer.err) == (0, "")
    after = check_tables(folder)
    assert len(after) == after.arch.nunique() == total
    # A kill may fall between the study and the tables: the study is the record.
    assert list(after.arch[: len(before)]) == list(before.arch)
    counts = json.loads((folder / "run.json").read_text())["counts"]
    assert counts["trained"] == total
    assert counts["checked"] >= counts["over_budget"] + counts["duplicates"] + counts["trained"]


def test_resume_trains_nothing_when_the_total_is_reached(start: Start, work: Path, study: Path) -> None:
    before = {name: (study / name).read_bytes() for name in ("trials.csv", "pareto.csv", "rejected.csv")}
    answer = start(*RUN, "--resume").wait()
    assert answer.status == 0
    assert before == {name: (study / name).read_bytes() for name in before}


def test_references_are_trained_first_and_once(start: Start, work: Path) -> None:
    """Under 20k parameters only one network of the textbook is left for 8x8 pixels."""
    answer = start(*run("--references", trials=1)).wait()
    assert (answer.status, answer.err) == (0, "")
    trials = check_references(work / "results" / "s")
    assert [line.split()[1] for line in answer.out.splitlines() if "6,040 params" in line] == ["6,040"]
    assert start(*run("--references", "--resume", trials=2)).wait().status == 0
    again = check_references(work / "results" / "s")
    assert again.val_accuracy[0] == trials.val_accuracy[0]
    assert len(again) == 3


def test_references_after_the_last_candidate_are_in_the_table(start: Start, work: Path) -> None:
    assert start(*run(trials=1)).wait().status == 0
    assert start(*run("--references", "--resume", trials=1)).wait().status == 0
    assert len(check_references(work / "results" / "s")) == 2


def check_references(folder: Path) -> pd.DataFrame:
    """Of a run under 20k parameters; returns trials.csv."""
    trials = table(folder / "trials.csv")
    assert list(trials[trials.state == "reference"].reason) == ["mlp"]
    assert list(trials[trials.state == "reference"].params) == [6040]
    assert not set(trials[trials.state == "reference"].arch) & set(table(folder / "pareto.csv").arch)
    return trials


def test_recipe_values_are_used_kept_and_have_to_agree(start: Start, work: Path) -> None:
    options = ["--recipe", "lr=0.3", "--recipe", "batch_size=64"]
    assert start(*run(*options, trials=1)).wait().status == 0
    about = json.loads((work / "results" / "s" / "run.json").read_text())
    assert (about["recipe"]["lr"], about["recipe"]["batch_size"], about["recipe"]["epochs"]) == (0.3, 64, 1)
    assert about["deterministic"] is False
    front = table(work / "results" / "s" / "pareto.csv").arch
    assert read(work / "results" / "s" / "weights" / f"{front[0]}.safetensors").info["recipe"]["batch_size"] == 64
    for more, word in ((options[:2], "recipe"), ([*options, "--deterministic"], "deterministic")):
        answer = start(*run(*more, "--resume", trials=2)).wait()
        assert answer.status == 2
        assert f"was made with another {word}:" in answer.error
    assert start(*run(*options, "--resume", trials=2)).wait().status == 0


def test_few_photos_get_a_recipe_of_their_own_and_an_older_study_keeps_its(start: Start, work: Path) -> None:
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 60, (60, 36, 36), dtype=np.uint8), np.arange(60) % 2
    pixels[labels == 1] += 180
    small_npz(work / "few.npz", **{f"{part}_{what}": found for part in ("train", "test")
                                   for what, found in (("images", pixels), ("labels", labels))})  # fmt: skip
    words = ("run", "--space", "mlp", "--dataset", "npz:few.npz", "--max-params", "100k", "--study", "s", "--trials")
    answer = start(*words, "1").wait()
    assert (answer.status, answer.err) == (0, "")
    assert "few photos (60 of 36 pixels): epochs=40;" in answer.out
    folder = work / "results" / "s"
    study = optuna.load_study(study_name="s", storage=sqlite_url(folder / "study.db"))
    config = json.loads(study.user_attrs["archsearch"])
    config["recipe"] |= {"epochs": 1}
    del config["recipe"]["resized_crop"]
    study.set_user_attr("archsearch", json.dumps(config))
    answer = start(*words, "2", "--resume").wait()
    assert (answer.status, answer.err) == (0, "")
    assert "few photos" not in answer.out
    assert sorted(table(folder / "trials.csv").epochs) == [1, 40]
    answer = start(*words, "3", "--resume", "--epochs", "2").wait()
    assert "was made with another recipe" in answer.error


def about_dataset(folder: Path) -> dict[str, object]:
    return dict(json.loads((folder / "run.json").read_text())["dataset"])


def test_the_share_of_validation_images(start: Start, work: Path, command: Callable[..., Answer]) -> None:
    """It is the study's: a resumed run and the weights files keep to it."""
    folder = work / "results" / "s"
    assert "748 validation images" in start(*run("--validation", "0.5", trials=1)).wait().out
    assert about_dataset(folder)["validation"] == 0.5
    answer = start(*run("--validation", "0.3", "--resume", trials=2)).wait()
    assert answer.status == 2
    assert "dataset: validation was 0.5, is 0.3" in answer.error
    assert "748 validation images" in start(*run("--resume", trials=2)).wait().out
    row = table(folder / "pareto.csv").iloc[-1]
    path = folder / "weights" / f"{row.arch}.safetensors"
    assert command("retrain", "s", "--seeds", "1", "--epochs", "1").status == 0
    for file in (path, path.with_name(f"{row.arch}-seed0.safetensors")):
        found = json.loads(command("evaluate", file, "--split", "validation", "--json").out)
        assert found["n"] == 748
        assert file != path or found["accuracy"] == pytest.approx(row.val_accuracy, abs=0.02)


def test_a_study_that_says_nothing_of_its_validation_images(start: Start, work: Path) -> None:
    """One of before 2026-11-27 goes on with its split: the accuracies in it stay comparable."""
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (10_000, 8, 8), dtype=np.uint8), np.arange(10_000) % 2
    small_npz(work / "many.npz", train_images=pixels, train_labels=labels)
    options = ("--dataset", "npz:many.npz")
    assert "2,000 validation images" in start(*run(*options, trials=1)).wait().out
    folder = work / "results" / "s"
    study = optuna.load_study(study_name="s", storage=sqlite_url(folder / "study.db"))
    config = json.loads(study.user_attrs["archsearch"])
    del config["dataset"]["validation"]
    study.set_user_attr("archsearch", json.dumps(config))
    assert "1,000 validation images" in start(*run(*options, "--resume", trials=2)).wait().out
    assert about_dataset(folder)["validation"] is None


def test_the_timeout_ends_the_run(start: Start, work: Path) -> None:
    answer = start(*run("--timeout", "1s", "--no-rungs", trials=500)).wait()
    assert answer.status == 0
    assert "; time is up" in answer.out
    trials = check_tables(work / "results" / "s")
    assert 1 <= len(trials) < 500


def test_a_terminal_gets_a_live_view(start: Start, work: Path) -> None:
    master, slave = pty.openpty()
    seen = bytearray()

    def read_all() -> None:
        while True:
            try:
                part = os.read(master, 65536)
            except OSError:  # the other end has closed
                return
            seen.extend(part)

    reader = threading.Thread(target=read_all)
    process = start(*run(), terminal=os.ttyname(slave))
    reader.start()
    status = process.wait().status
    os.close(slave)
    reader.join(10)
    os.close(master)
    text = seen.decode()
    assert status == 0
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    # What the first and the last frame show; how many lie between depends on the machine.
    for words in ("checked ", "over budget ", "trained 0 of 4", "trained 4 of 4", "now: ", "Pareto front", " left"):
        assert words in plain
    assert "\x1b[?25l" in text  # the cursor is hidden
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # and comes back
    assert "trained 4" in plain.splitlines()[-2]
    front = table(work / "results" / "s" / "pareto.csv")
    assert all(name in plain[plain.rindex("Pareto front") :] for name in front.arch)


def test_a_folder_of_pictures(start: Start, work: Path) -> None:
    rng = np.random.default_rng(0)
    for label, level in (("dark", 0), ("bright", 180)):
        (work / "pets" / label).mkdir(parents=True)
        for number in range(20):
            pixels = (rng.integers(0, 60, (20, 24, 3)) + level).astype(np.uint8)
            Image.fromarray(pixels).save(work / "pets" / label / f"{number}.png")
    answer = start(*run("--dataset", "folder:pets", "--image-size", "16", trials=2)).wait()
    assert (answer.status, answer.err) == (0, "")
    trials = check_tables(work / "results" / "s")
    assert Arch.load(work / "results" / "s" / "archs" / f"{trials.arch[0]}.toml").input_shape == (3, 16, 16)
    best = work / "results" / "s" / "weights" / f"{table(work / 'results' / 's' / 'pareto.csv').arch[0]}.safetensors"
    assert read(best).info["classes"] == ["bright", "dark"]


def test_an_npz_whose_test_split_is_damaged(start: Start, work: Path) -> None:
    """The search never reads the test images: that they cannot be read goes unnoticed."""
    small_npz(work / "small.npz")
    with zipfile.ZipFile(work / "small.npz") as archive:
        offset = archive.getinfo("test_images.npy").header_offset
    content = bytearray((work / "small.npz").read_bytes())
    content[offset + 250 : offset + 300] = b"\xff" * 50
    (work / "small.npz").write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read"):
        load_dataset(f"npz:{work / 'small.npz'}").test()
    answer = start(*run("--dataset", "npz:small.npz", trials=3)).wait()
    assert (answer.status, answer.err) == (0, "")
    assert len(check_tables(work / "results" / "s")) == 3


def test_the_size_limit_works_alone(start: Start, work: Path) -> None:
    args = ["run", "--max-size", "20kB", "--size-dtype", "fp16", "--space", "tiny.toml", "--trials", "2"]
    answer = start(*args, "--epochs", "1", "--sampler", "tpe").wait()
    assert answer.status == 0
    trials = check_tables(work / "results" / "digits-tiny-size20kB-fp16")
    assert (trials.size_bytes < 20_000).all()


def test_the_size_limit_of_another_format(start: Start, work: Path) -> None:
    args = ["run", "--max-size", "30kB", "--size-format", "onnx", "--size-dtype", "int8", "--space", "tiny.toml"]
    answer = start(*args, "--trials", "2", "--epochs", "1").wait()
    assert (answer.status, answer.err) == (0, "")
    assert "under 30 kB (ONNX, int8)" in answer.out
    folder = work / "results" / "digits-tiny-size30kB-onnx-int8"
    for trial in check_tables(folder).itertuples():
        cost = Arch.load(folder / "archs" / f"{trial.arch}.toml").cost
        assert trial.size_bytes == file_bytes(cost, Written("int8", "onnx")) < 30_000
    assert json.loads((folder / "run.json").read_text())["budget"]["size_format"] == "onnx"
    other = start(*[*args[:4], "litert", *args[5:]], "--trials", "3", "--resume", "--study", folder.name).wait()
    assert other.status == 2
    assert "another budget" in other.err


def test_a_lower_limit(start: Start, work: Path) -> None:
    args = ["run", "--max-params", "20k", "--min-params", "600", "--space", "tiny.toml", "--trials", "2"]
    answer = start(*args, "--epochs", "1").wait()
    assert answer.status == 0
    assert "under 20,000 parameters, above 600 parameters" in answer.out
    folder = work / "results" / "digits-tiny-params20k-above600"
    assert (check_tables(folder).params > 600).all()
    rejected = table(folder / "rejected.csv")
    assert (rejected[rejected.params <= 600].broke == "params<=600").all()
    answer = start(*args, "--epochs", "1", "--resume", "--study", folder.name, "--min-params", "700").wait()
    assert answer.status == 2
    assert "another budget" in answer.err


def test_no_complete_training_is_a_no(command: Callable[..., Answer], work: Path) -> None:
    """Ten failures in a row: exit 1, the failures in the table, an empty front."""
    (work / "wild.toml").write_text(TINY.replace("[4, 8]", "[4, 5, 6, 7, 8]") + "[train]\nlr = 1e38\n")
    answer = command("run", "--space", "wild.toml", "--epochs", "1", "--study", "s", "--max-params", "20k")
    assert answer.status == 1
    assert "ten trainings in a row failed" in answer.out
    trials = table(work / "results" / "s" / "trials.csv")
    assert len(trials) == 10
    assert (trials.state == "failed").all()
    assert trials.val_accuracy.isna().all()
    assert trials.reason.str.contains("not finite").all()
    assert len(table(work / "results" / "s" / "pareto.csv")) == 0
    assert not list((work / "results" / "s").glob("weights/*"))


def test_resume_after_rejects_without_a_network(start: Start, work: Path) -> None:
    """Their rows in rejected.csv have no sizes, which must be read back as such."""
    rest = 'depth = { int = [0, 1] }\nstride = 2\ndown = "max"\n'
    widths = [f"width = {{ choice = [8, {n}] }}\n" for n in (9, 10, 11, 300)]
    stages = ['[[stage]]\nblock = "nin"\n' + width + rest for width in widths]
    (work / "deep.toml").write_text('[stem]\ntype = "none"\n' + "".join(stages) + '[head]\ntype = "linear"\n')
    args = ["run", "--space", "deep.toml", "--study", "s", "--max-params", "9k", "--epochs", "1", "--sampler", "random"]
    assert start(*args, "--trials", "6").wait().status == 0
    before = table(work / "results" / "s" / "rejected.csv")
    assert before.broke.str.startswith("no network").any()
    assert before.broke.str.startswith("params>=").any()
    answer = start(*args, "--trials", "8", "--resume").wait()
    assert (answer.status, answer.err) == (0, "")
    after = table(work / "results" / "s" / "rejected.csv")
    pd.testing.assert_frame_equal(after[: len(before)], before)


def test_what_a_study_that_is_gone_rejected_is_drawn_again(start: Start, work: Path) -> None:
    stage = '[[stage]]\nblock = "nin"\nwidth = { choice = [4, 8] }\n'
    (work / "two.toml").write_text(f'[stem]\ntype = "none"\n{stage}[head]\ntype = "linear"\n')
    args = ["run", "--space", "two.toml", "--study", "s", "--epochs", "1"]
    folder = work / "results" / "s"
    assert start(*args, "--max-params", "300").wait().status == 0
    assert (len(table(folder / "trials.csv")), len(table(folder / "rejected.csv"))) == (1, 1)
    for path in folder.glob("study.db*"):
        path.unlink()
    assert start(*args, "--max-params", "1M").wait().status == 0
    assert (len(table(folder / "trials.csv")), len(table(folder / "rejected.csv"))) == (2, 0)
    assert json.loads((folder / "run.json").read_text())["counts"]["over_budget"] == 0


def python(*code: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *code], capture_output=True, text=True, timeout=timeout, check=False)


@pytest.mark.parametrize("args", [["--help"], ["--version"]])
def test_help_imports_nothing_heavy(args: Sequence[str]) -> None:
    heavy = ("torch", "optuna", "pandas", "numpy", "matplotlib", "sklearn", "rich", "sqlalchemy")
    code = f"import sys; from archsearch.cli import _run; _run({args!r}); print({{*sys.modules}} & {{*{heavy!r}}})"
    done = python("-c", code)
    assert done.stdout.splitlines()[-1] == "set()"


def test_help_of_run_needs_no_torch_and_names_every_option() -> None:
    code = "import sys; from archsearch.cli import _run; _run(['run', '-h']); print('torch' in sys.modules)"
    lines = python("-c", code).stdout
    assert lines.splitlines()[-1] == "False"
    for name in ("max-params", "max-size", "max-macs", "max-activation", "size-dtype", "size-format", "min-params",
                 "space", "dataset",
                 "data-dir", "image-size", "trials", "timeout", "epochs", "sampler", "seed", "device", "study",
                 "storage", "out", "resume", "no-rungs", "workers", "recipe", "deterministic",
                 "validation"):  # fmt: skip
        assert f"--{name}" in lines


@pytest.mark.slow
def test_the_wheel_holds_the_search_spaces(tmp_path: Path) -> None:
    done = python("-m", "pip", "wheel", str(ROOT), "--no-deps", "--no-build-isolation", "--quiet", "-w", str(tmp_path))
    assert done.returncode == 0, done.stderr
    names = set(zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist())
    spaces = {f"archsearch/search_spaces/{path.name}" for path in (ROOT / "search_spaces").glob("*.toml")}
    assert len(spaces) >= 3
    assert spaces <= names
    assert "archsearch/py.typed" in names
    templates = {f"archsearch/report/html/templates/{name}" for name in ("page.html", "style.css", "script.js")}
    assert templates <= names
