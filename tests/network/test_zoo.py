"""The textbook's networks: exact counts, and equal to torchvision's where torchvision has them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pandas as pd
import pytest
import torch
import torchvision
from commands import Answer
from paths import ROOT
from torch import nn

from archsearch.errors import SpecError, TrainingFailed
from archsearch.evaluation import Report
from archsearch.network import zoo
from archsearch.network.arch import Arch
from archsearch.network.budget import Budget
from archsearch.nn.build import AuxHead, build
from archsearch.report.files import write_tables
from archsearch.space.reader import load_space
from archsearch.study.records import Record
from archsearch.workers.measure import train_references

PARAMS = {
    "alexnet": 61_100_840,
    "cnn-cifar100": 643_492,
    "cnn-mlp": 1_341_674,
    "efficientnet-1mb": 233_886,
    "googlenet": 6_624_904,
    "lenet5": 44_426,
    "lenet5-bn": 44_710,
    "mlp": 47_100 + 1_830 + 310,
    "mobilenet-v2": 3_504_872,
    "mobilenet-v3-small-050": 917_264,
    "nin-cifar10": 966_986,
    "resnet-course-large": 4_903_242,
    "resnet-course-small": 78_042,
    "resnet-nin": 1_027_370,
    "resnet18": 11_689_512,
    "resnet20": 269_722,
    "resnet34": 21_797_672,
    "resnet34-cifar": 21_454_116,
    "resnet50": 25_557_032,
    "vgg11": 132_863_336,
    "vgg16": 138_357_544,
}
TORCHVISION = {
    "alexnet": "alexnet",
    "googlenet": "googlenet",
    "mobilenet-v2": "mobilenet_v2",
    "resnet18": "resnet18",
    "resnet34": "resnet34",
    "resnet50": "resnet50",
    "vgg11": "vgg11",
    "vgg16": "vgg16",
}
# Small enough to hold twice in memory and to run at 224x224 on a CPU in seconds.
COPIED = ["alexnet", "googlenet", "mobilenet-v2", "resnet18", "resnet34", "resnet50"]


def test_every_reference_is_expected() -> None:
    assert zoo.names() == sorted(PARAMS)


@pytest.mark.parametrize("name", PARAMS)
def test_parameters_are_exact(name: str) -> None:
    reference = zoo.load(name)
    cost = reference.arch.cost
    assert cost.params == PARAMS[name]
    assert reference.published in (None, cost.params)
    assert reference.published_training in (None, cost.params + cost.aux_params)
    with torch.device("meta"):
        module = build(reference.arch)
    assert sum(p.numel() for p in module.parameters()) == cost.params + cost.aux_params


def theirs(name: str, **options: object) -> nn.Module:
    extra = {"init_weights": False} if name in ("googlenet", "vgg11", "vgg16") else {}
    return torchvision.models.get_model(TORCHVISION[name], weights=None, **extra, **options)


@pytest.mark.parametrize("name", TORCHVISION)
def test_equal_to_torchvision_at_224(name: str) -> None:
    arch = zoo.load(name).arch
    assert (arch.input_shape, arch.classes) == ((3, 224, 224), 1000)
    with torch.device("meta"):
        model, ours, image = theirs(name).eval(), build(arch).eval(), torch.zeros(1, *arch.input_shape)
        assert model(image).shape == ours(image).shape == (1, *arch.cost.out)
    assert sum(p.numel() for p in model.parameters()) == arch.cost.params + arch.cost.aux_params
    assert sum(b.numel() for b in model.buffers()) == sum(b.numel() for b in ours.buffers())


def test_googlenet_without_auxiliaries() -> None:
    cost = zoo.load("googlenet").arch.cost
    with torch.device("meta"):
        model = theirs("googlenet", aux_logits=False)
    assert sum(p.numel() for p in model.parameters()) == cost.params == 6_624_904
    assert cost.params + cost.aux_params == 13_004_888


def with_state(module: nn.Module) -> Iterator[nn.Module]:
    """Layers with parameters, in our order: shortcuts before branches, auxiliary classifiers left out."""
    children = list(module.children())
    if isinstance(module, AuxHead):
        return
    if not children:
        if list(module.parameters()):
            yield module
        return
    children.sort(key=lambda child: child is not getattr(module, "downsample", None))
    for child in children:
        if child not in (getattr(module, "aux1", None), getattr(module, "aux2", None)):
            yield from with_state(child)


def copy(source: list[nn.Module], target: list[nn.Module]) -> None:
    for a, b in zip(source, target, strict=True):
        assert isinstance(b, type(a))  # a norm of ours is one of torch's that trains faster
        b.load_state_dict(a.state_dict())


def randomise(module: nn.Module) -> None:
    """Random norms too, so that a norm in another place shows."""
    generator = torch.Generator().manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor in (part.weight, part.running_var):
                tensor.detach().uniform_(0.5, 1.5, generator=generator)
            for tensor in (part.bias, part.running_mean):
                tensor.detach().uniform_(-0.2, 0.2, generator=generator)


@pytest.mark.parametrize("name", COPIED)
def test_torchvision_s_weights_give_torchvision_s_outputs(name: str) -> None:
    torch.manual_seed(0)
    arch = zoo.load(name).arch
    model, ours = theirs(name), build(arch)
    randomise(model)
    copy(list(with_state(model)), list(with_state(ours)))
    images = torch.randn(2, *arch.input_shape)
    with torch.no_grad():
        expected, found = model.eval()(images), ours.eval()(images)
    assert float(expected.std()) > 0
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def macs_by_layer(module: nn.Module, shape: tuple[int, ...]) -> list[tuple[tuple[int, ...], int]]:
    """Weights' shape and multiply-accumulates of every convolution and linear layer, in the order of a forward pass."""
    found: list[tuple[tuple[int, ...], int]] = []

    def note(layer: nn.Module, inputs: object, out: torch.Tensor) -> None:
        positions = out.numel() // out.shape[1]
        found.append((tuple(layer.weight.shape), positions * layer.weight.numel()))

    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(note)
    module.eval()(torch.zeros(1, *shape, device="meta"))
    return found


def test_half_of_mobilenet_v3_small_is_torchvision_s_layer_by_layer() -> None:
    """Its gates' activations are others, so that outputs are not equal: shapes and multiply-accumulates are."""
    arch = zoo.load("mobilenet-v3-small-050").arch
    with torch.device("meta"):
        model, ours = torchvision.models.mobilenet_v3_small(width_mult=0.5), build(arch)
    assert [p.shape for p in model.parameters()] == [p.shape for p in ours.parameters()]
    layers = macs_by_layer(model, arch.input_shape)
    assert layers == macs_by_layer(ours, arch.input_shape)
    assert sum(macs for _, macs in layers) == arch.cost.macs == 18_970_736


@pytest.mark.parametrize("classes", [5, 10])
def test_our_efficientnet_uses_its_limits(classes: int) -> None:
    cost = zoo.load("efficientnet-1mb").arch.adapted((3, 96, 96), classes).cost
    assert 950_000 < cost.size_bytes("fp32") < 1_000_000
    assert 45e6 < cost.macs < 60e6


def test_vgg_s_layers_are_torchvision_s_in_order() -> None:
    """Too large to run here twice: layer by layer on the meta device instead."""
    for name in ("vgg11", "vgg16"):
        with torch.device("meta"):
            pair = theirs(name), build(zoo.load(name).arch)
        # Adaptive pooling to 7x7 is the identity on 7x7; torchvision flattens outside of its layers.
        skipped = ("AdaptiveAvgPool2d", "Flatten", "Sequential")
        model, ours = (
            [repr(part).replace("inplace=True", "") for part in module.modules() if not list(part.children())]
            for module in pair
        )
        assert [line for line in model if not line.startswith(skipped)] == [
            line for line in ours if not line.startswith(skipped)
        ]


def test_googlenet_s_auxiliaries_equal_torchvision_s() -> None:
    torch.manual_seed(0)
    arch = zoo.load("googlenet").arch
    model = theirs("googlenet").train()
    heads = [part for part in build(arch).modules() if isinstance(part, AuxHead)]
    for source, target, channels in ((model.aux1, heads[0], 512), (model.aux2, heads[1], 528)):
        copy([*with_state(source)], [*with_state(target.head)])
        features = torch.randn(3, channels, 14, 14)
        for part in (source, target.head):
            part.train()
        torch.manual_seed(1)
        expected = source(features)
        torch.manual_seed(1)
        target.train()(features)
        torch.testing.assert_close(target.logits, expected, rtol=1e-4, atol=1e-5)
        assert target.weight == 0.3


def test_auxiliaries_are_trained_and_not_deployed() -> None:
    arch = zoo.load("googlenet").arch
    assert [stage.aux for stage in arch.stages if stage.aux] == ["googlenet", "googlenet"]
    again = Arch.from_toml(arch.to_toml())
    assert (again.id, again.cost) == (arch.id, arch.cost)
    module = build(arch.adapted((3, 64, 64), 7))
    heads = [part for part in module.modules() if isinstance(part, AuxHead)]
    module.train()(torch.randn(2, 3, 64, 64))
    assert [tuple(part.logits.shape) for part in heads] == [(2, 7), (2, 7)]
    module.eval()(torch.randn(2, 3, 64, 64))
    assert [part.logits for part in heads] == [None, None]


@pytest.mark.parametrize("name", [name for name, params in PARAMS.items() if params < 5_000_000])
def test_small_references_train_a_step(name: str) -> None:
    arch = zoo.load(name).arch
    arch = arch.adapted((3, 64, 64), 10) if arch.input_shape[1] == 224 else arch
    torch.manual_seed(0)
    module = build(arch).train()
    out = module(torch.randn(2, *arch.input_shape))
    out.square().mean().backward()
    assert out.shape == (2, arch.classes)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in module.parameters())


@pytest.mark.parametrize("name", ["cnn-mlp", "resnet-nin"])
def test_course_baselines_are_under_6_mb(name: str) -> None:
    assert zoo.load(name).arch.cost.size_bytes("fp32") < 6_000_000


@pytest.mark.parametrize("name", PARAMS)
def test_a_reference_file_is_an_architecture_and_a_space(name: str) -> None:
    path = ROOT / "search_spaces" / "references" / f"{name}.toml"
    arch = zoo.load(f"ref:{name}").arch
    assert Arch.load(path).id == arch.id
    space = load_space(str(path))
    assert space.draw(lambda name, dim: pytest.fail(name), arch.input_shape, arch.classes).id == arch.id


@pytest.mark.slow
def test_a_deep_network_without_normalisation_learns_by_its_own_recipe(
    tmp_path: Path, command: Callable[..., Answer]
) -> None:
    words = ("--dataset", "digits", "--epochs", "15", "--seeds", "1", "--study", "nin", "--out", tmp_path)
    answer = command("retrain", "ref:nin-cifar10", *words)
    assert (answer.status, answer.err) == (0, "")
    assert pd.read_csv(tmp_path / "nin" / "retrain.csv").test_accuracy[0] > 0.95


def test_an_unknown_reference_is_named() -> None:
    with pytest.raises(SpecError, match=r"no reference network 'resnet19' .did you mean 'resnet18'"):
        zoo.load("ref:resnet19")


def test_the_table_in_the_docs_is_generated() -> None:
    script = ROOT / "scripts" / "references.py"
    found = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert found.stdout == (ROOT / "docs" / "reference" / "references.md").read_text()
    assert "differs" not in found.stdout


def test_what_fits_small_images_is_adapted_and_the_rest_left_out() -> None:
    found = zoo.fitting((1, 8, 8), 7)
    assert {"mlp", "resnet-course-small", "resnet-course-large", "resnet20"} <= found.keys()
    assert not {"lenet5", "alexnet", "vgg16", "resnet18", "googlenet"} & found.keys()
    assert all((arch.input_shape, arch.classes, arch.cost.out) == ((1, 8, 8), 7, (7,)) for arch in found.values())


def test_references_are_trained_once_inside_the_budget_and_outside_the_trials(tmp_path: Path) -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])
    budget, trained = Budget(max_params=100_000), []

    def evaluate(arch: Arch, report: Report) -> float:
        trained.append(arch.cost.params)
        report(1, 0.5)
        return 0.75

    fitting = zoo.fitting((1, 8, 8), 10)
    rows = train_references(fitting, study, evaluate, budget, 0, lambda record: None)
    inside = {name for name, arch in fitting.items() if arch.cost.params < 100_000}
    assert {row.reason for row in rows} == inside
    assert {row.state for row in rows} == {"reference"}
    assert sorted(trained) == sorted(fitting[name].cost.params for name in inside)
    assert train_references(fitting, study, evaluate, budget, 0, lambda record: None) == rows
    assert len(trained) == len(inside)
    assert study.trials == []
    write_tables(tmp_path, rows, budget)
    table = pd.read_csv(tmp_path / "trials.csv")
    assert set(table.state) == {"reference"}
    assert table.trial.isna().all()
    assert pd.read_csv(tmp_path / "pareto.csv").empty


def test_a_reference_that_fails_is_not_kept() -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])
    seen: list[Record] = []

    def evaluate(arch: Arch, report: Report) -> float:
        raise TrainingFailed("no luck")

    assert train_references({"mlp": zoo.load("mlp").arch}, study, evaluate, Budget(), 0, seen.append) == []
    assert [(record.state, record.reason) for record in seen] == [("failed", "no luck")]
