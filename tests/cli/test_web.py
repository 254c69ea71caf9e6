"""`archsearch export --format web`: from a study, and from an ONNX file that is there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from commands import STUDY, Answer
from paths import ROOT

from archsearch._utils.certified import find
from archsearch.export import web
from archsearch.inference import open_runner

Command = Callable[..., Answer]
FILES = {"ort.wasm.bundle.min.mjs": b"script", "ort-wasm-simd-threaded.wasm": b"code"}
ORDER = ("export", "zoo:mnist-44k", "--format", "web")


@pytest.fixture(autouse=True)
def runtime(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A runtime of a few bytes is in the data folder."""
    monkeypatch.setattr(web, "RUNTIME", {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()})
    monkeypatch.setenv(web.REGISTRY, "http://127.0.0.1:9")
    home = work / "data" / "web" / f"onnxruntime-web-{web.VERSION}"
    home.mkdir(parents=True)
    for name, data in FILES.items():
        (home / name).write_bytes(data)


def test_a_network_that_is_ready(command: Command, work: Path) -> None:
    answer = command(*ORDER)
    assert (answer.status, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert lines[0] == "web  (page for browsers, from zoo:mnist-44k)"
    assert lines[-1].endswith("python -m http.server --directory web, then http://localhost:8000")
    assert (work / "web" / "model.onnx").read_bytes() == (ROOT / find("mnist-44k").file).read_bytes()
    found = json.loads(command("export", "web/model.onnx", "--format", "web", "--output", "b", "--json").out)
    assert found == {
        "path": "b",
        "bytes": sum(path.stat().st_size for path in (work / "b").iterdir()),
        "max_abs_diff": None,
        "accuracy": None,
    }


def test_a_study(command: Command, study: Path, work: Path) -> None:
    best = str(pd.read_csv(study / "pareto.csv", dtype={"arch": str}).iloc[-1].arch)
    answer = command("export", STUDY, best, "--format", "web", "--quantize", "int8", "--json")
    assert (answer.status, answer.err) == (0, "")
    found = json.loads(answer.out)
    assert found["path"] == f"results/{STUDY}/export/{best}/web"
    assert found["accuracy"] > 0
    runner = open_runner(work / found["path"] / "model.onnx")
    assert (runner.arch.id, runner.info["dtype"]) == (best, "int8")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([*ORDER, "--quantize", "int8"], "--quantize: zoo:mnist-44k is an ONNX file and stays as it is: leave it out"),
        (["export", "zoo:mnist-lenet5", "--format", "web"], "zoo:mnist-lenet5 is no ONNX file"),
        (["export", "no.onnx", "--format", "web"], "no.onnx: there is no such weights file"),
        ([*ORDER, "--output", "tiny.toml"], "tiny.toml"),
        ([*ORDER, "--data-dir", "nowhere"], "--format web needs onnxruntime-web"),
    ],
)
def test_bad_input_is_one_line(command: Command, args: list[str], words: str) -> None:
    answer = command(*args)
    assert answer.status == 2
    assert words in answer.error
