"""Quantisation-aware training rounds what the int8 file rounds, in the last epochs, and leaves plain weights."""

import pytest
import torch

from archsearch.data import load_dataset
from archsearch.data.pixels import Pixels
from archsearch.errors import InputError
from archsearch.export.job import Source, Variant, Writer
from archsearch.export.timed import random_network
from archsearch.inference import open_runner
from archsearch.network import zoo
from archsearch.network.recipe import Recipe
from archsearch.training.data import TrainingData
from archsearch.training.fit import fit
from archsearch.training.rounding import Rounded, is_rounded, rounded, rounded_weight
from archsearch.training.setup import TrainingSetup
from archsearch.training.validation import accuracy_and_loss


def test_the_last_epochs_are_rounded_at_least_one():
    assert [is_rounded(Recipe(epochs=4, qat=0.5), number) for number in (1, 2, 3, 4)] == [False, False, True, True]
    assert [is_rounded(Recipe(epochs=2, qat=0.01), number) for number in (1, 2)] == [False, True]
    assert not is_rounded(Recipe(epochs=2), 2)


def test_weights_have_seven_bits_and_rounding_twice_is_rounding_once():
    weight = torch.randn(5, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    weight[2] = 0
    once = rounded_weight(weight)
    levels = once.flatten(1) / weight.flatten(1).abs().amax(1, keepdim=True).clamp(min=1e-9) * 64
    torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)
    torch.testing.assert_close(rounded_weight(once), once)


def test_tensors_have_eight_bits_zero_exactly_and_a_straight_gradient():
    x = torch.linspace(0.5, 3, 1000, requires_grad=True)
    y = rounded(x)
    torch.testing.assert_close(y, x, atol=3 / 255 / 2 + 1e-6, rtol=0)
    assert len(y.unique()) <= 256
    assert not rounded(torch.zeros(3)).any()
    y.sum().backward()
    assert x.grad is not None
    assert bool((x.grad == 1).all())


@pytest.mark.parametrize("name", ["resnet20", "mobilenet-v2"])
def test_a_rounded_network_is_as_far_from_the_plain_one_as_its_int8_file(name, tmp_path):
    """Not the same answers: ranges differ a little, and with them every tensor's rounding."""
    torch.manual_seed(0)
    arch = zoo.load(name).arch.adapted((3, 32, 32), 10)
    module = random_network(arch)
    images = torch.randint(0, 256, (32, 3, 32, 32), dtype=torch.uint8)
    x = (images.float() / 255 - 0.5) / 0.25
    with torch.no_grad():
        network = Rounded(module)
        mine = network(x)
        network.keep()
        plain = module(x)
    info = {"normalisation": {"mean": [0.5] * 3, "std": [0.25] * 3}}
    path = tmp_path / "model.onnx"
    writer = Writer(Source(path, module, arch, info), Pixels.of(images), "onnx", "int8", tmp_path)
    writer(path, Variant(per_channel=True))
    file = open_runner(path, trusted=True)(Pixels.of(images))
    far = float((mine - plain).abs().mean() / (file - plain).abs().mean())
    assert 0.8 < far < 1.25


def test_the_module_itself_computes_as_before():
    module = random_network(zoo.load("resnet20").arch.adapted((3, 16, 16), 10))
    x = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain = module(x)
        network = Rounded(module)
        assert not torch.equal(network(x), plain)
        assert torch.equal(module(x), plain)
    network.close()
    assert not any(part._forward_hooks for part in module.modules())


def digits(recipe):
    """ResNet-20 trained on digits: the data, and what came of it."""
    data = TrainingData.of(load_dataset("digits"), 0, torch.device("cpu"))
    arch = zoo.load("resnet20").arch.adapted(data.dataset.input_shape, 10)
    return data, fit(arch, TrainingSetup(data, recipe, deterministic=True), lambda *_: None)


@pytest.mark.parametrize("ema", [0.0, 1.0])
def test_a_score_by_int8_is_that_of_the_rounded_network_and_changes_no_weight(ema):
    data, plain = digits(Recipe(epochs=2, ema=ema))
    _, found = digits(Recipe(epochs=2, ema=ema, score_precision="int8"))
    for ours, theirs in zip(found.module.state_dict().values(), plain.module.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    assert not any(part._forward_hooks for part in found.module.modules())
    assert plain.score == accuracy_and_loss(plain.module, data.validation)[0]
    assert found.score == accuracy_and_loss(Rounded(plain.module), data.validation)[0]
    assert found.metrics["val_loss"] != plain.metrics["val_loss"]


def test_epochs_that_train_rounded_networks_are_scored_once_rounded():
    _, found = digits(Recipe(epochs=2, qat=0.5))
    _, both = digits(Recipe(epochs=2, qat=0.5, score_precision="int8"))
    assert (both.score, both.metrics) == (found.score, found.metrics)
    assert not any(part._forward_hooks for part in both.module.modules())


@pytest.mark.parametrize("ema", [0.0, 1.0])
def test_a_training_ends_with_rounded_weights_of_a_plain_module(ema):
    dataset = load_dataset("digits")
    data = TrainingData.of(dataset, 0, torch.device("cpu"))
    arch = zoo.load("resnet20").arch.adapted(dataset.input_shape, 10)
    recipe = Recipe(epochs=2, qat=0.5, ema=ema)
    trained = fit(arch, TrainingSetup(data, recipe, deterministic=True), lambda *_: None)
    kernels = [p for name, p in trained.module.named_parameters() if name.endswith("weight") and p.ndim > 1]
    assert kernels
    for kernel in kernels:
        torch.testing.assert_close(rounded_weight(kernel), kernel)
    assert not any(part._forward_hooks for part in trained.module.modules())
    assert trained.score > 0.5


def test_early_stopping_before_the_rounded_epochs_is_refused():
    data = TrainingData.of(load_dataset("digits"), 0, torch.device("cpu"))
    arch = zoo.load("resnet20").arch.adapted(data.dataset.input_shape, 10)
    with pytest.raises(InputError, match="patience = 1: it may end before the epochs of qat"):
        fit(arch, TrainingSetup(data, Recipe(epochs=2, qat=0.5, patience=1)), lambda *_: None)
