"""benchmarks/campaign.py: a chain of real commands on digits, which goes on where it stopped."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from by_path import benchmark_module
from paths import ROOT

from archsearch import count
from archsearch.cli.options import budget_of
from archsearch.cli.run import run
from archsearch.space.reader import default_space, load_space


def campaign(folder: Path, *words: str) -> list[str]:
    """The commands that a campaign ran."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "campaign.py"), "digits", "--seeds", "2", *words],
        cwd=folder, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [line.split()[1] for line in done.stdout.splitlines() if line.startswith("archsearch ")]


def searched(folder: Path, *words: str, retrained: float = 0.0) -> tuple[Any, list[str]]:
    """A campaign after 24 minutes of search, and the commands that it calls from now on."""
    module, lines = benchmark_module("campaign"), []
    parts = module.Parts(module.parse(["cifar10-5M", "--out", str(folder), *words]))
    (parts.folder / "weights").mkdir(parents=True)
    (parts.folder / "pareto.csv").write_text("arch\n00e1\n0012\n")
    parts.note(spent={"search": 1440.0, "retrain": retrained}, winner="0012", limit=1440.0)
    parts.call = lambda *words: lines.append(" ".join(map(str, words)))
    for seed in range(2):
        (parts.folder / "weights" / f"0012-seed{seed}.safetensors").touch()
    return parts, lines


@pytest.mark.parametrize(
    ("words", "more", "end"),
    [
        (["1h"], [], "--within 2160s --timeout 2100s"),
        (["1h", "--compile"], ["--compile"], "--within 2160s --timeout 2100s"),
        (["20m"], [], "--within 20s --timeout 20s"),  # the search took longer than all was meant to
    ],
)
def test_what_the_search_left_is_for_the_trainings(tmp_path: Path, words: list[str], more: list[str], end: str) -> None:
    parts, lines = searched(tmp_path, "--time", *words, retrained=60.0 if words[0] == "1h" else 0.0)
    parts.all()
    line, *exports = lines
    assert line.startswith(f"retrain retrain {parts.folder} --arch 0012 --seeds 3 --recipe batch_size=512")
    assert line.endswith(" ".join(["--recipe policy=trivial", *more, end]))
    assert [line.split()[:2] for line in exports] == [["export", "export"]] * 2


def test_full_trainings_that_are_there_are_not_asked_for_again(tmp_path: Path) -> None:
    parts, lines = searched(tmp_path, "--time", "1h", "--seeds", "2")
    parts.all()
    assert [line.split()[0] for line in lines] == ["export"] * 2


def test_with_the_references_nothing_else_is_trained_and_they_are_trained_once(tmp_path: Path) -> None:
    """`--trials` of `archsearch run` counts what was trained, so a failed trial must not."""
    module = benchmark_module("campaign")
    parts = module.Parts(module.parse(["digits", "--time", "1h", "--out", str(tmp_path)]))
    parts.folder.mkdir()
    (parts.folder / "trials.csv").write_text("arch,state\n1,complete\n2,stopped\n3,failed\n4,reference\n")
    called: list[tuple[object, ...]] = []
    parts.call = lambda *words: called.append(words)
    parts.references()
    parts.references()
    (words,) = called
    assert "--references --trials 2 --resume" in " ".join(map(str, words))


def test_what_the_last_part_needs_is_asked_for_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = benchmark_module("campaign")
    monkeypatch.setattr(module, "EXPORTERS", ("onnx", "no_such_package"))
    monkeypatch.setattr("sys.argv", ["campaign.py", "digits", "--time", "15s", "--out", str(tmp_path / "new")])
    with pytest.raises(SystemExit, match=r"needs no_such_package: pip install '\.\[export\]'"):
        module.main()
    assert not (tmp_path / "new").exists()


def test_what_stands_behind_two_dashes_is_for_every_search(tmp_path: Path) -> None:
    module = benchmark_module("campaign")
    words = ["cifar10-5M", "--time", "20m", "--out", str(tmp_path), "--", "--workers", "auto"]
    parts = module.Parts(module.parse(words))
    called: list[tuple[object, ...]] = []
    parts.call = lambda *words: called.append(words)
    parts.search("search", 480.0, parts.folder)
    assert called[0][:2] == ("search", "run")
    assert "--workers auto --trials" in " ".join(map(str, called[0]))
    assert module.parse(words[:3]).more == []


def test_the_space_of_every_campaign_has_networks_within_its_limits(tmp_path: Path) -> None:
    module = benchmark_module("campaign")
    for name, about in module.CAMPAIGNS.items():
        parts = module.Parts(module.parse([name, "--time", "20m", "--out", str(tmp_path)]))
        called: list[list[str]] = []
        parts.call = lambda *words, called=called: called.append([str(word) for word in words])
        parts.search("search", 480.0, parts.folder)
        options = run.make_context("run", called[0][2:]).params
        limits, rng = budget_of(options), random.Random(0)
        shape = {"digits": (1, 8, 8), "cifar10": (3, 32, 32), "cifar100": (3, 32, 32)}.get(about.dataset, (1, 28, 28))
        space = load_space(options["space"] or default_space(shape))
        drawn = (count(space.random(rng, shape, 10)) for _ in range(300))
        assert any(limits.check(cost).ok for cost in drawn), name


@pytest.mark.parametrize(
    "words",
    [
        ("--time", "1s"),
        ("--time", "1h", "--seeds", "0"),
        ("--time", "1h", "--search-share", "1"),
        ("--time", "1h", "--more"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        benchmark_module("campaign").parse(["digits", *words])
    assert stop.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_a_search_alone_is_not_exported_and_later_weights_are(tmp_path: Path) -> None:
    """The search's own weights are no full training; a file made of older ones is made again."""
    module = benchmark_module("campaign")
    parts = module.Parts(module.parse(["digits", "--time", "1h", "--out", str(tmp_path)]))
    called: list[tuple[object, ...]] = []
    parts.call = lambda *words: called.append(words)
    weights, made = parts.folder / "weights", parts.folder / "export" / "00e1"
    for folder in (weights, made):
        folder.mkdir(parents=True)
    (weights / "00e1.safetensors").touch()
    with pytest.raises(SystemExit, match="no full training came to its end"):
        parts.export("00e1")
    for age, path in enumerate([made / "model.onnx", weights / "00e1-seed2.safetensors", made / "model.int8.onnx"]):
        path.touch()
        os.utime(path, (age, age))
    parts.export("00e1")
    assert [words[-2:] for words in called] == [("--format", "onnx")]
    assert weights / "00e1-seed2.safetensors" in called[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_end_from_outside_ends_the_command(tmp_path: Path, number: signal.Signals) -> None:
    """A terminal's Ctrl-C reaches the whole group, SIGTERM the campaign alone."""
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); import campaign; campaign.main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "digits", "--time", "200s"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": f"{ROOT / 'benchmarks'}:{ROOT}"}, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert any(line.startswith("[") for line in process.stdout)  # a candidate is done
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        said, _ = process.communicate(timeout=60)  # all that hold its output have ended
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 128 + number, said
    assert ("interrupted; everything finished is saved" in said) == (number == signal.SIGINT)
    assert "Traceback" not in said
    assert json.loads((tmp_path / "campaigns" / "digits" / "campaign.json").read_text())["spent"]["search"] > 0


@pytest.mark.slow
def test_a_campaign_ends_with_a_certified_file_and_is_not_done_twice(tmp_path: Path) -> None:
    words = ("--time", "15s", "--baseline", "--references")
    assert campaign(tmp_path, *words) == ["run", "run", "retrain", "export", "export", "run"]
    folder = tmp_path / "campaigns" / "digits"
    book = json.loads((folder / "campaign.json").read_text())
    assert set(book["spent"]) == {"search", "baseline", "retrain", "export", "references"}
    front, rows = (pd.read_csv(folder / f"{name}.csv", dtype={"arch": str}) for name in ("pareto", "retrain"))
    assert "mlp" in set(pd.read_csv(folder / "trials.csv").reason)
    assert book["winner"] == front.arch.iloc[-1]
    assert set(rows.arch) == {book["winner"]}
    assert len(pd.read_csv(folder / "random" / "trials.csv")) > 0
    assert {path.name for path in (folder / "export" / book["winner"]).glob("*.onnx")} == {
        "model.onnx",
        "model.int8.onnx",
    }
    assert set(campaign(tmp_path, "--time", "90s", *words[2:])) <= {"retrain"}  # where the machine was busy
    assert json.loads((folder / "campaign.json").read_text())["spent"]["search"] == book["spent"]["search"]
    after = pd.read_csv(folder / "retrain.csv", dtype={"arch": str})
    assert sorted(after.seed) == [0, 1]
    assert set(after.epochs) == set(rows.epochs)
    assert len(set(rows.epochs)) == 1
