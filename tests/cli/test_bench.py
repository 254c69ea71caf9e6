"""`archsearch bench`: files, or a candidate of a study, side by side."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from commands import STUDY, Answer, snapshot

from archsearch._utils import toolchain
from archsearch._utils.toolchain import Toolchain
from archsearch.inference import latency

Command = Callable[..., Answer]
ELSEWHERE = ("--measure-with", "sh -c 'echo 5.3 123456' {file}")
KEYS = [
    "format",
    "precision",
    "path",
    "bytes",
    "latency_ms",
    "ram_bytes",
    "accuracy",
    "metric",
    "score",
    "max_abs_diff",
    "error",
    "note",
]


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs beside the tests is not to refuse a measurement."""
    for name in ("DRIFT", "SPREAD"):
        monkeypatch.setattr(latency, name, math.inf)


@pytest.fixture
def best(study: Path) -> str:
    """The id of the most accurate network on the front."""
    return str(pd.read_csv(study / "pareto.csv", dtype={"arch": str}).iloc[-1].arch)


def rows_of(answer: Answer) -> list[dict[str, Any]]:
    assert (answer.status, answer.err) == (0, "")
    found = json.loads(answer.out)
    assert list(found) == ["rows"]
    assert all(list(row) == KEYS for row in found["rows"])
    return list(found["rows"])


def test_files_side_by_side(command: Command, study: Path, best: str) -> None:
    command("export", STUDY, best, "--format", "onnx")
    path, network = study / "export" / best / "model.onnx", study / "weights" / f"{best}.safetensors"
    onnx, mine = rows_of(command("bench", path, network, "--seconds", "0.1", "--json"))
    assert (onnx["format"], onnx["precision"], onnx["path"]) == ("onnx", "fp32", str(path))
    assert onnx["bytes"] == path.stat().st_size
    assert 0 < onnx["latency_ms"]["median"] <= onnx["latency_ms"]["p95"]
    assert mine["latency_ms"]["median"] > 0
    assert 0 < onnx["max_abs_diff"] < 1e-3
    assert mine["max_abs_diff"] == 0
    scores = json.loads(command("evaluate", path, "--split", "validation", "--json").out)
    assert onnx["accuracy"] == scores["accuracy"]
    assert onnx["error"] is mine["error"] is None


def test_a_candidate_in_every_format_that_is_here(
    command: Command, study: Path, best: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        toolchain, "TOOLCHAINS", {name: Toolchain(name, ("no_such",), ("no_such",), 0) for name in toolchain.TOOLCHAINS}
    )
    before = snapshot(study)
    rows = rows_of(command("bench", STUDY, best, *ELSEWHERE, "--precisions", "fp32,int8", "--json"))
    assert [(row["format"], row["precision"]) for row in rows] == [
        ("safetensors", "fp32"), ("onnx", "fp32"), ("onnx", "int8"), ("pt2", "fp32"), ("litert", "fp32"),
        ("litert", "int8"), ("executorch", "fp32"), ("executorch", "int8"), ("openvino", "fp32"), ("openvino", "int8"),
        ("ncnn", "fp32"),
    ]  # fmt: skip
    here, missing = rows[:4], rows[4:]
    assert all(row["latency_ms"] == {"median": 5.3, "p95": None} and row["ram_bytes"] == 123456 for row in here)
    assert all(row["accuracy"] > 0 and row["bytes"] > 0 and row["error"] is row["path"] is None for row in here)
    assert all(f"--setup {row['format']}" in row["error"] and row["latency_ms"] is None for row in missing)
    assert snapshot(study) == before


def test_a_file_that_was_exported_is_taken(command: Command, study: Path, best: str) -> None:
    command("export", STUDY, best, "--format", "onnx")
    (row,) = rows_of(
        command("bench", STUDY, best[:6], "--formats", "onnx", "--precisions", "fp32", *ELSEWHERE, "--json")
    )
    path = Path(row["path"])
    assert path.parts[-3:] == ("export", best, "model.onnx")
    assert row["bytes"] == (study / "export" / best / "model.onnx").stat().st_size


def test_the_table_fits_a_terminal(command: Command, study: Path, best: str) -> None:
    answer = command("bench", STUDY, best, "--formats", "safetensors,onnx", *ELSEWHERE)
    assert (answer.status, answer.err) == (0, "")
    table, _, below = answer.out.partition("\n\n")
    lines = table.splitlines()
    assert lines[0].split() == ["format", "at", "bytes", "ms", "p95", "RAM", "accuracy", "differ"]
    assert [line.split()[:2] for line in lines[1:]] == [
        ["safetensors", "fp32"], ["safetensors", "fp16"], ["safetensors", "bf16"],
        ["onnx", "fp32"], ["onnx", "fp16"], ["onnx", "int8"], ["onnx", "int8-weights"],
    ]  # fmt: skip
    assert max(map(len, lines)) <= 80
    assert {"5.3", "123.5", "kB"} <= {*lines[1].split()}
    assert below.splitlines()[-1] == f"ms: one image, by {ELSEWHERE[1]}"


def test_files_have_their_names(command: Command, study: Path, best: str) -> None:
    answer = command("bench", study / "weights" / f"{best}.safetensors", "--seconds", "0.1")
    assert answer.status == 0
    assert answer.out.splitlines()[0].split()[0] == "file"
    assert answer.out.splitlines()[1].split()[:2] == [f"{best}.safetensors", "fp32"]
    assert "1 thread on " in answer.out


def test_the_answer_is_no_where_nothing_could_be_timed(
    command: Command, study: Path, best: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = study / "weights" / f"{best}.safetensors"
    answer = command("bench", path, "--measure-with", "sh -c 'exit 3' {file}")
    assert (answer.status, answer.err) == (1, "")
    assert "ends with status 3, 3 times" in answer.out
    monkeypatch.setattr(latency, "_busy", lambda *args: "it is")
    answer = command("bench", path, "--seconds", "0.05", "--json")
    (row,) = json.loads(answer.out)["rows"]
    assert (answer.status, row["latency_ms"]) == (1, None)
    assert row["error"].startswith("not measurable on this busy machine")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("no.onnx",), "no.onnx: there is no such file, and for a study there are two arguments"),
        (("tiny.toml", "no.onnx"), "no.onnx: there is no such file"),
        (("a", "b", "c"), "a: there is no such file"),
        (("nostudy", "0123"), "there is no study 'nostudy'"),
        (("tiny.toml", "--formats", "onnx"), "--formats goes with STUDY ARCH"),
        ((STUDY, "0", "--formats", "tflite"), "unknown 'tflite': write all, or some of safetensors,onnx,pt2"),
        ((STUDY, "zzz"), "no candidate 'zzz'"),
        ((STUDY, "BEST", "--formats", "onnx", "--precisions", "bf16"), "--precisions bf16: no format of --formats"),
        (("tiny.toml", "--measure-with", "ssh pi measure.sh"), "says no {file}"),
        (("tiny.toml", "--threads", "0"), "--threads"),
        (("tiny.toml", "--seconds", "0"), "--seconds"),
    ],
)
def test_bad_input_is_one_line(command: Command, study: Path, best: str, args: tuple[str, ...], words: str) -> None:
    answer = command("bench", *(best if arg == "BEST" else arg for arg in args))
    assert answer.status == 2
    assert words in answer.error
