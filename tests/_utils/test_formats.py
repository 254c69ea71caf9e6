"""Formats by the names of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from archsearch._utils.formats import FORMATS, bytes_of, files_of, format_of


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_that_export_names_is_of_its_format(kind: str) -> None:
    for name in (f"model{FORMATS[kind].suffix}", f"model.int8{FORMATS[kind].suffix}"):
        assert format_of(Path(name)) == kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.onnx.xz", "onnx"), ("a.xz", "safetensors"), ("a.pte.xz", "safetensors"), ("a.param", "ncnn"),
        ("a.tflite.pte", "executorch"), ("weights", "safetensors"), ("a.bin", "safetensors"), ("xml", "safetensors"),
    ],
)  # fmt: skip
def test_other_names(name: str, kind: str) -> None:
    assert format_of(Path(name)) == kind


def test_the_files_of_one_network() -> None:
    assert [path.name for path in files_of(Path("d/model.int8.xml"))] == ["model.int8.xml", "model.int8.bin"]
    assert [path.name for path in files_of(Path("model.ncnn.param"))] == ["model.ncnn.param", "model.ncnn.bin"]
    for name in ("model.tflite", "model.pte", "model.onnx", "model.safetensors"):
        assert files_of(Path(name)) == [Path(name)]


def test_bytes_of_all_files(tmp_path: Path) -> None:
    (tmp_path / "m.xml").write_bytes(bytes(3))
    with pytest.raises(FileNotFoundError):
        bytes_of(tmp_path / "m.xml")
    (tmp_path / "m.bin").write_bytes(bytes(5))
    assert bytes_of(tmp_path / "m.xml") == 8
