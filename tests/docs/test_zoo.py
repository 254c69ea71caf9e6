"""docs/zoo.md and the list of certified networks: what `scripts/zoo.py` writes, from files that are there."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest
from paths import ROOT

from archsearch._utils.certified import Certified, local, networks
from archsearch.inference.latency_cache import machine


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("scripts_zoo", ROOT / "scripts" / "zoo.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_list_and_page_are_up_to_date(script: ModuleType) -> None:
    text = script.listed()
    assert text == script.LIST.read_text(encoding="utf-8"), "python scripts/zoo.py"
    assert script.page(json.loads(text)["networks"], script.timed()) == script.PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("one", networks().values(), ids=lambda one: one.name)
def test_the_checkout_holds_the_files(one: Certified) -> None:
    assert local(one) == ROOT / one.file
    assert hashlib.sha256((ROOT / one.file).read_bytes()).hexdigest() == one.sha256


@pytest.fixture
def stopwatch(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The script with a clock that says 1.25 ms, and a file of its own for what it measures."""
    monkeypatch.setattr(script, "TIMED", tmp_path / "zoo.json")
    monkeypatch.setattr(script, "Stopwatch", lambda timing, folder: lambda arch: 1.25)
    return tmp_path / "zoo.json"


def test_what_is_measured_stands_in_list_and_page(script: ModuleType, stopwatch: Path) -> None:
    assert (script.timed(), script.measured()) == ("", {})
    script.measure(["mnist-mlp", "mnist-lenet5"])
    script.measure(["mnist-44k"])
    found = [script.network(name) for name in ("mnist-mlp", "mnist-lenet5", "mnist-44k", "cifar100-cnn")]
    assert [one["latency_ms"] for one in found] == [1.25, 1.25, 1.25, None]
    assert machine() in script.timed()
    page = script.page(found, script.timed())
    assert page.count("| 1.25 |") == 3
    assert f"**ms** is the median for one image: {script.timed()}." in page


def test_figures_of_another_machine_are_dropped(script: ModuleType, stopwatch: Path) -> None:
    script.measure(["mnist-mlp"])
    stopwatch.write_text(json.dumps({**script.measured(), "machine": "another"}))
    script.measure(["mnist-lenet5"])
    assert [*script.measured()["milliseconds"]] == [networks()["mnist-lenet5"].arch]


def test_ram_and_bytes_by_format() -> None:
    one = networks()["cifar10-78k"]
    assert {"ONNX int8", "LiteRT int8", "ExecuTorch int8"} == {*one.formats}
    said = json.loads((ROOT / one.file).with_name("formats.json").read_text())["model.int8.tflite"]
    assert one.formats["LiteRT int8"] == said["bytes"]
    assert one.ram_bytes is not None
    measured = int(re.findall(r"arena ([\d,]+) bytes", said["by"])[0].replace(",", ""))
    assert measured <= one.ram_bytes < 1.1 * measured
    assert one.peak_activation_bytes < measured
