"""What scripts of others read of the command line: exit statuses and the keys of `--json`."""

from __future__ import annotations

import json
import shlex
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import STUDY, Answer, Process

CANDIDATE = ["arch", "val_accuracy", "params", "size_bytes", "macs", "peak_activation_bytes", "epochs",
             "train_seconds", "trial", "seed", "summary", "state", "reason", "curve", "usage"]  # fmt: skip
SPACE = ["name", "summary", "input", "classes", "dims", "descriptions", "architectures", "recipes", "smallest",
         "largest", "share", "note"]  # fmt: skip
NETWORK = ["arch", "summary", "params", "size_bytes", "macs", "peak_activation_bytes", "ram_bytes"]


def arch_of(study: Path) -> str:
    """The smallest network on the front."""
    return (study / "pareto.csv").read_text().splitlines()[1].partition(",")[0]


@pytest.mark.parametrize(
    ("words", "status"), [("ref:lenet5 --max-params 5e6", 0), ("ref:lenet5 --max-params 5", 1), ("ref:lenet", 2)]
)
def test_yes_no_and_bad_input(start: Callable[..., Process], words: str, status: int) -> None:
    answer = start("check", *words.split()).wait()
    assert answer.status == status
    assert len(answer.err.splitlines()) == (status == 2)
    assert bool(answer.out) == (status < 2)


def test_interrupted(start: Callable[..., Process], work: Path) -> None:
    options = ["--space", "tiny.toml", "--trials", "99", "--epochs", "9", "--study", "s", "--device", "cpu"]
    process = start("run", "--max-params", "20k", *options)
    end = time.monotonic() + 120
    while not any(line.startswith("[") for line in process.lines()):  # a trained candidate
        assert time.monotonic() < end
        time.sleep(0.05)
    process.signal(signal.SIGINT)
    answer = process.wait()
    assert answer.status == 130
    assert "--resume" in answer.out.splitlines()[-1]
    assert "Traceback" not in answer.err
    assert len((work / "results" / "s" / "trials.csv").read_text().splitlines()) > 1


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        ("check ref:lenet5 --max-params 5e6 --json",
         ["target", "params", "size_bytes", "macs", "peak_activation_bytes", "ram_bytes", "limits", "ok",
          "size_dtype", "note"]),
        ("evaluate results/STUDY/weights/ARCH.safetensors --json",
         ["accuracy", "n", "per_class", "balanced-accuracy", "macro-f1", "macro-auroc", "average-precision",
          "cohen-kappa", "quadratic-kappa", "precision", "recall", "f1", "support", "ece", "temperature",
          "ece_at_temperature", "intervals"]),
        ("export STUDY ARCH --format safetensors --json", ["path", "bytes", "max_abs_diff", "accuracy"]),
        ("bench results/STUDY/weights/ARCH.safetensors --measure-with \"sh -c 'echo 5' {file}\" --json", ["rows"]),
        ("show STUDY ARCH --json", CANDIDATE),
        ("spaces --json", ["spaces"]),
        ("data --json", ["stores"]),
        ("data --clear --json", ["removed_bytes"]),
        ("data digits --json",
         ["name", "shape", "classes", "counts", "fingerprint", "files", "pixels", "blank", "doubts", "images",
          "several", "notes", "stores"]),
        ("spaces nin --max-params 5e6 --draws 50 --json", SPACE),
    ],
)  # fmt: skip
def test_keys_of_json(command: Callable[..., Answer], study: Path, words: str, keys: list[str]) -> None:
    answer = command(*shlex.split(words.replace("STUDY", STUDY).replace("ARCH", arch_of(study))))
    assert (answer.status, answer.err) == (0, "")
    assert list(json.loads(answer.out)) == keys


def test_keys_inside_json(command: Callable[..., Answer]) -> None:
    limit = json.loads(command("check", "ref:lenet5", "--max-params", "5e6", "--json").out)["limits"][0]
    assert limit == {"name": "params", "limit": 5_000_000, "value": limit["value"], "ok": True}
    space = json.loads(command("spaces", "--json").out)["spaces"][0]
    assert list(space) == ["name", "dims", "descriptions", "summary"]
    nin = json.loads(command("spaces", "nin", "--draws", "1", "--json").out)
    assert list(nin["smallest"]) == list(nin["largest"]) == NETWORK
