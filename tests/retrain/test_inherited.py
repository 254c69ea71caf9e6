"""Networks that begin with another one's blocks: what is taken, what stays, what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from toys import CPU, toy

from archsearch.errors import InputError
from archsearch.network.arch import Arch
from archsearch.network.recipe import Recipe
from archsearch.network.stage import Part, Stage
from archsearch.nn import weights
from archsearch.nn.build import build
from archsearch.retrain.inherited import Inherited, inherited
from archsearch.training.data import TrainingData
from archsearch.training.optim import initialise
from archsearch.training.setup import TrainingSetup
from archsearch.training.trainer import Trainer

STEM, HEAD = Part("conv", (("width", 8),)), Part("linear")
SOURCE = Arch((1, 8, 8), 3, STEM, (Stage("basic", 8, 2), Stage("nin", 12, 1, 2)), HEAD)


def network(arch: Arch, seed: int = 1) -> nn.Sequential:
    torch.manual_seed(seed)
    module = build(arch)
    initialise(module)
    return module


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Inherited:
    path = tmp_path_factory.mktemp("source") / "w.safetensors"
    return inherited(str(weights.save(path, network(SOURCE, 7), SOURCE, {})))


def taken(source: Inherited, arch: Arch) -> tuple[set[str], float]:
    """The blocks whose parameters came from the source, and the share that the call told."""
    before, after = network(arch), network(arch)
    share = source(after)
    changed = {name for name, value in after.named_parameters() if not torch.equal(value, before.state_dict()[name])}
    for name in changed - {"stem.0.weight"}:
        assert torch.equal(after.state_dict()[name], source.tensors[name])
    return {".".join(name.split(".")[: 1 if name.startswith("stem") else 2]) for name in changed}, share


def test_everything_but_the_head_where_both_agree(source: Inherited) -> None:
    blocks, share = taken(source, SOURCE.adapted((1, 8, 8), 2))
    assert blocks == {"stem", "stage1.0", "stage1.1", "stage2.0"}
    module = build(SOURCE.adapted((1, 8, 8), 2))
    head = sum(parameter.numel() for parameter in module.head.parameters())
    assert share == pytest.approx(1 - head / sum(parameter.numel() for parameter in module.parameters()))


@pytest.mark.parametrize(
    ("changes", "blocks"),
    [
        ({"stages": (Stage("basic", 8, 1), SOURCE.stages[1])}, {"stem", "stage1.0", "stage2.0"}),
        ({"stages": (Stage("basic", 8, 3), SOURCE.stages[1])}, {"stem", "stage1.0", "stage1.1", "stage2.0"}),
        ({"stages": (SOURCE.stages[0], Stage("nin", 16, 1, 2))}, {"stem", "stage1.0", "stage1.1"}),
        ({"stages": (Stage("nin", 8, 2), SOURCE.stages[1])}, {"stem", "stage2.0"}),
        ({"stem": Part("conv", (("width", 4),))}, {"stage1.1", "stage2.0"}),
        ({"stem": Part("conv", (("width", 4),)), "stages": (Stage("basic", 4),)}, set()),
    ],
)
def test_blocks_are_taken_whole_or_not_at_all(source: Inherited, changes: dict[str, object], blocks: set[str]) -> None:
    found, share = taken(source, replace(SOURCE, **changes))
    assert found == blocks
    assert (share > 0) == bool(blocks)


def test_a_stem_for_grey_images_becomes_one_for_colour(source: Inherited) -> None:
    module = network(replace(SOURCE, input_shape=(3, 16, 16)))
    source(module)
    grey = torch.rand(2, 1, 16, 16)
    mine = module.stem(grey.expand(-1, 3, -1, -1))
    other = network(replace(SOURCE, input_shape=(1, 16, 16)))
    source(other)
    assert torch.allclose(mine, other.stem(grey), atol=1e-5)


@settings(max_examples=25)
@given(
    width=st.sampled_from([4, 8, 12]),
    depth=st.integers(1, 3),
    block=st.sampled_from(["basic", "nin"]),
    seed=st.integers(0, 99),
)
def test_what_is_not_taken_is_as_it_was_initialised(
    source: Inherited, width: int, depth: int, block: str, seed: int
) -> None:
    """Whatever the network, every tensor is the source's or its own, and a second call changes nothing."""
    arch = replace(SOURCE, stages=(Stage(block, width, depth), Stage("nin", 12, 1, 2)))
    own, module = network(arch, seed).state_dict(), network(arch, seed)
    share = source(module)
    for name, value in module.state_dict().items():
        assert torch.equal(value, own[name]) or torch.equal(value, source.tensors[name])
    assert 0 <= share < 1
    before = {name: value.clone() for name, value in module.state_dict().items()}
    assert source(module) == share
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_a_trainer_tells_the_share_also_of_what_failed(source: Inherited) -> None:
    data = TrainingData.of(toy(60), 0, CPU)
    arch = SOURCE.adapted((1, 8, 8), 2)
    trainer = Trainer(TrainingSetup(data, Recipe(epochs=1, batch_size=16), start=source))
    share = source(build(arch))
    assert trainer(arch, lambda *_: None).usage["init_share"] == round(share, 4)
    with pytest.raises(KeyError):
        trainer(arch, _break)
    assert trainer.evaluation.usage["init_share"] == round(share, 4)
    assert "init_share" not in Trainer(TrainingSetup(data, Recipe(epochs=1)))(arch, lambda *_: None).usage


def _break(*_: object) -> None:
    raise KeyError("report")


def test_what_no_network_begins_with(tmp_path: Path) -> None:
    for place, message in (
        ("torchvision:resnet18", "a search starts from a weights file of archsearch"),
        (str(tmp_path / "away.safetensors"), "no readable safetensors file"),
    ):
        with pytest.raises(InputError, match=message):
            inherited(place)
