"""Weights files: what is written is read, and what was tampered with is refused in one line."""

from __future__ import annotations

import json
import random
import zlib
from base64 import b85encode
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from strategies import SPACES, bare, draws, few
from torch import nn

from archsearch.errors import InputError
from archsearch.network.arch import Arch
from archsearch.network.file_size import METADATA_BYTES
from archsearch.network.stage import Part, Stage
from archsearch.nn.build import build
from archsearch.nn.weights import deployed_state, load_module, read, require_names, save

ARCH = Arch((3, 8, 8), 4, Part("conv", (("width", 8),)), (Stage("basic", 8, 2), Stage("nin", 12, 1, 2)), Part("linear"))
INFO: dict[str, Any] = {"classes": ["Katze", "größer", 'a"b'], "normalisation": {"mean": [0.1], "std": [0.2]}, "n": 3}


def trained(arch: Arch) -> nn.Sequential:
    """A network whose every weight, statistic and counter has moved."""
    module = bare(arch)
    with torch.no_grad():
        for i, tensor in enumerate(module.state_dict().values()):
            draw = torch.rand(tensor.shape, generator=torch.Generator().manual_seed(i))
            tensor.copy_(draw + 0.1 if tensor.is_floating_point() else torch.tensor(i + 1))
    return module


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return save(tmp_path / "weights" / "w.safetensors", trained(ARCH), ARCH, INFO)


# both ways


@pytest.mark.parametrize("space", SPACES)
def test_what_is_written_is_read_to_the_last_bit(space: str, tmp_path: Path) -> None:
    arch = min(draws(space, 8, seed=12), key=lambda arch: arch.cost.params)
    module = trained(arch)
    path = save(tmp_path / "w.safetensors", module, arch, {})
    again = load_module(path)
    state = module.state_dict()
    assert list(again.state_dict()) == list(state)
    assert all(torch.equal(tensor, state[name]) for name, tensor in again.state_dict().items())
    assert any(name.endswith("running_var") for name in state) == (arch.cost.buffers > 0)
    assert not again.training
    x = torch.rand(2, *arch.input_shape)
    with torch.no_grad():
        assert torch.equal(again(x), module.eval()(x))
    assert read(path).arch == arch


def test_the_description_comes_back(path: Path) -> None:
    found = read(path)
    assert (found.arch, found.info) == (ARCH, INFO)
    assert found.arch.id == ARCH.id
    assert read(str(path)) == found


def test_a_channels_last_module_is_written_like_any_other(path: Path, tmp_path: Path) -> None:
    other = save(tmp_path / "w", trained(ARCH).to(memory_format=torch.channels_last), ARCH, INFO)
    assert {n: t.tolist() for n, t in load_file(other).items()} == {n: t.tolist() for n, t in load_file(path).items()}


def test_equal_networks_are_equal_files(path: Path, tmp_path: Path) -> None:
    again = {save(tmp_path / f"{i}.safetensors", trained(ARCH), ARCH, INFO).read_bytes() for i in range(8)}
    assert again == {path.read_bytes()}
    header = json.loads(path.read_bytes()[8:].split(b"}}", 1)[0].decode() + "}}")
    assert list(header["__metadata__"]) == sorted(header["__metadata__"])


def test_halves_are_read_as_floats(tmp_path: Path) -> None:
    state = {name: t.half() if t.is_floating_point() else t for name, t in deployed_state(trained(ARCH)).items()}
    save_file(state, tmp_path / "w", metadata={"arch": ARCH.to_toml()})
    again = load_module(tmp_path / "w")
    assert all(torch.equal(again.state_dict()[name], t.to(again.state_dict()[name].dtype)) for name, t in state.items())
    assert read(tmp_path / "w").info == {}


def test_auxiliary_classifiers_stay_at_home(tmp_path: Path) -> None:
    arch = replace(ARCH, stages=(replace(ARCH.stages[0], aux="linear"), ARCH.stages[1]))
    module = trained(arch)
    path = save(tmp_path / "w", module, arch, {})
    aux = {name for name in module.state_dict() if ".head." in name}
    assert len(aux) == 2
    assert set(load_file(path)) == set(module.state_dict()) - aux == set(build(ARCH).state_dict())
    assert 0 <= arch.cost.size_bytes() - path.stat().st_size < 16_000
    x = torch.rand(2, *arch.input_shape)
    with torch.no_grad():
        assert torch.equal(load_module(path)(x), module.eval()(x))


SPECIES = [f"{genus}_{kind}_Common_{bird}" for genus in ("Acanthis", "Buteo", "Corvus", "Emberiza", "Falco")
           for kind in ("flammea", "lagopus", "monedula", "citrinella", "peregrinus", "minor")
           for bird in ("Redpoll", "Buzzard", "Jackdaw", "Bunting", "Falcon", "Thrush", "Wagtail", "Warbler", "Größe",
                        "Owl")]  # fmt: skip
IDS = [f"n{number:08}" for number in sorted(random.Random(0).sample(range(1_440_764, 15_075_142), 1000))]


@pytest.mark.parametrize("names", [IDS, SPECIES, [f"class number {i}" for i in range(1000)]])
def test_many_class_names_have_room_inside(tmp_path: Path, names: list[str]) -> None:
    arch = ARCH.adapted(ARCH.input_shape, len(names))
    path = save(tmp_path / "w", trained(arch), arch, {**INFO, "classes": names})
    assert read(path).info == {**INFO, "classes": names}
    with safe_open(path, "pt") as file:
        assert len(json.dumps(file.metadata())) <= METADATA_BYTES
    assert 0 <= arch.cost.size_bytes() - path.stat().st_size < 16_000
    assert [found.name for found in tmp_path.iterdir()] == ["w"]


def test_class_names_without_room_are_in_a_file_beside(tmp_path: Path) -> None:
    letters = random.Random(0)
    names = ["".join(letters.choices("abcdefgäöü", k=30)) for _ in range(1000)]
    info = {**INFO, "classes": names}
    path = save(tmp_path / "w.safetensors", trained(ARCH), ARCH, info)
    beside = tmp_path / "w.classes.json"
    assert json.loads(beside.read_text(encoding="utf-8")) == names
    assert read(path).info == info
    assert 0 <= ARCH.cost.size_bytes() - path.stat().st_size < 16_000
    beside.rename(tmp_path / "elsewhere")
    lost = read(path).info
    assert lost["classes_in"] == "w.classes.json"
    with pytest.raises(
        InputError, match=r"w\.safetensors: its class names are in w\.classes\.json: copy that beside it"
    ):
        require_names(lost, path)
    beside.write_text("[1]")
    assert "w.classes.json: its class names are no JSON list" in beside_error(path)
    save(path, trained(ARCH), ARCH, INFO)
    assert not beside.exists()


def beside_error(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read(path)
    return str(caught.value)


@pytest.mark.parametrize("text", ["", "~~~", "beside?", b85encode(zlib.compress(b"{}")).decode(), '"'])
def test_packed_names_that_are_none(path: Path, text: str) -> None:
    rewrite(path, lambda state, meta: meta.update(classes=text))
    assert "its class names are no JSON list of texts" in error_of(path)


def test_names_that_would_fill_the_memory(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archsearch.nn.weights._MOST_NAMES", 1000)
    bomb = b85encode(zlib.compress(json.dumps(["a"] * 1000).encode())).decode()
    rewrite(path, lambda state, meta: meta.update(classes=bomb))
    assert "its class names are no JSON list of texts" in error_of(path)


def test_a_file_names_no_folder_of_this_machine(tmp_path: Path) -> None:
    path = save(tmp_path / "w", trained(ARCH), ARCH, {**INFO, "dataset": "folder:/home/me/photos"})
    assert read(path).info["dataset"] == "folder:photos"
    assert b"/home/me" not in path.read_bytes()


def test_a_failed_write_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save", full)
    with pytest.raises(OSError, match="No space left"):
        save(path, trained(ARCH), ARCH, {})
    assert path.read_bytes() == before
    assert [found.name for found in path.parent.iterdir()] == [path.name]


# broken files

FIVE = ARCH.to_toml().replace("classes = 4", "classes = 5")


def error_of(path: Path) -> str:
    """The one line that loading this file raises."""
    with pytest.raises(InputError) as caught:
        load_module(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    return message


def rewrite(path: Path, change: Callable[[dict[str, torch.Tensor], dict[str, str]], object]) -> None:
    """Write the file again after a change of its tensors or metadata."""
    state = load_file(path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    change(state, metadata)
    save_file(state, path, metadata=metadata)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state, meta: meta.pop("arch"), "its metadata has no architecture"),
        (lambda state, meta: meta.update(arch="]["), "no valid TOML"),
        (lambda state, meta: meta.update(arch=""), "'input' is missing"),
        (lambda state, meta: meta.update(arch=ARCH.to_toml().replace('"basic"', '"bsaic"')), "did you mean 'basic'"),
        (lambda state, meta: meta.update(arch=ARCH.to_toml().replace("depth = 2", "depth = 1")), "is unknown"),
        (lambda state, meta: meta.update(arch=ARCH.to_toml().replace("depth = 2", "depth = 3")), "is missing"),
        (lambda state, meta: meta.update(arch=FIVE), "shape (4, 12), not (5, 12)"),
        (lambda state, meta: meta.update(arch=ARCH.to_toml().replace("width = 12", f"width = {10**12}")), "than 2^53"),
        (lambda state, meta: meta.update(info="{"), "its metadata 'info' is no JSON object"),
        (lambda state, meta: meta.update(info="[1]"), "its metadata 'info' is no JSON object"),
        (lambda state, meta: meta.update(info="[" * 100_000), "its metadata 'info' is no JSON object"),
        (lambda state, meta: state.pop("head.2.bias"), "head.2.bias is missing"),
        (lambda state, meta: state.update({"evil\n\x1b[31m": torch.zeros(1)}), "evil\\n\\x1b[31m is unknown"),
        (lambda state, meta: state.update({"head.2.bias": torch.zeros(5)}), "head.2.bias has shape (5,), not (4,)"),
    ],
)  # fmt: skip
def test_what_was_tampered_with_is_refused(path: Path, change: Callable[..., object], words: str) -> None:
    rewrite(path, change)
    assert words in error_of(path)


def foreign(path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, path)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.unlink(), "no readable safetensors file"),
        (lambda path: (path.unlink(), path.mkdir()), "no readable safetensors file"),
        (lambda path: path.write_bytes(b""), "no readable safetensors file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "no readable safetensors file"),
        (lambda path: path.write_bytes(path.read_bytes()[:100]), "no readable safetensors file"),
        (lambda path: path.write_bytes(path.read_bytes() + b"x"), "no readable safetensors file"),
        (lambda path: path.write_bytes(b"\xff" * 64), "no readable safetensors file"),
        (lambda path: torch.save({"a": torch.zeros(1)}, path), "no readable safetensors file"),
        (foreign, "its metadata has no architecture"),
    ],
    ids=["missing", "folder", "empty", "a byte short", "cut", "a byte long", "noise", "pickle", "foreign"],
)
def test_what_is_no_weights_file_is_refused(path: Path, make: Callable[[Path], object], words: str) -> None:
    make(path)
    assert words in error_of(path)


@few(60)
@given(st.integers(0, 3000), st.binary(min_size=1, max_size=4))
@example(576, b"\x7f")  # the name of a dtype, quoted
def test_a_damaged_header_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, at: int, junk: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    data = _whole(tmp_path_factory)
    path.write_bytes(data[:at] + junk + data[at + len(junk) :])
    message = ""
    try:
        module = load_module(path)
    except InputError as error:
        message = str(error)
    else:
        assert not module.training
    assert message.isprintable()


def _whole(factory: pytest.TempPathFactory) -> bytes:
    path = factory.getbasetemp() / "whole.safetensors"
    if not path.exists():
        save(path, trained(ARCH), ARCH, INFO)
    return path.read_bytes()
