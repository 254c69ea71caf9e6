"""Exported files: equal to their network, inside their limit, or not there at all."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exports import ARCH, images_of, info_of, settled, source_of
from onnx import numpy_helper
from shipped import Shelf
from toolchains import HERE, kinds, name_of, precisions
from torch import nn

from archsearch._utils.formats import files_of
from archsearch.errors import ExportFailed, InputError, SpecError
from archsearch.export import ACCURACY_DROP, FORMATS, TOLERANCE, Images, Source, export, write
from archsearch.export.quantize import evenly, quantized
from archsearch.export.verify import Parity, compare
from archsearch.inference import open_runner
from archsearch.network import zoo
from archsearch.network.arch import Arch
from archsearch.network.blocks import head, names, registry
from archsearch.network.layer_cost import LeafCost, Tensor
from archsearch.network.layers import Custom, Expr, Linear, Shape, seq
from archsearch.network.stage import Part, Stage
from archsearch.nn import weights
from archsearch.nn.build import build

# what is written is the network


@pytest.mark.parametrize(("kind", "dtype"), precisions())
def test_every_format_answers_as_the_network_does(
    shelf: Shelf, source: Source, images: Images, kind: str, dtype: str
) -> None:
    done = shelf(kind, dtype)
    assert sorted(done.path.parent.iterdir()) == sorted(files_of(done.path))
    assert done.bytes == sum(path.stat().st_size for path in done.path.parent.iterdir())
    assert done.parity.images == 50
    assert done.parity.labelled == (50 if kind == "pt2" and dtype != "fp32" else 60)
    assert done.parity.max_abs_diff <= TOLERANCE[dtype] * max(1, done.parity.scale)
    assert (done.parity.max_abs_diff == 0) == ((kind, dtype) in [("safetensors", "fp32"), ("pt2", "fp32")])
    assert done.parity.module_accuracy == 1
    assert done.parity.accuracy >= 1 - ACCURACY_DROP
    again = open_runner(done.path)
    said = source.info if kind == "safetensors" else write.without_training(source.info)
    assert (again.arch, again.info) == (ARCH, {**said, "dtype": dtype, "weights": weights.digest(source.module)})
    pixels = images.validation[0][:]
    wanted = source.network()(pixels.float() / 255)
    assert (again(pixels) - wanted).abs().max() <= TOLERANCE[dtype] * max(1, wanted.abs().max())
    assert again(pixels[:1]).shape == (1, 4)


@pytest.mark.parametrize("kind", kinds("onnx", "litert"))
def test_weights_that_were_replaced_since_they_were_opened_are_not_read(tmp_path: Path, kind: str) -> None:
    source = source_of(tmp_path / "w.safetensors")
    images = images_of(source)
    weights.save(source.path, settled(ARCH, 5), ARCH, source.info)  # `retrain --overwrite`
    assert export(source, tmp_path / name_of(kind), images, kind).parity.accuracy == 1


def test_a_lower_precision_takes_fewer_bytes(source: Source, images: Images, tmp_path: Path) -> None:
    sizes = {
        dtype: export(source, tmp_path / f"{dtype}.safetensors", images, "safetensors", dtype).bytes
        for dtype in FORMATS["safetensors"].dtypes
    }
    saved = 2 * sum(t.numel() for t in source.module.state_dict().values() if t.is_floating_point())
    assert abs(sizes["fp32"] - sizes["fp16"] - saved) < 200
    assert abs(sizes["fp16"] - sizes["bf16"]) < 100


def test_an_archive_names_no_folder_of_this_machine(source: Source, images: Images, tmp_path: Path) -> None:
    for kind in ("pt2", "onnx"):
        done = export(source, tmp_path / f"model.{kind}", images, kind)
        assert str(Path(torch.__file__).parent).encode() not in done.path.read_bytes()
        assert b".py" not in done.path.read_bytes()


def test_norms_are_folded_into_the_convolutions_of_an_onnx_graph(source: Source) -> None:
    kinds = [node.op_type for node in write.onnx_model(source.network(), ARCH).graph.node]
    assert kinds.count("Conv") == sum(isinstance(part, nn.Conv2d) for part in source.module.modules())
    assert "BatchNormalization" not in kinds


def test_quantised_weights_keep_to_seven_bits_and_the_normalisation_is_left_alone(
    source: Source, images: Images
) -> None:
    model = quantized(write.onnx_model(source.network(), ARCH), images.train[:])
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    kernels = [array for array in arrays.values() if array.dtype == np.int8 and array.ndim > 1]
    assert len(kernels) == sum(isinstance(part, nn.Conv2d | nn.Linear) for part in source.module.modules())
    assert all(63 <= abs(kernel.astype(int)).max() <= 64 for kernel in kernels)
    first = [next(n for n in model.graph.node if n.op_type == kind) for kind in ("Mul", "Sub")]
    assert "images" in first[0].input
    assert first[0].output[0] in first[1].input


def test_ranges_come_from_train_images(
    source: Source, images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []

    def watched(model: Any, pixels: torch.Tensor, **how: Any) -> Any:
        seen.append(pixels)
        return quantized(model, pixels, **how)

    monkeypatch.setattr("archsearch.export.job.quantized", watched)
    export(source, tmp_path / "m.onnx", images, "onnx", "int8")
    assert [torch.equal(pixels, images.train[:]) for pixels in seen] == [True]


def test_weights_stay_as_they_were(source: Source, images: Images, tmp_path: Path) -> None:
    before = {name: tensor.clone() for name, tensor in source.module.state_dict().items()}
    export(source, tmp_path / "m.pt2", images, "pt2", "fp16")
    assert all(torch.equal(tensor, before[name]) for name, tensor in source.module.state_dict().items())


# the size formula's promise


def promised() -> list[Arch]:
    small = [zoo.load(name).arch for name in ("lenet5", "lenet5-bn", "resnet20", "mlp")]
    return [ARCH, *small]


@pytest.mark.parametrize("dtype", FORMATS["safetensors"].dtypes)
@pytest.mark.parametrize("arch", promised(), ids=lambda arch: arch.id)
def test_the_size_formula_bounds_the_exported_file(arch: Arch, dtype: str, tmp_path: Path) -> None:
    info = {**info_of(arch), "dtype": dtype}
    write.write_safetensors(tmp_path / "m.safetensors", build(arch).eval(), arch, info, dtype)
    assert 0 <= arch.cost.size_bytes(dtype) - (tmp_path / "m.safetensors").stat().st_size < 16_000


# every block


def with_block(name: str) -> Arch:
    """A small network with the block, in the first place where it makes one."""
    for stage in (Stage(name, 12, 1, 2), Stage(name, 12, 1, 2, "max"), Stage(name, 8, 1, 2), Stage(name, 8)):
        for stem in (Part("conv", (("width", 8),)), Part("flatten")):
            arch = Arch((3, 8, 8), 4, stem, (stage,), Part("linear"))
            try:
                arch.parts()
            except SpecError:
                continue
            return arch
    raise AssertionError(f"block {name!r} makes no network here")


@pytest.mark.parametrize("name", names("block"))
def test_every_block_keeps_its_outputs_in_onnx_and_at_int8(name: str, tmp_path: Path) -> None:
    source = source_of(tmp_path / "w.safetensors", with_block(name))
    pixels, labels = images_of(source).validation[0][:], images_of(source).validation[1]
    mine = source.network()(pixels.float() / 255)
    model = write.onnx_model(source.network(), source.arch)
    eight = quantized(model, images_of(source).train[:])
    for found, share in ((model, 1e-5), (eight, 0.25)):
        write.write_onnx(tmp_path / "m.onnx", found, source.arch, source.info)
        parity = compare(mine, open_runner(tmp_path / "m.onnx")(pixels), labels, 1000)
        assert parity.max_abs_diff <= share * parity.scale
    assert "QuantizeLinear" in {node.op_type for node in eight.graph.node}


# unusual networks


@dataclass(frozen=True)
class Scale(Custom):
    """A leaf of a user's own: every feature times a learnt factor, plus a constant."""

    plus: float = 0.5

    def cost(self, shape: Shape) -> LeafCost:
        return LeafCost(shape, (Tensor("factor", shape),))

    def build(self, shape: Shape) -> nn.Module:
        return ScaleModule(shape, self.plus)


class ScaleModule(nn.Module):
    def __init__(self, shape: Shape, plus: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.linspace(0.5, 2, shape[0]))
        self.plus = plus

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factor + self.plus


def custom_head(shape: Shape, classes: int) -> Expr:
    return seq(*registry.expand("head", "linear", (shape, classes), ()).parts, Scale(), Linear(classes))


@pytest.fixture
def scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    head("scaled")(custom_head)


UNUSUAL = {
    "auxiliary": Arch((3, 8, 8), 4, Part("conv"), (Stage("plain", 8, aux="linear"), Stage("plain", 8)), Part("linear")),
    "one channel": Arch((1, 9, 7), 3, Part("conv", (("width", 4),)), (Stage("resnin", 8, 1, 2),), Part("linear")),
    "dropout": Arch((3, 8, 8), 4, Part("conv"), (Stage("plain", 8),), Part("linear", (("dropout", 0.5),))),
    "no norm": Arch((3, 8, 8), 4, Part("none"), (Stage("plain", 8, 1, 1, dims=(("norm", False),)),), Part("linear")),
    "no convolution": zoo.load("mlp").arch,
    "shared": Arch((3, 8, 8), 4, Part("conv"), (Stage("separable", 8, 3, 2, shared=True),), Part("grouped")),
    "custom": Arch((3, 8, 8), 4, Part("conv"), (Stage("basic", 8),), Part("scaled")),
}


@pytest.mark.usefixtures("scaled")
@pytest.mark.parametrize("name", UNUSUAL)
def test_unusual_networks_export_to_every_format(name: str, tmp_path: Path) -> None:
    source = source_of(tmp_path / "w.safetensors", UNUSUAL[name])
    images = images_of(source)
    done = [export(source, tmp_path / name_of(kind), images, kind) for kind in HERE]
    assert all(found.parity.max_abs_diff < 1e-4 for found in done)
    assert all(open_runner(found.path)(images.validation[0]).shape == (60, source.arch.classes) for found in done)


def test_auxiliary_classifiers_are_left_out(tmp_path: Path) -> None:
    source = source_of(tmp_path / "w.safetensors", UNUSUAL["auxiliary"])
    assert source.arch.cost.aux_params > 0
    kept = sum(parameter.numel() for parameter in source.network().parameters())
    assert (
        kept
        == source.arch.cost.params
        == sum(p.numel() for p in source.module.parameters()) - source.arch.cost.aux_params
    )


def test_a_network_that_torch_cannot_trace_is_a_no(
    source: Source, images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stubborn(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x

    monkeypatch.setattr(nn.ReLU, "forward", stubborn)
    for kind in ("pt2", "onnx"):
        with pytest.raises(ExportFailed, match="cannot be exported") as caught:
            export(source, tmp_path / f"m.{kind}", images, kind)
        assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


# refusals leave nothing


def refused(source: Source, folder: Path, images: Images, words: str, **options: Any) -> None:
    target = folder / "m.safetensors"
    target.write_bytes(b"before")
    with pytest.raises(ExportFailed, match=words):
        export(source, target, images, "safetensors", **options)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"m.safetensors": b"before"}


def test_a_file_over_its_limit_is_not_kept(source: Source, images: Images, tmp_path: Path) -> None:
    size = export(source, tmp_path / "m.safetensors", images, "safetensors").bytes
    refused(source, tmp_path, images, f"does not fit: {size:,} bytes are not under", max_size=size)
    assert export(source, tmp_path / "m.safetensors", images, "safetensors", max_size=size + 1).bytes == size


def test_a_file_that_answers_otherwise_is_not_kept(
    source: Source, images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def off(path: Path, module: nn.Module, arch: Arch, info: Any, dtype: str) -> None:
        other = settled(arch)
        with torch.no_grad():
            other.head[-1].bias[1] += 0.01
        weights.save(path, other, arch, info)

    monkeypatch.setattr(write, "write_safetensors", off)
    refused(source, tmp_path, images, "does not match: an output differs by 0.01 on 60 images, allowed at fp32")


def test_a_file_with_outputs_that_are_no_numbers_is_not_kept(tmp_path: Path) -> None:
    module = settled(ARCH)
    with torch.no_grad():
        module.head[-1].weight[0] = 1e6  # more than fp16 holds
    (tmp_path / "out").mkdir()
    weights.save(tmp_path / "w.safetensors", module, ARCH, source_of(tmp_path / "w").info)
    source = Source.open(tmp_path / "w.safetensors")
    refused(source, tmp_path / "out", images_of(source), "does not match: an output differs by inf", dtype="fp16")


def test_a_network_with_outputs_that_are_no_numbers_is_named(tmp_path: Path) -> None:
    module = settled(ARCH)
    with torch.no_grad():
        module.head[-1].weight[0] = torch.nan
    source = Source.open(weights.save(tmp_path / "w.safetensors", module, ARCH, source_of(tmp_path / "w").info))
    images = images_of(source_of(tmp_path / "w"))
    with pytest.raises(InputError, match=r"w\.safetensors: outputs are not finite for 60 of 60 images"):
        export(source, tmp_path / "m.onnx", images, "onnx")
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize(
    ("lost", "won", "n", "max_drop", "passes", "by_chance"),
    [
        (4, 0, 404, 0.01, True, False),  # under a point
        (6, 0, 404, 0.01, True, True),
        (14, 8, 404, 0.01, True, True),
        (12, 0, 404, 0.01, False, False),
        (12, 0, 404, 0.03, True, False),
        (1, 0, 20, 0.01, True, True),
        (5, 0, 20, 0.01, False, False),
        (110, 0, 10_000, 0.01, True, True),
        (130, 0, 10_000, 0.01, False, False),
        (30, 20, 10_000, 0.0, True, True),
        (50, 20, 10_000, 0.0, False, False),
        (0, 9, 60, 0.0, True, False),
        (1, 0, 1, 0.01, True, True),
        (10, 0, 10, 0.01, False, False),
    ],
)
def test_a_drop_is_judged_by_the_number_of_images(
    lost: int, won: int, n: int, max_drop: float, passes: bool, by_chance: bool
) -> None:
    before = (n - won) / n
    parity = Parity(n, 0.1, 7.0, before + (won - lost) / n, before, n, lost, won)
    assert parity.by_chance(max_drop) is by_chance
    for dtype in ("int8", "bf16"):
        if passes:
            parity.require(dtype, max_drop)
        else:
            with pytest.raises(ExportFailed, match=r"beyond chance; what helps: .*--max-drop"):
                parity.require(dtype, max_drop)


def test_images_are_compared_in_pairs() -> None:
    labels = torch.tensor([0, 1, 0, 1, 0])
    mine, theirs = (
        torch.nn.functional.one_hot(torch.tensor(said), 2).float() for said in ([0, 1, 0, 0, 1], [1, 0, 0, 1, 1])
    )
    parity = compare(mine, theirs, labels, 5)
    assert (parity.lost, parity.won, parity.labelled) == (2, 1, 5)
    assert (parity.module_accuracy, parity.accuracy) == (0.6, 0.4)
    assert parity.fall() == "1 of 5 images, 20.00 points"


def test_a_drop_of_more_than_a_point_is_not_kept(
    source: Source, images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels, labels = images.validation
    twice = Images(images.train, (pixels, (labels + torch.arange(60).eq(3)) % 4))
    assert export(source, tmp_path / "m.safetensors", twice, "safetensors").parity.accuracy == 59 / 60

    def worse(*args: Any) -> Any:
        parity = compare(*args)
        return type(parity)(**{**vars(parity), "accuracy": 50 / 60, "lost": 10})

    monkeypatch.setattr("archsearch.export.job.compare", worse)
    words = r"from 100.00% to 83.33%, 10 of 60 images, 16.67 points: more than --max-drop 1 point, beyond chance"
    refused(source, tmp_path, images, words)
    assert export(source, tmp_path / "m.safetensors", images, "safetensors", max_drop=0.2).parity.lost == 10


def test_so_many_images_calibrate(
    source: Source, images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    monkeypatch.setattr("archsearch.export.job.quantized", lambda model, pixels, **_: seen.append(len(pixels)) or model)
    export(source, tmp_path / "m.onnx", images, "onnx", "int8", calibration=20)
    assert seen == [20]


# bad orders


@pytest.mark.parametrize(
    ("kind", "dtype", "words"),
    [
        ("tflite", "fp32", "unknown format 'tflite': use one of safetensors, onnx, pt2, litert, executorch, "),
        ("onnx", "bf16", "onnx files are written at fp32, fp16, int8, int8-weights, not at bf16"),
        ("ncnn", "int8", "ncnn files are written at fp32, fp16, not at int8"),
        ("litert", "fp16", "litert files are written at fp32, int8, int8-weights, not at fp16"),
        ("pt2", "int8", "pt2 files are written at fp32, fp16, bf16, not at int8"),
    ],
)
def test_a_format_or_precision_that_is_none(
    source: Source, images: Images, tmp_path: Path, kind: str, dtype: str, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        export(source, tmp_path / "m", images, kind, dtype)


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_named_with_its_extra(
    source: Source, images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"{package}: pip install 'archsearch\[export\]'"):
        export(source, tmp_path / "m.onnx", images, "onnx")
    assert list(tmp_path.iterdir()) == []


def test_evenly_spaced_images_reach_both_ends() -> None:
    assert evenly(100, 4).tolist() == [0, 33, 66, 99]
    assert evenly(3, 4).tolist() == [0, 1, 2]
