"""The table of docs/evidence/formats-shipped.md."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from by_path import benchmark_module
from exports import images_of, source_of
from paths import ROOT
from toolchains import installed

from archsearch._utils.formats import format_of
from archsearch._utils.toolchain import DATA
from archsearch.data import load_dataset
from archsearch.export import Source, export
from archsearch.inference import open_runner
from archsearch.inference.evaluate import accuracy

RESULTS = ROOT / "results"
KEPT = sorted(RESULTS.rglob("export/*/formats.json"))


@pytest.fixture(scope="module")
def module() -> Any:
    return benchmark_module("formats")


@pytest.fixture
def bench(module: Any, tmp_path: Path) -> Any:
    (tmp_path / "weights").mkdir()
    source = source_of(tmp_path / "weights" / "w.safetensors")
    images = images_of(source)
    return module.Bench(source, images, images.validation, DATA, tmp_path)


def test_a_row_has_bytes_answers_and_the_runtime(module: Any, bench: Any) -> None:
    plain, half = bench.row("safetensors", "fp32"), bench.row("safetensors", "fp16")
    assert (plain.most, plain.refused, int(plain.right.sum())) == (0, "", 60)
    assert half.bytes < plain.bytes == (bench.folder / "model.safetensors").stat().st_size
    assert half.most > 0
    assert plain.by.startswith("torch 2.")
    head, rule, *lines = module.table(bench, [plain, half, module.Row("ncnn", "fp16", "ncnn knows no such layer")])
    assert head.count("|") == rule.count("|")
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [row[:2] for row in cells] == [["safetensors", "fp16"], ["safetensors", "fp32"], ["ncnn", "fp16"]]
    assert cells[1][3:6] == ["100.00%", "0, 0", "0"]
    assert cells[2][2:] == ["", "", "", "", "", "ncnn knows no such layer"]
    assert {len(row) for row in cells} == {8}


def test_an_onnx_file_is_a_row_of_its_own_and_what_others_are_held_against(
    module: Any, bench: Any, tmp_path: Path
) -> None:
    assert bench.given() == []
    path = export(bench.source, tmp_path / "w.onnx", bench.images, "onnx", "int8").path
    again = module.Bench(Source.open(path), bench.images, bench.test, DATA, tmp_path)
    (own,), restored = again.given(), again.row("safetensors", "fp32")
    assert (own.kind, own.dtype, own.bytes, own.most) == ("onnx", "int8", path.stat().st_size, 0)
    assert restored.most == float(
        (again.logits - open_runner(tmp_path / "model.safetensors")(bench.test[0])).abs().max()
    )
    lines = module.table(again, [restored])
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["ONNX", "safetensors"]


def test_what_cannot_be_exported_is_a_row_too(bench: Any) -> None:
    row = bench.row("safetensors", "int8")
    assert row.refused == "safetensors files are written at fp32, fp16, bf16, not at int8"


def test_a_table_takes_the_place_of_an_older_one(module: Any) -> None:
    end = "<!-- end of the table -->\n"
    page = f"# Title\n\n<!-- table of a -->\nold\n{end}\n<!-- table of b -->\n{end}"
    found = module.written(page, "a", ["| new |", "|---|"])
    assert found == page.replace("old\n", "| new |\n|---|\n")
    assert module.written(found, "b", ["x"]).count("<!-- end") == 2
    with pytest.raises(ValueError, match="no line '<!-- table of c -->'"):
        module.written(page, "c", [])


def test_a_file_that_is_kept_has_its_score_beside_it(module: Any, bench: Any) -> None:
    for dtype in ("fp32", "fp16"):
        row = bench.row("safetensors", dtype)
        module.keep(bench, row, bench.place("safetensors", dtype))
    place = bench.folder / "export" / bench.source.arch.id
    said = json.loads((place / "formats.json").read_text())
    assert {name: about["accuracy"] for name, about in said.items()} == {
        "model.safetensors": 1.0,
        "model.fp16.safetensors": 1.0,
    }
    assert all((place / name).stat().st_size == about["bytes"] for name, about in said.items())


def test_what_a_microcontroller_answers_is_said_in_words(module: Any, bench: Any, tmp_path: Path) -> None:
    logits = bench.logits
    said = json.dumps({"version": "0.1", "arena": 12345})
    stand_in = tmp_path / "python"  # writes logits of which all say the first class
    stand_in.write_text(
        "#!/bin/sh\n"
        f"python -c \"import sys, numpy as np; x = np.load('$3'); "
        f"np.save('$4', np.eye(4, dtype='f')[np.zeros(len(x), int)])\"\necho '{said}'\n"
    )
    stand_in.chmod(0o755)
    first = int((logits.argmax(1) == 0).sum())
    found = module.micro(str(stand_in), tmp_path / "model.tflite", bench.test[0], logits)
    assert found == f"tflite-micro 0.1: arena 12,345 bytes, {first} of 60 labels as in LiteRT"


def test_formats_and_precisions_are_chosen(module: Any) -> None:
    every = SimpleNamespace(formats=None, dtypes=None, only=None)
    assert ("ncnn", "fp16") in list(module.wanted(every))
    some = SimpleNamespace(formats=["onnx", "pt2"], dtypes=["int8", "bf16"], only=None)
    assert list(module.wanted(some)) == [("onnx", "int8"), ("pt2", "bf16")]
    two = SimpleNamespace(formats=None, dtypes=None, only=["safetensors:fp32", "litert:int8"])
    assert list(module.wanted(two)) == [("safetensors", "fp32"), ("litert", "int8")]


@pytest.mark.parametrize("notes", KEPT, ids=lambda path: path.parent.name)
def test_committed_files_have_the_bytes_that_are_said(notes: Path) -> None:
    for name, about in json.loads(notes.read_text()).items():
        assert (notes.parent / name).stat().st_size == about["bytes"], name
        assert about["n"] == 10_000


@pytest.mark.slow
@pytest.mark.parametrize("notes", KEPT, ids=lambda path: path.parent.name)
def test_committed_files_give_their_accuracy_again(notes: Path) -> None:
    """Within a tenth of a point: kernels for 8 bits differ from processor to processor."""
    data = ROOT / "data" / "cifar10.npz"
    if not data.exists():
        pytest.skip(f"no {data}")
    pixels, labels = load_dataset(f"npz:{data}").test()
    for name, about in json.loads(notes.read_text()).items():
        if not (os.environ.get("CI") or installed(format_of(Path(name)))):
            pytest.skip(f"no runtime for {name}")
        assert accuracy(open_runner(notes.parent / name)(pixels), labels) == pytest.approx(about["accuracy"], abs=0.001)
