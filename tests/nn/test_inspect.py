"""Targets of `check`: each kind measured right, each fault one clear line."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn
from torch.nn import functional

from archsearch.errors import InputError, SpecError
from archsearch.network import zoo
from archsearch.network.arch import Arch
from archsearch.network.cost import layers
from archsearch.nn.build import build
from archsearch.nn.inputs import Input
from archsearch.nn.inspect import measure_target
from archsearch.nn.profile import measure_module
from archsearch.nn.weights import save
from archsearch.space.reader import load_space, shipped

ENTRY = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
SMALL = zoo.load("resnet-course-small").arch


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(64, 64, bias=False)
        self.decode = nn.Linear(64, 64, bias=False)
        self.decode.weight = self.encode.weight
        self.register_buffer("scale", torch.ones(5))
        self.register_buffer("scratch", torch.ones(7), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.decode(self.encode(x.flatten(1)))


class Lazy(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.LazyConv2d(8, 3, bias=False), nn.ReLU(inplace=True), nn.Flatten(), nn.LazyLinear(10))


class NoMeta(nn.Module):
    """Reads a value while it is built, and another in its forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, int(torch.tensor(3.0).item()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x.flatten(1)) * (2.0 if float(x.sum()) == 0 else 1.0)


class Broken(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no such luck\nsecond line")


def test_any_architecture_costs_as_a_module_what_its_formula_says() -> None:
    rng = random.Random(0)
    for name in shipped():
        space = load_space(name)
        for _ in range(4):
            arch = space.random(rng, (3, 16, 16), 10)
            try:
                wanted = arch.cost
            except SpecError:
                continue
            found = measure_module(lambda arch=arch: build(arch), "build", arch.input_shape).cost
            assert found.macs == wanted.macs, arch.summary
            assert found.params == wanted.params + wanted.aux_params, arch.summary
            if not wanted.aux_params:
                assert found.size_bytes("int8") == wanted.size_bytes("int8")
                assert found.size_bytes("fp16") == wanted.size_bytes("fp16")
            if name in ("resnin", "resnet", "nin", "lenet"):
                assert found.peak == wanted.peak, arch.summary


def test_layers_add_up_and_have_the_modules_names() -> None:
    rows = list(layers(SMALL.parts(), SMALL.input_shape))
    assert sum(row.params for row in rows) == SMALL.cost.params
    assert sum(row.macs for row in rows) == SMALL.cost.macs
    modules = dict(build(SMALL).named_modules())
    assert all(row.name in modules for row in rows)


@pytest.mark.parametrize(
    ("name", "params", "macs"),
    [
        ("resnet18", 11_689_512, 1_814_073_344),
        ("googlenet", 6_624_904, 1_498_376_192),
        ("inception_v3", 23_834_568, 2_837_921_120),
        ("alexnet", 61_100_840, 714_188_480),
        ("mobilenet_v2", 3_504_872, 300_774_272),
    ],
)
def test_torchvision(name: str, params: int, macs: int) -> None:
    found = measure_target(f"torchvision:{name}")
    assert (found.values["params"], found.values["macs"]) == (params, macs)
    assert found.values["peak_activation_bytes"]


def test_size_bytes_of_a_module_bound_its_file(tmp_path: Path) -> None:
    from torchvision.models import mobilenet_v2

    path = tmp_path / "m.safetensors"
    safetensors.torch.save_file(mobilenet_v2(weights=None).state_dict(), path)
    on_disk = path.stat().st_size
    assert on_disk <= measure_target("torchvision:mobilenet_v2").values["size_bytes"] <= on_disk + 16_000
    assert measure_target(str(path)).values["params"] == 3_504_872


def test_tied_parameters_once_buffers_apart() -> None:
    found = measure_module(Tied, "Tied", (1, 8, 8))
    assert found.cost.params == 64 * 64
    assert found.cost.buffers == 5
    assert found.cost.macs == 2 * 64 * 64


def test_lazy_layers_take_their_size_from_the_input() -> None:
    found = measure_module(Lazy, "Lazy", (3, 6, 6))
    assert found.cost.params == 3 * 8 * 9 + (8 * 16 * 10 + 10)
    assert found.cost.macs == 3 * 8 * 9 * 16 + 8 * 16 * 10
    assert found.cost.peak == max(3 * 36 + 8 * 16, 2 * 8 * 16)  # the in-place activation counts as a new tensor
    with pytest.raises(InputError, match="--input-shape"):
        measure_module(Lazy, "Lazy", None)


def test_what_does_not_work_without_memory_is_built_on_the_cpu() -> None:
    found = measure_module(NoMeta, "NoMeta", (1, 2, 2))
    assert found.traced
    assert found.cost.params == 15


def test_a_forward_pass_that_fails_leaves_the_parameters() -> None:
    found = measure_module(lambda: Broken(4, 3), "Broken", (1, 2, 2))
    assert not found.traced
    assert found.cost.params == 15
    assert "no such luck" in found.note
    assert "\n" not in found.note


def test_functional_layers_and_transposed_convolutions_are_counted() -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4, 3, 3, 3))
            self.up = nn.ConvTranspose2d(4, 2, 2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.up(functional.conv2d(x, self.weight))

    found = measure_module(Functional, "Functional", (3, 6, 6))
    assert found.cost.macs == 4 * 16 * 27 + 4 * 16 * 2 * 4


def test_weights_of_archsearch_know_their_architecture(tmp_path: Path) -> None:
    path = save(tmp_path / "w.safetensors", build(SMALL), SMALL, {})
    found = measure_target(str(path))
    assert found.values["params"] == 78_042
    assert found.values["size_bytes"] == path.stat().st_size
    assert found.values["macs"] == SMALL.cost.macs


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"epoch": 3, "state_dict": state}])
def test_a_state_dict(tmp_path: Path, wrap: object) -> None:
    path = tmp_path / "w.pt"
    torch.save(wrap(Tied().state_dict()), path)
    found = measure_target(str(path))
    assert found.values["params"] == 64 * 64 + 5  # nothing in a file says that `scale` is a buffer
    assert found.values["macs"] is None


def test_pickled_modules_are_refused_not_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "module.pt"
    torch.save(nn.Linear(2, 2), path)
    with pytest.raises(InputError, match=r"module\.pt: no state dict: it holds pickled objects"):
        measure_target(str(path))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("w.safetensors", b"\xff\xff\xff\xff\x00\x00\x00\x00{}", "cut off"),
        ("w.safetensors", (2).to_bytes(8, "little") + b"{]", "no readable safetensors"),
        ("w.safetensors", (70).to_bytes(8, "little") + ENTRY.ljust(70), "bytes of 'a'"),
        ("w.safetensors", (9).to_bytes(8, "little") + b'{"a": 3} ', "no readable safetensors"),
        ("w.pt", b"PK\x03\x04nothing", "no state dict"),
        ("w.pt", b"\x80\x02nothing", "no state dict"),
        ("w.bin", b"hello world", "neither an architecture"),
        ("w.bin", b"", "neither an architecture"),
        ("a.toml", b"input = 3", "'stem' is missing"),
    ],
)  # fmt: skip
def test_broken_files(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=says) as caught:
        measure_target(str(tmp_path / name))
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("torchvision:resnet81", "no model 'resnet81' .did you mean 'resnet"),
        ("ref:resnet-course-smal", "did you mean 'resnet-course-small'"),
        ("nowhere_at_all:x", "there is no module 'nowhere_at_all'"),
        (
            "torch.nowhere:x",
            "no module 'torch.nowhere' here or among the installed: say where it lies, such as by PYTH",
        ),
        ("torch.nn:Lineer", "no callable 'Lineer' .did you mean 'Linear'"),
        ("torch.nn:Linear", "raised TypeError"),
        ("torch:zeros", "raised TypeError"),
        ("builtins:dict", "gives dict, not a torch.nn.Module"),
        ("math:pi", "is float, not a callable"),
        ("missing.toml", "there is no such file"),
        ("some/folder", "there is no such file"),
        ("resnet18", "is no target"),
    ],
)
def test_no_such_target(target: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        measure_target(target)
    assert "\n" not in str(caught.value)


def test_a_file_of_code_is_told_its_module(tmp_path: Path) -> None:
    (tmp_path / "models.py").write_text("")
    with pytest.raises(InputError, match=rf"not its file: models:small, with PYTHONPATH={tmp_path}$"):
        measure_target(f"{tmp_path}/models.py:small")


def test_files_and_references_need_no_torch(tmp_path: Path) -> None:
    SMALL.dump(tmp_path / "net.toml")
    save(tmp_path / "w.safetensors", build(SMALL), SMALL, {})
    code = """
import sys
from archsearch.cli import _run
for target in ("net.toml", "w.safetensors", "ref:resnet-course-small"):
    assert _run(["check", target, "--max-params", "5e6", "--json"]) == 0
assert _run(["spaces", "--json"]) == 0
assert _run(["spaces", "mlp", "--json"]) == 0
heavy = {"torch", "torchvision", "optuna", "pandas", "sklearn"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[0])["params"] == 78_042


def test_auxiliary_classifiers_are_no_part_of_any_model() -> None:
    from torchvision import models

    for name in ("googlenet", "inception_v3"):
        plain = models.get_model(name, weights=None, aux_logits=False, init_weights=False)
        wanted = sum(part.numel() for part in plain.parameters())
        for found in (measure_target(f"torchvision:{name}"), measure_target(f"torchvision.models:{name}")):
            assert found.values["params"] == wanted
            assert "auxiliary classifiers, not deployed" in found.note


def test_auxiliary_classifiers_that_run_in_evaluation_are_left_out_too() -> None:
    from torchvision.models.segmentation import fcn_resnet50

    def network(aux: bool) -> nn.Module:
        return nn.Sequential(fcn_resnet50(weights=None, weights_backbone=None, aux_loss=aux))

    plain, found = (measure_module(lambda aux=aux: network(aux), "fcn", (3, 64, 64)).cost for aux in (False, True))
    assert (found.params, found.macs, found.size_bytes()) == (plain.params, plain.macs, plain.size_bytes())
    assert found.aux_params > plain.aux_params == 0


@pytest.mark.parametrize("target", ["ref:lenet5", "torchvision:resnet18"])
@pytest.mark.parametrize("inputs", [(Input((3, 8, 8)), Input((4,))), (Input((3, 8, 8), "int64"),)])
def test_what_takes_one_image_takes_no_other_input(target: str, inputs: tuple[Input, ...]) -> None:
    with pytest.raises(InputError, match="takes one image, not 3x8x8"):
        measure_target(target, input_shape=inputs)


def test_another_input_shape() -> None:
    wanted = SMALL.adapted((3, 64, 64), 10).cost
    assert measure_target("ref:resnet-course-small", input_shape=(3, 64, 64)).values["macs"] == wanted.macs
    assert isinstance(SMALL, Arch)
