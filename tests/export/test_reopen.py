"""From an ONNX file back to a network that can be exported on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch
from exports import ARCH, CLASSES, INFO, images_of, settled, source_of
from shipped import Shelf
from torch import nn

from archsearch.errors import ExportFailed, InputError
from archsearch.export import FORMATS, TOLERANCE, Images, Source, export, write
from archsearch.inference import open_runner
from archsearch.network import zoo
from archsearch.network.arch import Arch
from archsearch.network.stage import Part, Stage
from archsearch.nn import weights

BARE = Stage("plain", 8, dims=(("norm", False),))
GATED = Stage("basic", 8, 2, 2, dims=(("se", 0.5),))
TAKEN = {
    "squeeze and excitation": Arch((3, 8, 8), 4, Part("conv"), (GATED,), Part("linear")),
    "one channel, no norm": Arch((1, 9, 7), 3, Part("none"), (BARE,), Part("linear")),
    "auxiliary": Arch((3, 8, 8), 4, Part("conv"), (Stage("plain", 8, aux="linear"), Stage("plain", 8)), Part("linear")),
    "no convolution": zoo.load("mlp").arch,
    "norms before kernels": Arch((3, 8, 8), 4, Part("conv"), (Stage("preact", 8, 2, 2),), Part("linear")),
}
SHARED = Arch((3, 8, 8), 4, Part("conv"), (Stage("separable", 8, 3, 2, shared=True),), Part("grouped"))


def in_onnx(folder: Path, source: Source) -> Path:
    """The source's network in fp32, unchecked, without its normalisation in the metadata."""
    model = write.onnx_model(source.network(), source.arch)
    write.write_onnx(folder / "m.onnx", model, source.arch, write.without_training(source.info))
    return folder / "m.onnx"


def answers(source: Source, images: Images) -> torch.Tensor:
    with torch.no_grad():
        return source.network()(images.validation[0][:].float() / 255)


@pytest.mark.parametrize("dtype", FORMATS["onnx"].dtypes)
def test_a_file_of_any_precision_is_enough(shelf: Shelf, source: Source, images: Images, dtype: str) -> None:
    path = shelf("onnx", dtype).path
    found = Source.open(path)
    assert (found.path, found.arch, found.module.training) == (path, ARCH, False)
    for side, values in INFO["normalisation"].items():
        assert found.info["normalisation"][side] == pytest.approx(values, abs=1e-6)
    assert (found.info["restored"], found.info["classes"]) == (dtype, CLASSES)
    assert not {"dtype", "weights"} & set(found.info)
    here, there = answers(found, images), open_runner(path)(images.validation[0])
    assert (here - there).abs().max() <= TOLERANCE[dtype] * max(1, there.abs().max())
    drift = (here - answers(source, images)).abs().max()
    assert (drift < 1e-5) == (dtype == "fp32")


@pytest.mark.parametrize("name", TAKEN)
def test_networks_of_every_kind(name: str, tmp_path: Path) -> None:
    source = source_of(tmp_path / "w.safetensors", TAKEN[name])
    images = images_of(source)
    found = Source.open(in_onnx(tmp_path, source))
    assert found.info["restored"] == "int8"  # what was written without its precision
    mine, theirs = answers(source, images), answers(found, images)
    assert (mine - theirs).abs().max() <= 1e-5 * max(1, mine.abs().max())


def test_layers_in_two_places_are_refused(tmp_path: Path) -> None:
    path = in_onnx(tmp_path, source_of(tmp_path / "w.safetensors", SHARED))
    with pytest.raises(InputError, match=r"stand in two places .*: export from a safetensors file"):
        Source.open(path)


@pytest.mark.parametrize(
    ("arch", "words"),
    [
        (replace(ARCH, stages=(Stage("basic", 8), Stage("nin", 16, 1, 2))), "which has a weight of"),
        (replace(ARCH, stages=ARCH.stages[:1]), "where its architecture has"),
        (replace(ARCH, stages=(*ARCH.stages, Stage("nin", 4))), "where its architecture has"),
        (zoo.load("resnet20").arch, "which is too short for the"),
    ],
)
def test_a_graph_of_another_network_is_refused(shelf: Shelf, tmp_path: Path, arch: Arch, words: str) -> None:
    model = onnx.load(shelf.copy(tmp_path, "onnx", "int8"))
    del model.metadata_props[:]
    write.write_onnx(tmp_path / "m.onnx", model, arch, {})
    with pytest.raises(InputError, match=words):
        Source.open(tmp_path / "m.onnx")


def test_a_graph_without_metadata_is_refused(shelf: Shelf, tmp_path: Path) -> None:
    model = onnx.load(shelf.copy(tmp_path, "onnx"))
    del model.metadata_props[:]
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match="its metadata has no architecture"):
        Source.open(tmp_path / "m.onnx")


def test_what_was_read_is_exported_on_and_says_so(shelf: Shelf, images: Images, tmp_path: Path) -> None:
    eight = Source.open(shelf("onnx", "int8").path)
    done = export(eight, tmp_path / "m.safetensors", images, "safetensors")
    assert done.parity.max_abs_diff == 0
    again = Source.open(done.path)
    assert again.info["restored"] == "int8"
    assert weights.digest(again.module) == weights.digest(eight.module)
    once_more = export(eight, tmp_path / "m.onnx", images, "onnx", "int8")
    assert once_more.bytes == pytest.approx(shelf("onnx", "int8").bytes, abs=300)


def test_a_network_that_answers_otherwise_than_its_file_is_a_no(shelf: Shelf, images: Images, tmp_path: Path) -> None:
    found = Source.open(shelf("onnx", "int8").path)
    other: nn.Module = settled(ARCH, 5)
    with pytest.raises(ExportFailed, match="the network that was read from it is another"):
        export(replace(found, module=other), tmp_path / "m.safetensors", images, "safetensors")
    assert [*tmp_path.iterdir()] == []
