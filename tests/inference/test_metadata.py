"""A temperature stored with a file of each format: nothing else changes."""

from __future__ import annotations

import lzma
from pathlib import Path
from typing import Any

import onnx
import pytest
import safetensors
import torch
from exports import ARCH, INFO, pixels, settled
from shipped import Shelf
from toolchains import HOSTED, kinds

import archsearch
from archsearch._utils.formats import bytes_of, files_of
from archsearch.errors import InputError
from archsearch.export import Source, write
from archsearch.inference import open_runner
from archsearch.inference.metadata import TEMPERATURE, store, temperature_of
from archsearch.nn import weights

FILES = ["w.safetensors", "half.safetensors", "m.onnx", "m.onnx.xz", "m.pt2"]


@pytest.fixture(scope="module")
def files(source: Source, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    network, info = source.network(), source.info
    write.write_safetensors(folder / "w.safetensors", source.module, ARCH, info, "fp32")
    write.write_safetensors(folder / "half.safetensors", source.module, ARCH, info, "fp16")
    write.write_onnx(folder / "m.onnx", write.onnx_model(network, ARCH), ARCH, info)
    (folder / "m.onnx.xz").write_bytes(lzma.compress((folder / "m.onnx").read_bytes()))
    write.write_pt2(folder / "m.pt2", network, ARCH, info)
    return folder


@pytest.mark.parametrize("name", FILES)
def test_the_file_has_it_and_is_the_same_network(files: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes((files / name).read_bytes())
    before = open_runner(path)
    images = pixels(ARCH, 20, 5)
    wanted = before(images)
    assert archsearch.load(path).temperature == 1
    store(path, before.arch, {**before.info, TEMPERATURE: 1.4142})
    network, after = archsearch.load(path), open_runner(path)
    assert network.temperature == 1.4142
    assert after.info == {**before.info, TEMPERATURE: 1.4142}
    assert (after.arch, network.classes) == (before.arch, tuple(INFO["classes"]))
    assert torch.equal(after(images), wanted)
    assert [file.name for file in tmp_path.iterdir()] == [name]
    store(path, after.arch, {**after.info, TEMPERATURE: 2.5})
    assert archsearch.load(path).temperature == 2.5


@pytest.mark.parametrize("kind", kinds(*HOSTED))
def test_a_file_of_another_runtime_has_it(shelf: Shelf, tmp_path: Path, kind: str) -> None:
    path = shelf.copy(tmp_path, kind)
    before = open_runner(path)
    pixels_ = pixels(ARCH, 3, 5)
    wanted, size = before(pixels_), bytes_of(path)
    store(path, before.arch, {**before.info, TEMPERATURE: 1.4142})
    after = open_runner(path)
    assert after.info == {**before.info, TEMPERATURE: 1.4142}
    assert torch.equal(after(pixels_), wanted)
    assert archsearch.load(path).temperature == 1.4142
    assert sorted(tmp_path.iterdir()) == sorted(files_of(path))
    assert size < bytes_of(path) < size + 100
    store(path, before.arch, before.info)
    assert all(file.read_bytes() == shelf(kind).path.with_name(file.name).read_bytes() for file in files_of(path))


def test_tensors_and_graph_stay(files: Path, tmp_path: Path) -> None:
    for name in ("half.safetensors", "m.onnx"):
        (tmp_path / name).write_bytes((files / name).read_bytes())
        runner = open_runner(tmp_path / name)
        store(tmp_path / name, runner.arch, {**runner.info, TEMPERATURE: 0.5})
    graphs = [onnx.load(folder / "m.onnx").graph.SerializeToString(deterministic=True) for folder in (files, tmp_path)]
    assert graphs[0] == graphs[1]
    states: list[dict[str, Any]] = []
    for folder in (files, tmp_path):
        with safetensors.safe_open(folder / "half.safetensors", framework="pt") as file:
            states.append({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 - no dict
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert all(states[0][key].dtype == states[1][key].dtype for key in states[0])


def test_long_names_keep_their_room(tmp_path: Path) -> None:
    many = ARCH.adapted(ARCH.input_shape, 900)
    names = [f"a class with quite a long name, number {i * 7919 % 900:06}" for i in range(900)]
    path = weights.save(tmp_path / "w.safetensors", settled(many), many, {**INFO, "classes": names})
    size = path.stat().st_size
    store(path, many, {**weights.read(path).info, TEMPERATURE: 1.25})
    assert archsearch.load(path).classes == tuple(names)
    assert archsearch.load(path).temperature == 1.25
    assert path.stat().st_size <= size + 64


def test_names_that_are_missing_are_said_first(tmp_path: Path) -> None:
    path = weights.save(tmp_path / "w.safetensors", settled(ARCH), ARCH, INFO)
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"w\.classes\.json: copy that beside it"):
        store(path, ARCH, {"classes_in": "w.classes.json"})
    assert path.read_bytes() == before


@pytest.mark.parametrize("value", [0, -1.5, "warm", True, None, float("inf"), [1.0]])
def test_what_is_no_temperature(value: object) -> None:
    with pytest.raises(InputError, match=r"w: its temperature .* is no number above 0"):
        temperature_of({TEMPERATURE: value}, "w")


def test_whole_numbers_are_fine() -> None:
    assert temperature_of({TEMPERATURE: 2}, "w") == 2.0
    assert temperature_of({}, "w") == 1.0
