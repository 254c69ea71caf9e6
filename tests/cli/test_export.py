"""`archsearch export`: from a study or a weights file to a checked file with a card."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from commands import STUDY, Answer, snapshot
from exports import ARCH, INFO, settled
from studies import retrained
from toolchains import HOSTED, marks, name_of

import archsearch
from archsearch._utils.formats import FORMATS, bytes_of, files_of
from archsearch._utils.toolchain import TOOLCHAINS
from archsearch.data import Dataset
from archsearch.errors import InputError
from archsearch.export import Source
from archsearch.nn import weights
from archsearch.study.storage import open_existing, records

Command = Callable[..., Answer]


@pytest.fixture
def best(study: Path) -> str:
    """The id of the most accurate network on the front."""
    return str(pd.read_csv(study / "pareto.csv", dtype={"arch": str}).iloc[-1].arch)


def done(answer: Answer) -> dict[str, object]:
    assert (answer.status, answer.err) == (0, "")
    found = json.loads(answer.out)
    assert set(found) == {"path", "bytes", "max_abs_diff", "accuracy"}
    return dict(found)


def test_the_test_split_is_not_read(command: Command, study: Path, best: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(self: Dataset) -> None:
        raise AssertionError("the test split was read")

    monkeypatch.setattr(Dataset, "test", read)
    for args in (("--format", "safetensors"), ("--format", "onnx", "--quantize", "int8")):
        assert command("export", STUDY, best, *args).status == 0
    with pytest.raises(AssertionError, match="was read"):
        command("evaluate", study / "export" / best / "model.safetensors")


def test_from_the_run_to_a_quantised_file_and_its_accuracy(
    command: Command, study: Path, best: str, work: Path
) -> None:
    found = done(
        command("export", STUDY, best, "--format", "onnx", "--quantize", "int8", "--max-size", "100kB", "--json")
    )
    path = work / "results" / STUDY / "export" / best / "model.int8.onnx"
    assert found["path"] == str(path.relative_to(work))
    assert found["bytes"] == path.stat().st_size < 100_000
    assert sorted(file.name for file in path.parent.iterdir()) == ["README.md", "model.int8.onnx"]
    again = json.loads(command("evaluate", path, "--split", "validation", "--json").out)
    assert again["accuracy"] == found["accuracy"]
    assert json.loads(command("evaluate", path, "--json").out)["n"] == 300


def test_what_it_says(command: Command, study: Path, best: str) -> None:
    answer = command("export", STUDY, best[:6], "--format", "safetensors", "--dtype", "fp16", "--check-images", 17)
    assert answer.status == 0
    path = study / "export" / best / "model.fp16.safetensors"
    lines = answer.out.splitlines()
    assert lines[0].startswith(
        f"results/{STUDY}/export/{best}/model.fp16.safetensors  (fp16, from results/{STUDY}/weights"
    )
    assert lines[1].split() == ["bytes", "on", "disk", f"{path.stat().st_size:,}"]
    assert "over 17 validation images" in lines[2]
    accuracy = pd.read_csv(study / "pareto.csv", dtype={"arch": str}).set_index("arch").val_accuracy[best]
    before = float(lines[3].partition("before export ")[2].partition("%")[0])
    assert before == pytest.approx(100 * accuracy, abs=0.7)  # the run may have measured in bfloat16
    assert lines[4].split()[-1] == f"results/{STUDY}/export/{best}/README.md"


def test_weights_alone_know_enough(command: Command, study: Path, best: str, work: Path) -> None:
    path = f"results/{STUDY}/weights/{best}.safetensors"
    found = done(command("export", path, "--format", "safetensors", "--json"))
    assert found["path"] == f"results/{STUDY}/export/{best}/model.safetensors"
    assert found["max_abs_diff"] == 0
    (work / "loose.safetensors").write_bytes((work / path).read_bytes())
    assert (
        done(command("export", "loose.safetensors", "--format", "safetensors", "--json"))["accuracy"]
        == found["accuracy"]
    )
    assert (work / "export" / best / "model.safetensors").exists()


def test_an_onnx_file_alone_is_enough(command: Command, study: Path, best: str, work: Path) -> None:
    first = done(
        command("export", STUDY, best, "--format", "onnx", "--quantize", "int8", "--output", "m.onnx", "--json")
    )
    found = done(command("export", "m.onnx", "--format", "safetensors", "--json"))
    assert found["path"] == f"export/{best}/model.safetensors"
    assert found["accuracy"] == pytest.approx(first["accuracy"], abs=0.01)
    card = (work / "export" / best / "README.md").read_text()
    assert f"network `{best}`. Its weights were read out of an ONNX file at int8." in card
    assert json.loads(command("evaluate", found["path"], "--split", "validation", "--json").out)["n"] > 0


def test_an_output_of_ones_own(command: Command, study: Path, best: str, work: Path) -> None:
    found = done(
        command("export", STUDY, best, "--format", "safetensors", "--output", "here/net.safetensors", "--json")
    )
    assert found["path"] == "here/net.safetensors"
    assert {path.name for path in (work / "here").iterdir()} == {"net.safetensors", "README.md"}
    assert not (study / "export").exists()


def test_retrained_weights_and_their_test_accuracy_come_first(command: Command, study: Path, best: str) -> None:
    own = Source.open(study / "weights" / f"{best}.safetensors")
    for seed in (2, 10):
        copy = study / "weights" / f"{best}-seed{seed}.safetensors"
        weights.save(copy, own.module, own.arch, {**own.info, "trained": "retrain"})
    opened, _ = open_existing(study)
    record = next(record for record in records(opened) if record.arch == best)
    retrained(opened, record, (0.865, 0.875, 0.885))
    answer = command("export", STUDY, best, "--format", "safetensors")
    assert f"from results/{STUDY}/weights/{best}-seed2.safetensors" in answer.out
    card = (study / "export" / best / "README.md").read_text()
    assert "test split: 87.50%, mean of 3 trainings, standard deviation 1.00 points" in card
    chosen = command(
        "export", STUDY, best, "--format", "safetensors", "--weights", study / f"weights/{best}.safetensors"
    )
    assert f"from {study}/weights/{best}.safetensors" in chosen.out
    assert "test split: not measured here" in (study / "export" / best / "README.md").read_text()


def test_a_study_alone_is_its_most_accurate_network(command: Command, study: Path, best: str, work: Path) -> None:
    answer = command("export", STUDY, "--format", "safetensors")
    assert (answer.status, answer.err) == (0, "")
    assert answer.out.startswith(
        f"results/{STUDY}/export/{best}/model.safetensors  (fp32, from results/{STUDY}/weights"
    )


def test_the_limit_of_the_study_holds_by_default(command: Command, work: Path) -> None:
    run = ("run", "--max-size", "40kB", "--space", "tiny.toml", "--trials", 1, "--epochs", 1, "--study", "s")
    assert command(*run).status == 0
    (arch,) = (path.stem for path in (work / "results/s/weights").iterdir())
    answer = command("export", "s", arch, "--format", "safetensors")
    assert "under 40 kB" in answer.out
    before = snapshot(work / "results/s/export")
    answer = command("export", "s", arch, "--format", "pt2")  # its graph alone is larger than that
    assert answer.status == 1
    assert "the exported file does not fit" in answer.error
    assert "not under 40 kB" in answer.error
    assert snapshot(work / "results/s/export") == before
    assert command("export", "s", arch, "--format", "pt2", "--max-size", "1MB").status == 0


def test_a_limit_of_a_format_holds_for_its_files_alone(command: Command, work: Path) -> None:
    limit = ("--max-size", "18kB", "--size-format", "onnx", "--size-dtype", "int8")
    run = ("run", *limit, "--space", "tiny.toml", "--trials", 1, "--epochs", 1, "--study", "s")
    assert command(*run).status == 0
    (arch,) = (path.stem for path in (work / "results/s/weights").iterdir())
    answer = command("export", "s", arch, "--format", "onnx", "--quantize", "int8")
    assert (answer.status, answer.err) == (0, "")
    assert "under 18 kB" in answer.out
    answer = command("export", "s", arch, "--format", "pt2")
    assert answer.status == 0
    assert "under 18 kB" not in answer.out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((STUDY, "BEST"), "--format"),
        ((STUDY, "BEST", "--format", "tflite"), "'tflite'"),
        (
            (STUDY, "BEST", "--format", "onnx", "--dtype", "bf16"),
            "onnx files are written at fp32, fp16, int8, int8-weights, not at bf16",
        ),
        (
            (STUDY, "BEST", "--format", "pt2", "--quantize", "int8"),
            "pt2 files are written at fp32, fp16, bf16, not at int8",
        ),
        ((STUDY, "BEST", "--format", "onnx", "--quantize", "int8", "--dtype", "fp32"), "exclude each other"),
        ((STUDY, "BEST", "--format", "onnx", "--output", "net.pt2"), "--output net.pt2: must end in .onnx"),
        ((STUDY, "BEST", "--format", "onnx", "--output", "net.onnx.xz"), "--output net.onnx.xz: must end in .onnx"),
        ((STUDY, "BEST", "--format", "pt2", "--max-size", "0"), "'0' is no size"),
        ((STUDY, "zz", "--format", "pt2"), "no candidate 'zz': ids are in"),
        (
            ("gone.safetensors", "--format", "pt2"),
            "gone.safetensors: there is no such weights file; STUDY or STUDY ARCH",
        ),
        (("nowhere", "--format", "pt2"), "there is no study 'nowhere'"),
        (("nowhere", "abc", "--format", "pt2"), "there is no study 'nowhere'"),
        ((STUDY, "BEST", "--format", "pt2", "--weights", "none"), "none: no readable safetensors file"),
        ((STUDY, "BEST", "--format", "pt2", "--image-size", "9"), "takes images of 1x8x8, digits has 1x9x9"),
        ((STUDY, "BEST", "--format", "pt2", "--dataset", "mnist", "--data-dir", "tiny.toml/x"), "mnist"),
        (("tiny.toml", "--format", "pt2"), "tiny.toml: no readable safetensors file"),
    ],
)
def test_bad_input_is_one_line(
    command: Command, study: Path, best: str, work: Path, args: tuple[str, ...], words: str
) -> None:
    before = snapshot(work)
    answer = command("export", *(best if arg == "BEST" else arg for arg in args))
    assert (answer.status, answer.out) == (2, "")
    assert words in answer.error
    assert snapshot(work).keys() == before.keys()


def test_weights_that_were_not_kept(command: Command, study: Path, best: str) -> None:
    (study / "weights" / f"{best}.safetensors").unlink()
    answer = command("export", STUDY, best, "--format", "pt2")
    assert answer.status == 2
    assert f"keeps no weights of {best}, it is not on the front: give --weights" in answer.error


def test_weights_of_another_network(command: Command, study: Path, best: str, work: Path) -> None:
    weights.save(work / "other.safetensors", settled(ARCH), ARCH, INFO)
    answer = command("export", STUDY, best, "--format", "safetensors", "--weights", "other.safetensors")
    assert answer.status == 2
    assert f"other.safetensors holds {ARCH.id}, not {best}" in answer.error


# formats whose packages are an extra, or an environment of their own


SHIPPED = {"litert": "int8", "executorch": "fp32", "openvino": "int8-weights", "ncnn": "fp16"}
"""One precision each: what they answer is tested in tests/export, for all of them."""


@pytest.mark.parametrize(("kind", "dtype"), [pytest.param(kind, SHIPPED[kind], marks=marks(kind)) for kind in HOSTED])
def test_a_file_of_another_runtime_from_the_run_to_its_labels(
    command: Command, study: Path, best: str, work: Path, kind: str, dtype: str
) -> None:
    precision = ("--quantize", dtype) if dtype.startswith("int8") else ("--dtype", dtype)
    found = done(command("export", STUDY, best, "--format", kind, *precision, "--json"))
    path = work / str(found["path"])
    assert path.name == name_of(kind, "model" if dtype == "fp32" else f"model.{dtype}")
    again = json.loads(command("evaluate", path, "--split", "validation", "--json").out)
    assert again["accuracy"] == found["accuracy"]
    assert command("evaluate", path, "--split", "validation", "--store-temperature").status == 0
    assert archsearch.load(path).temperature == pytest.approx(again["temperature"], abs=1e-3)
    checked = json.loads(command("check", path, "--json").out)
    assert checked["size_bytes"] == bytes_of(path) > found["bytes"]
    row = pd.read_csv(study / "pareto.csv", dtype={"arch": str}).set_index("arch").loc[best]
    assert (checked["params"], checked["macs"]) == (row.params, row.macs)
    answer = command("predict", path, "digits", "--split", "test", "--output", "p.csv")
    assert answer.status == 0, answer.err
    assert len(pd.read_csv(work / "p.csv")) == 300


@pytest.mark.parametrize("kind", HOSTED)
def test_packages_that_are_missing(
    command: Command, study: Path, best: str, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    real = importlib.util.find_spec
    absent = [*TOOLCHAINS[kind].convert, *TOOLCHAINS[kind].run]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name in absent else real(name, *rest))
    answer = command("export", STUDY, best, "--format", kind)
    assert (answer.status, answer.out) == (2, "")
    for words in (f"pip install 'archsearch[{kind}]'", f"archsearch export --setup {kind}"):
        assert words in answer.error
    assert not (study / "export").exists()


@pytest.mark.parametrize("kind", HOSTED)
@pytest.mark.parametrize("doing", ["evaluate", "predict"])
def test_a_file_by_others(command: Command, work: Path, kind: str, doing: str) -> None:
    path = work / name_of(kind)
    for file in files_of(path):
        file.write_bytes(b"\x1c\0\0\0TFL3" + bytes(99))
    answer = command(doing, path, *(["digits", "--split", "test"] if doing == "predict" else []))
    assert (answer.status, answer.out) == (2, "")
    assert "Only files of `archsearch export` can be run here" in answer.error
    files_of(path)[-1].unlink()
    assert "there is no such file" in command(doing, path, *(["digits"] if doing == "predict" else [])).error


def test_setting_up(command: Command, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archsearch._utils.toolchain.set_up", lambda name, data_dir: data_dir / "toolchains" / name)
    answer = command("export", "--setup", "ncnn", "--data-dir", "here")
    assert answer.status == 0
    assert "here/toolchains/ncnn: ready" in answer.out + answer.err

    def offline(name: str, data_dir: Path) -> Path:
        raise InputError("pip cannot install ncnn: ERROR: No matching distribution found for ncnn==1")

    monkeypatch.setattr("archsearch._utils.toolchain.set_up", offline)
    answer = command("export", "--setup", "ncnn")
    assert answer.status == 2
    assert "pip cannot install ncnn: ERROR: No matching distribution" in answer.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--format", "ncnn", "--quantize", "int8"), "ncnn files are written at fp32, fp16, not at int8"),
        (
            ("--format", "litert", "--dtype", "fp16"),
            "litert files are written at fp32, int8, int8-weights, not at fp16",
        ),
        (("--format", "executorch", "--dtype", "bf16"), "executorch files are written at fp32, int8, not at bf16"),
        (("--setup", "onnx"), "'onnx' is not one of 'litert', 'executorch', 'openvino', 'ncnn'"),
        ((), "export takes STUDY [ARCH], or a weights file, and --format"),
    ],
)
def test_bad_orders_for_other_runtimes(
    command: Command, study: Path, best: str, args: tuple[str, ...], words: str
) -> None:
    answer = command("export", STUDY, best, *args)
    assert (answer.status, answer.out) == (2, "")
    assert words in answer.error


@pytest.mark.parametrize(
    ("kind", "name"), [("litert", "net.pte"), ("openvino", "net.bin"), ("ncnn", "net.param"), ("executorch", "net")]
)
def test_an_output_of_another_kind(
    command: Command, study: Path, best: str, monkeypatch: pytest.MonkeyPatch, kind: str, name: str
) -> None:
    monkeypatch.setattr("archsearch.export.check_kind", lambda *_: None)
    answer = command("export", STUDY, best, "--format", kind, "--output", name)
    assert answer.status == 2
    assert f"--output {name}: must end in {FORMATS[kind].suffix}" in answer.error
