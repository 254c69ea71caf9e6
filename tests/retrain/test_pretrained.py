"""Encoders from elsewhere: what is taken, what is frozen, what is refused."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models
from toys import toy

from archsearch.errors import InputError
from archsearch.network import zoo
from archsearch.network.arch import Arch
from archsearch.network.recipe import Recipe
from archsearch.network.stage import Part, Stage
from archsearch.nn import weights
from archsearch.nn.build import build
from archsearch.retrain.pretrained import Encoder, encoder, in_our_order
from archsearch.training.data import TrainingData
from archsearch.training.fit import fit
from archsearch.training.optim import initialise
from archsearch.training.setup import TrainingSetup

CPU = torch.device("cpu")
PARTS = Part("conv", (("width", 8),)), (Stage("basic", 8), Stage("nin", 12, 1, 2))
GREY = Arch((1, 8, 8), 3, *PARTS, Part("linear"))
COLOUR = Arch((3, 16, 16), 2, *PARTS, Part("linear", (("dropout", 0.1),)))
TORCHVISION = {
    "alexnet": "alexnet", "vgg11": "vgg11", "googlenet": "googlenet", "resnet18": "resnet18", "resnet50": "resnet50",
    "mobilenet-v2": "mobilenet_v2",
}  # fmt: skip


def network(arch: Arch, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    module = build(arch)
    initialise(module)
    return module


def saved(path: Path, arch: Arch) -> Path:
    return weights.save(path, network(arch, 7), arch, {"normalisation": {"mean": [0.5], "std": [0.2]}})


def test_everything_but_the_head_is_taken(tmp_path: Path) -> None:
    source = saved(tmp_path / "w.safetensors", GREY)
    there, module = weights.load_module(source).state_dict(), network(GREY, 1)
    head = copy.deepcopy(module.head.state_dict())
    encoder(str(source), frozen=False)(module)
    here = module.state_dict()
    assert all(torch.equal(here[name], there[name]) for name in here if not name.startswith("head."))
    assert all(torch.equal(value, head[name]) for name, value in module.head.state_dict().items())
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_a_frozen_encoder_stays_and_the_head_learns(tmp_path: Path) -> None:
    arch = GREY.adapted((1, 8, 8), 2)
    start = encoder(str(saved(tmp_path / "w.safetensors", GREY)), frozen=True)
    data = TrainingData.whole(toy(60), CPU)
    seen: list[nn.Module] = []

    def watch(module: nn.Module) -> None:
        start(module)
        seen.append(copy.deepcopy(module))

    setup = TrainingSetup(data, Recipe(epochs=2, batch_size=16), start=watch)
    module = fit(arch, setup, lambda *_: None).module
    before, after = seen[0].state_dict(), dict(module.state_dict())
    for name, parameter in module.named_parameters():
        assert parameter.requires_grad == name.startswith("head.")
        assert torch.equal(before[name], after[name]) != name.startswith("head.")
    statistics = [name for name in after if name.endswith("running_mean")]
    assert statistics
    assert not any(torch.equal(before[name], after[name]) for name in statistics)  # taken anew on the new images
    again = fit(arch, replace(setup, recipe=Recipe(epochs=1, batch_size=16)), lambda *_: None).module
    assert all(torch.equal(after[name], again.state_dict()[name]) for name in statistics)  # and then left alone


@pytest.mark.parametrize(("source", "target"), [(COLOUR, (1, 16, 16)), (GREY, (3, 8, 8))])
def test_a_grey_image_gives_the_features_of_the_same_image_in_colour(
    source: Arch, target: tuple[int, int, int]
) -> None:
    first = network(source, 3).eval()
    second = network(source.adapted(target, source.classes), 4).eval()
    Encoder("w", first.state_dict())(second)
    grey = torch.randn(4, 1, *source.input_shape[1:])
    images = [grey.expand(-1, shape[0], -1, -1) for shape in (source.input_shape, target)]
    with torch.no_grad():
        one, two = first[:-1](images[0]), second[:-1](images[1])
    torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-4)


def test_another_stem_is_new_unless_frozen() -> None:
    wide = Arch((1, 8, 8), 3, Part("conv", (("width", 8), ("kernel", 5))), GREY.stages, GREY.head)
    state = network(wide).state_dict()
    module = network(GREY, 2)
    stem = module.state_dict()["stem.0.weight"].clone()
    Encoder("w", state)(module)
    assert torch.equal(module.state_dict()["stem.0.weight"], stem)
    assert torch.equal(module.state_dict()["stage2.0.0.weight"], state["stage2.0.0.weight"])
    with pytest.raises(InputError, match=r"w: the stem is new and cannot be frozen: stem\.0\.weight is \(8, 1, 3, 3\)"):
        Encoder("w", state, frozen=True)(network(GREY))


def test_an_encoder_of_another_network_is_refused() -> None:
    other = Arch((1, 8, 8), 3, GREY.stem, (Stage("basic", 8), Stage("nin", 16, 1, 2)), GREY.head)
    with pytest.raises(InputError, match=r"w is no encoder of this network: stage2.* is \(12,.* and \(16,.* there"):
        Encoder("w", network(other).state_dict())(network(GREY))
    less = {name: value for name, value in network(GREY).state_dict().items() if not name.startswith("stage1")}
    with pytest.raises(InputError, match=r"stage1.* missing there"):
        Encoder("w", less)(network(GREY))


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvisions_weights_give_torchvisions_outputs(name: str) -> None:
    options = {"init_weights": False} if name == "googlenet" else {}
    torch.manual_seed(0)
    theirs = models.get_model(TORCHVISION[name], weights=None, **options)
    initialise(theirs)
    module = build(zoo.load(name).arch)
    Encoder(name, in_our_order(theirs.state_dict()), in_order=True)(module)
    module.eval(), theirs.eval()
    images = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        if hasattr(theirs, "features"):
            torch.testing.assert_close(module[:-1](images), theirs.features(images))
        else:
            module.head.load_state_dict(
                dict(zip(module.head.state_dict(), theirs.fc.state_dict().values(), strict=True))
            )
            torch.testing.assert_close(module(images), theirs(images))


def test_torchvisions_weights_come_from_torchs_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    theirs = models.resnet18(weights=None)
    place = tmp_path / "checkpoints" / Path(models.ResNet18_Weights.DEFAULT.url).name
    place.parent.mkdir()
    torch.save(theirs.state_dict(), place)
    module = build(zoo.load("resnet18").arch.adapted((1, 32, 32), 10))
    encoder("torchvision:resnet18", frozen=True)(module)
    kernel = module.state_dict()["stem.0.weight"]
    assert torch.equal(kernel, theirs.state_dict()["conv1.weight"].sum(1, keepdim=True))


def test_without_network_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(InputError) as caught:
        encoder("torchvision:resnet18", frozen=False)
    message = str(caught.value)
    assert message.startswith(f"torchvision:resnet18: its weights are not in {tmp_path} and cannot be downloaded: ")
    assert "\n" not in message


def test_unknown_sources(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"torchvision has no classifier 'resnet19' .*resnet18"):
        encoder("torchvision:resnet19", frozen=False)
    with pytest.raises(InputError, match="no readable safetensors file"):
        encoder(str(tmp_path / "none.safetensors"), frozen=False)
