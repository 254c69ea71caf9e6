"""Files of a network side by side."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from toolchains import HOSTED, kinds

from archsearch._utils import toolchain
from archsearch._utils.toolchain import Toolchain
from archsearch.data.dataset import Split
from archsearch.errors import InputError
from archsearch.export import Images, Source, bench, export, job
from archsearch.export.bench import Clock, Judge, Row, _weights, bench_files, bench_study
from archsearch.export.job import outputs
from archsearch.inference import Runner, latency, open_runner
from archsearch.inference.elsewhere import Elsewhere
from archsearch.inference.latency import Latency
from archsearch.inference.latency_cache import FILE, Key, LatencyCache, layers_of, machine
from archsearch.nn import weights


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs beside the tests is not to refuse a measurement."""
    for name in ("DRIFT", "SPREAD"):
        monkeypatch.setattr(latency, name, math.inf)


def clock(data_dir: Path, command: str = "") -> Clock:
    return Clock(1, 0.05, data_dir, Elsewhere(command) if command else None)


def timed_elsewhere(data_dir: Path) -> Clock:
    return clock(data_dir, "sh -c 'echo 5.3 1000' {file}")


def judge_by(images: Images) -> Judge:
    return lambda path, runner: images.validation


def retrained(source: Source) -> Source:
    """The same network with weights that are others by a little."""
    other = Source.open(source.path)
    with torch.no_grad():
        next(other.module.parameters()).add_(1e-6)
    return other


def test_files_are_held_against_the_network_of_the_same_weights(source: Source, images: Images, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("model.int8.onnx", "model.onnx", "model.safetensors", "other.onnx")]
    export(source, paths[0], images, "onnx", "int8")
    export(source, paths[1], images, "onnx")
    export(source, paths[2], images, "safetensors")
    export(retrained(source), paths[3], images, "onnx")
    rows = [*bench_files(paths, judge_by(images), timed_elsewhere(tmp_path))]
    assert [(row.format, row.precision, row.path) for row in rows] == [
        ("onnx", "int8", paths[0]), ("onnx", "fp32", paths[1]), ("safetensors", "fp32", paths[2]),
        ("onnx", "fp32", paths[3]),
    ]  # fmt: skip
    assert [row.bytes for row in rows] == [path.stat().st_size for path in paths]
    assert all(row.error is None and row.accuracy is not None and row.accuracy >= 0.9 for row in rows)
    differ = [row.max_abs_diff for row in rows]
    assert differ[0] is not None
    assert differ[1] is not None
    assert differ[0] > differ[1] < 1e-4
    assert differ[2:] == [0, None]


def test_what_is_measured_here_is_kept(source: Source, images: Images, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export(source, path, images, "onnx")
    (row,) = bench_files([path], judge_by(images), clock(tmp_path))
    assert row.median is not None
    assert row.p95 is not None
    assert 0 < row.median <= row.p95
    import onnxruntime

    key = Key(layers_of(source.arch), "onnxruntime", onnxruntime.__version__, "fp32", 1, machine())
    kept = LatencyCache(tmp_path).get(key)
    assert (kept and kept.median) == (None if row.note else row.median)


def test_where_nothing_can_be_kept_it_is_measured_and_said(source: Source, tmp_path: Path, images: Images) -> None:
    (tmp_path / FILE).parent.mkdir()
    (tmp_path / FILE).write_bytes(b"no database at all, and longer than a header" * 99)
    (row,) = bench_files([source.path], judge_by(images), clock(tmp_path))
    assert row.median is not None
    assert row.note is not None
    assert "remove it, or give --data-dir" in row.note


def test_formats_of_a_network_are_written_measured_and_removed(
    source: Source, images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network itself is run once for all of them."""
    wanted = [("safetensors", "fp16"), ("onnx", "fp32"), ("onnx", "int8")]
    runs = list[int]()
    monkeypatch.setattr(bench, "outputs", lambda of, pixels: runs.append(len(pixels)) or outputs(of, pixels))
    monkeypatch.setattr(job, "outputs", lambda of, pixels: runs.append(0))
    rows = [*bench_study(source, tmp_path / "export", images, wanted, timed_elsewhere(tmp_path))]
    assert [(row.format, row.precision) for row in rows] == wanted
    assert runs == [60]
    assert all((row.path, row.error, row.median, row.ram_bytes) == (None, None, 5.3, 1000) for row in rows)
    assert all(row.bytes and row.accuracy and row.max_abs_diff for row in rows)
    assert not (tmp_path / "export").exists()


@pytest.mark.parametrize("kind", kinds(*HOSTED, slow=True))
def test_other_runtimes_are_timed_where_they_are(source: Source, images: Images, tmp_path: Path, kind: str) -> None:
    (row,) = bench_study(source, tmp_path, images, [(kind, "fp32")], clock(tmp_path))
    assert (row.error, row.ram_bytes) == (None, None)
    assert row.median is not None
    assert row.median > 0
    assert row.max_abs_diff is not None
    assert row.max_abs_diff < 1e-4


def test_a_file_of_these_weights_is_taken_as_it_is(source: Source, images: Images, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    exported = export(source, path, images, "onnx")
    (row,) = bench_study(source, tmp_path, images, [("onnx", "fp32")], timed_elsewhere(tmp_path))
    assert (row.path, row.bytes, row.accuracy) == (path, exported.bytes, exported.parity.accuracy)
    (row,) = bench_study(retrained(source), tmp_path, images, [("onnx", "fp32")], timed_elsewhere(tmp_path))
    assert row.path is None


def test_a_file_is_judged_by_the_metric_of_its_training(source: Source, images: Images, tmp_path: Path) -> None:
    trained = replace(source, info={**source.info, "metric": "cohen-kappa"})
    exported = export(trained, tmp_path / "model.onnx", images, "onnx")
    assert exported.parity.judged is not None
    clock, wanted = timed_elsewhere(tmp_path), [("onnx", "fp32")]
    written, found = (
        row for folder in (tmp_path / "none", tmp_path) for row in bench_study(trained, folder, images, wanted, clock)
    )
    (opened,) = bench_files([tmp_path / "model.onnx"], judge_by(images), clock)
    assert (written.path, found.path) == (None, tmp_path / "model.onnx")
    for row in (written, found, opened):
        assert (row.metric, row.accuracy) == ("cohen-kappa", exported.parity.accuracy)
        assert row.score == pytest.approx(exported.parity.judged.after)
        assert row.plain()["score"] == row.score


def test_a_converter_that_is_missing_is_a_reason(
    source: Source, images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(toolchain.TOOLCHAINS, "litert", Toolchain("litert", ("no_such",), ("no_such",), 0))
    (row,) = bench_study(source, tmp_path, images, [("litert", "fp32")], clock(tmp_path))
    assert row.error is not None
    assert "--setup litert" in row.error
    assert row == Row("litert", "fp32", error=row.error)


def test_images_that_are_missing_leave_the_milliseconds(source: Source, tmp_path: Path) -> None:
    def judge(path: Path, runner: Runner) -> Split:
        raise InputError("no images are here")

    (row,) = bench_files([source.path], judge, clock(tmp_path))
    assert (row.accuracy, row.error) == (None, "no images are here")
    assert row.median is not None


def test_a_busy_machine_leaves_the_rest(
    source: Source, images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency, "_busy", lambda *args: "it is")
    (row,) = bench_files([source.path], judge_by(images), clock(tmp_path))
    assert (row.median, row.p95, row.bytes) == (None, None, source.path.stat().st_size)
    assert row.accuracy is not None
    assert row.error is not None
    assert row.error.startswith("not measurable on this busy machine: it is")


def test_a_median_that_is_not_known_well_is_said(
    source: Source, images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loose = Latency(5.0, 9.0, 4.6, 5.4, 12, (0.08, 0.02))
    monkeypatch.setattr("archsearch.export.bench.measure", lambda *args: loose)
    (row,) = bench_files([source.path], judge_by(images), clock(tmp_path))
    assert (row.median, row.error) == (5.0, None)
    assert row.note == "the median is known to 16% only, after 12 runs: give more --seconds than 0.05"


def test_files_that_cannot_be_run(tmp_path: Path, images: Images) -> None:
    broken, missing = tmp_path / "x.onnx", tmp_path / "y.onnx"
    broken.write_bytes(b"nothing")
    rows = [*bench_files([broken, missing], judge_by(images), clock(tmp_path))]
    assert all(row.error and row.median is None for row in rows)
    assert rows[0].bytes == 7
    assert rows[1].error is not None
    assert "y.onnx: No such file or directory" in rows[1].error


def test_a_file_of_others_is_timed(source: Source, images: Images, tmp_path: Path) -> None:
    import onnx

    export(source, tmp_path / "model.onnx", images, "onnx")
    model = onnx.load(tmp_path / "model.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "foreign.onnx")
    (row,) = bench_files([tmp_path / "foreign.onnx"], judge_by(images), clock(tmp_path))
    assert row.median is not None
    assert (row.precision, row.accuracy) == (None, None)
    assert row.error is not None
    assert "no architecture" in row.error


def test_rows_for_programs() -> None:
    row = Row("onnx", "fp32", Path("a/model.onnx"), 7, 5.0, 6.0, 9, 0.5, 1e-6)
    assert row.plain() == {
        "format": "onnx", "precision": "fp32", "path": "a/model.onnx", "bytes": 7,
        "latency_ms": {"median": 5.0, "p95": 6.0}, "ram_bytes": 9, "accuracy": 0.5, "metric": "accuracy", "score": 0.5,
        "max_abs_diff": 1e-6, "error": None, "note": None,
    }  # fmt: skip
    assert Row("onnx", error="no").plain()["latency_ms"] is None


def test_files_say_of_which_weights_they_are(source: Source, images: Images, tmp_path: Path) -> None:
    export(source, tmp_path / "model.fp16.safetensors", images, "safetensors", "fp16")
    said = {_weights(open_runner(path)) for path in (tmp_path / "model.fp16.safetensors", source.path)}
    assert said == {weights.digest(source.module)}
    assert weights.digest(retrained(source).module) not in said
