"""Training: that it learns, repeats itself, and keeps its rules."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from toys import CPU, SMALL, same, toy, untouchable
from whole import normalised

from archsearch import Arch, build
from archsearch._utils.seeds import seed_of
from archsearch.data import Dataset, load_dataset
from archsearch.errors import InputError, StopTraining, StudyError, TrainingFailed
from archsearch.network.blocks import registry
from archsearch.network.layer_cost import LeafCost
from archsearch.network.layers import Act, AdaptivePool, Aux, Conv, Custom, Expr, Flatten, Linear, Norm, Shape, seq
from archsearch.network.recipe import Recipe
from archsearch.network.stage import Part, Stage
from archsearch.nn.build import AuxHead
from archsearch.nn.weights import load_module
from archsearch.training import fit as fit_module
from archsearch.training import trainer, validation
from archsearch.training.data import TrainingData
from archsearch.training.fit import fit
from archsearch.training.setup import TrainingSetup
from archsearch.training.trainer import Trainer


class OutOfMemory(nn.Module):
    """Stands for a device's memory: refuses more than so many images at once in training."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.most < 0:
            raise RuntimeError(f"no such thing as {self.most} images\nand more lines")
        if self.training and len(x) > self.most:
            raise torch.OutOfMemoryError(f"no memory for {len(x)} images")
        return x


@pytest.fixture(scope="module")
def digits() -> TrainingData:
    """Digits, with a test split that nothing may read."""
    return TrainingData.of(replace(load_dataset("digits"), read_test=untouchable), 0, CPU)


def trained(data: TrainingData, seed: int = 0, arch: Arch = SMALL, **recipe: object) -> tuple[nn.Module, list[float]]:
    curve: list[float] = []
    setup = TrainingSetup(data, Recipe(**{"epochs": 2, **recipe}), seed)
    return fit(arch, setup, lambda epoch, value, metrics: curve.append(value)).module, curve


def mean_loss(module: nn.Module, data: TrainingData) -> float:
    module.eval()
    with torch.no_grad():
        return float(functional.cross_entropy(module(normalised(data.validation)).float(), data.validation.labels))


def test_a_small_network_learns_digits(digits: TrainingData) -> None:
    torch.manual_seed(0)
    before = mean_loss(build(SMALL), digits)
    module, curve = trained(digits, epochs=3)
    assert len(curve) == 3
    assert curve[1] > 0.3
    assert curve[-1] > 0.7
    assert mean_loss(module, digits) < 0.7 * before


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(digits: TrainingData) -> None:
    (one, first), (two, second), (other, _) = (trained(digits, seed, epochs=1) for seed in (1, 1, 2))
    assert first == second
    assert same(one, two)
    assert not same(one, other)


def test_what_was_drawn_before_changes_nothing(digits: TrainingData) -> None:
    one, _ = trained(digits, 1, epochs=1)
    torch.rand(17)
    two, _ = trained(digits, 1, epochs=1)
    assert same(one, two)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam_learns_too(digits: TrainingData, name: str) -> None:
    assert trained(digits, optimiser=name, lr=0.02)[1][-1] > 0.4


_CHAINS = {"dense": ("dense", 1), "pooling": ("plain", 2)}  # these two keep the shape or the width


@pytest.mark.parametrize("name", sorted(name for kind, name in registry._REGISTRY if kind == "block"))
def test_every_block_trains_at_the_default_learning_rate(digits: TrainingData, name: str) -> None:
    first, stride = _CHAINS.get(name, (name, 2))
    stages = [Stage(first, 16, stride=stride)] + [Stage("pooling", 16)] * (name == "pooling")
    arch = Arch((1, 8, 8), 10, Part("conv", (("width", 8),)), tuple(stages), Part("linear"))
    assert max(trained(digits, arch=arch, epochs=4)[1]) > 0.2


def test_a_loss_that_is_not_finite_fails(digits: TrainingData) -> None:
    with pytest.raises(TrainingFailed, match="the loss is not finite in epoch 1"):
        trained(digits, lr=1e38)


def test_a_loss_far_above_guessing_fails(digits: TrainingData) -> None:
    wild = Arch((1, 8, 8), 10, Part("none"), (), Part("linear"))
    with pytest.raises(TrainingFailed, match=r"diverged in epoch 1: mean loss .*, where guessing has 2\.3"):
        trained(digits, arch=wild, lr=1e4)


def test_averaged_weights_are_what_is_measured_and_kept(digits: TrainingData, tmp_path: Path) -> None:
    trainer = Trainer(TrainingSetup(digits, Recipe(epochs=2, ema=1.0), 0))
    value = trainer(SMALL, lambda *_: None).score
    trainer.save(tmp_path / "w.safetensors", SMALL)
    assert validation.accuracy_and_loss(load_module(tmp_path / "w.safetensors"), digits.validation)[0] == value
    plain, _ = trained(digits, seed_of(trainer.setup.seed, SMALL.id))
    assert trainer.module is not None
    assert not same(trainer.module, plain)


def test_a_training_without_progress_ends_early(digits: TrainingData, monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([0.5, 0.6, 0.6, 0.55, 0.9])
    monkeypatch.setattr(validation, "accuracy_and_loss", lambda *_: (next(values), 0.0))
    assert trained(digits, epochs=5, patience=2)[1] == [0.5, 0.6, 0.6, 0.55]


def test_patience_counts_epochs_of_whole_images_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    monkeypatch.setattr(validation, "accuracy_and_loss", lambda *_: (next(values), 0.0))
    data = TrainingData.of(toy(side=32), 0, CPU)
    assert len(trained(data, arch=SMALL.adapted((1, 32, 32), 2), epochs=9, patience=1)[1]) == 8


def test_without_patience_every_epoch_is_trained(digits: TrainingData, monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([0.5, 0.4, 0.3, 0.2])
    monkeypatch.setattr(validation, "accuracy_and_loss", lambda *_: (next(values), 0.0))
    assert len(trained(digits, epochs=4)[1]) == 4


def test_where_the_time_went(digits: TrainingData) -> None:
    trainer = Trainer(TrainingSetup(digits, Recipe(epochs=2), 0))
    start = time.perf_counter()
    usage = trainer(SMALL, lambda *_: None).usage
    wall = time.perf_counter() - start
    parts = [usage[f"{name}_seconds"] for name in ("data", "step", "eval", "overhead")]
    assert all(part > 0 for part in parts)
    assert sum(parts) == pytest.approx(wall, rel=0.05, abs=0.01)
    speed, seconds = usage["images_per_second"], usage["data_seconds"] + usage["step_seconds"]
    assert speed * seconds == pytest.approx(2 * len(digits.train), abs=0.0015 * speed)  # seconds to the millisecond
    assert usage["peak_memory_bytes"] > 10e6


def test_a_failed_training_says_where_its_time_went(digits: TrainingData) -> None:
    trainer = Trainer(TrainingSetup(digits, Recipe(epochs=2, lr=1e38), 0))
    with pytest.raises(TrainingFailed) as caught:
        trainer(SMALL, lambda *_: None)
    assert caught.value.evaluation == trainer.evaluation
    assert trainer.evaluation.usage["step_seconds"] > 0
    assert trainer.evaluation.usage["images_per_second"] == 0


def test_a_stopped_training_says_where_its_time_went(digits: TrainingData) -> None:
    def stop(epoch: int, *_: object) -> None:
        if epoch == 2:
            raise StopTraining("rung")

    trainer = Trainer(TrainingSetup(digits, Recipe(epochs=3), 0))
    with pytest.raises(StopTraining) as caught:
        trainer(SMALL, stop)
    assert StopTraining("another").evaluation.usage == {}
    usage = caught.value.evaluation.usage
    speed, seconds = usage["images_per_second"], usage["data_seconds"] + usage["step_seconds"]
    assert speed * seconds == pytest.approx(2 * len(digits.train), abs=0.0015 * speed)


@dataclass(frozen=True)
class Hungry(Custom):
    """A leaf of `OutOfMemory`."""

    most: int

    def cost(self, shape: Shape) -> LeafCost:
        return LeafCost(shape)

    def build(self, shape: Shape) -> nn.Module:
        return OutOfMemory(self.most)


@pytest.fixture
def hungry_block() -> Iterator[Callable[[int], Arch]]:
    """`hungry_block(most)` is a network that runs out of memory with more than `most` images at once."""

    @registry.block("test-hungry")
    def block(c_in: int, width: int, stride: int, *, most: int = 16) -> Expr:
        return seq(Conv(width, 3, stride), Norm(), Act("relu"), Hungry(most))

    yield lambda most: replace(SMALL, stages=(*SMALL.stages, Stage("test-hungry", 16, dims=(("most", most),))))
    registry._REGISTRY.pop(("block", "test-hungry"))
    registry.expand.cache_clear()


def test_out_of_memory_is_retried_with_smaller_micro_batches(
    digits: TrainingData, hungry_block: Callable[[int], Arch]
) -> None:
    _, curve = trained(digits, arch=hungry_block(16), epochs=3)
    assert len(curve) == 3
    assert curve[-1] > 0.5


def test_memory_that_never_suffices_is_a_failure(digits: TrainingData, hungry_block: Callable[[int], Arch]) -> None:
    with pytest.raises(TrainingFailed, match="out of memory on cpu, with micro-batches of a few images too"):
        trained(digits, arch=hungry_block(0))


def test_a_block_that_breaks_is_a_failed_candidate(digits: TrainingData, hungry_block: Callable[[int], Arch]) -> None:
    with pytest.raises(TrainingFailed, match="no such thing as -1 images"):
        Trainer(TrainingSetup(digits, Recipe(epochs=1), 0))(hungry_block(-1), lambda *_: None)


def test_an_error_without_words_is_a_failed_candidate(digits: TrainingData, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*args: object, **options: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(trainer, "fit", silent)
    with pytest.raises(TrainingFailed, match=r"^RuntimeError$"):
        Trainer(TrainingSetup(digits, Recipe(epochs=1), 0))(SMALL, lambda *_: None)


@pytest.mark.parametrize(
    "error",
    [
        InputError("the database is away"), StudyError("no such study"), RuntimeError("lost"), OSError(28, "full"),
        torch.OutOfMemoryError("CUDA out of memory"), StopTraining("a rung"), ValueError("epoch 1 was reported"),
    ],
)  # fmt: skip
def test_what_a_listener_raises_is_its_own(digits: TrainingData, error: Exception) -> None:
    def report(*_: object) -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        Trainer(TrainingSetup(digits, Recipe(epochs=2), 0))(SMALL, report)
    assert caught.value is error


def test_outputs_for_validation_images_that_are_no_numbers_fail(
    digits: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation, "recalibrate", lambda module, *_: module[-1][-1].weight.data.fill_(math.nan))
    with pytest.raises(TrainingFailed, match="outputs for validation images are not finite in epoch 1"):
        trained(digits)


def test_deterministic_algorithms_are_asked_for_and_given_back(digits: TrainingData) -> None:
    seen = []
    recipe = Recipe(epochs=1)
    fit(
        SMALL,
        TrainingSetup(digits, recipe, 0, deterministic=True),
        lambda *_: seen.append(torch.are_deterministic_algorithms_enabled()),
    )
    assert seen == [True]
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_batch_larger_than_the_dataset() -> None:
    data = TrainingData.of(toy(10), 0, CPU)
    arch = SMALL.adapted((1, 8, 8), 2)
    curve = trained(data, arch=arch, batch_size=4096, epochs=2)[1]
    assert len(curve) == 2
    assert all(0 <= value <= 1 for value in curve)


@pytest.fixture
def aux_block(request: pytest.FixtureRequest) -> Iterator[Callable[[float], Arch]]:
    """`aux_block(weight)` is a network with an auxiliary classifier of that weight."""

    @registry.block("test-aux")
    def block(c_in: int, width: int, stride: int, *, weight: float = 0.5) -> Expr:
        head = seq(AdaptivePool(1), Flatten(), Linear(10))
        return seq(Conv(width, 3, stride), Norm(), Aux(head, weight))

    yield lambda weight: Arch(
        (1, 8, 8), 10, Part("none"), (Stage("test-aux", 8, stride=2, dims=(("weight", weight),)),), Part("linear")
    )
    registry._REGISTRY.pop(("block", "test-aux"))
    registry.expand.cache_clear()


def test_auxiliary_classifiers_train_but_do_not_answer(
    digits: TrainingData, aux_block: Callable[[float], Arch], tmp_path: Path
) -> None:
    strong, none = aux_block(1.0), aux_block(0.0)
    (with_it, _), (without, _) = (trained(digits, 3, arch, epochs=1) for arch in (strong, none))
    trunks = [[p for name, p in m.named_parameters() if ".head." not in name] for m in (with_it, without)]
    assert not torch.equal(trunks[0][0], trunks[1][0])  # its loss reaches the layers before it
    found = [part for part in with_it.modules() if isinstance(part, AuxHead)]
    assert len(found) == 1
    torch.manual_seed(3)
    fresh = next(part for part in build(strong).modules() if isinstance(part, AuxHead))
    shapes = [p.shape for p in fresh.parameters()]
    assert [p.shape for p in found[0].parameters()] == shapes
    with_it.eval()
    answer = with_it(normalised(digits.validation)[:5])
    assert found[0].logits is None  # not even computed
    trainer = Trainer(TrainingSetup(digits, Recipe(epochs=1), 0))
    value = trainer(strong, lambda *_: None).score
    trainer.save(tmp_path / "a.safetensors", strong)
    assert validation.accuracy_and_loss(load_module(tmp_path / "a.safetensors"), digits.validation)[0] == value
    assert answer.shape == (5, 10)


def settled(dataset: Dataset, **values: Any) -> Recipe:
    return TrainingData.of(dataset, 0, CPU).settle(Recipe(**values))


@pytest.mark.parametrize(("side", "crop"), [(8, 0), (15, 0), (16, 2), (28, 3), (32, 4), (64, 8)])
def test_crops_are_an_eighth_and_none_below_16_pixels(side: int, crop: int) -> None:
    assert settled(toy(side=side)).crop == crop


@pytest.mark.parametrize(("side", "scale"), [(8, 1.0), (27, 1.0), (28, 0.5), (64, 0.5)])
def test_epochs_begin_with_half_the_side_from_28_pixels_on(side: int, scale: float) -> None:
    assert settled(toy(side=side)).initial_scale == scale
    assert settled(toy(side=side), initial_scale=0.75).initial_scale == 0.75


def test_a_training_sees_images_grow_and_is_measured_on_what_it_was_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    data, arch = TrainingData.of(toy(side=32), 0, CPU), SMALL.adapted((1, 32, 32), 2)
    seen: list[tuple[bool, int]] = []

    def watched(network: Arch) -> nn.Module:
        module = build(network)
        module.register_forward_pre_hook(lambda part, args: seen.append((part.training, args[0].shape[-1])))
        return module

    monkeypatch.setattr(fit_module, "build", watched)
    module, _ = trained(data, arch=arch, epochs=6, batch_size=8)
    assert [side for training, side in seen if training] == [16] * 8 + [24] * 8 + [32] * 8
    assert [side for training, side in seen if not training] == [16] * 4 + [24] * 4 + [32] * 4
    monkeypatch.setattr(fit_module, "build", build)
    whole, _ = trained(data, arch=arch, epochs=6, batch_size=8, initial_scale=1.0)
    assert not same(module, whole)


def test_flips_are_those_of_the_dataset(digits: TrainingData) -> None:
    assert settled(toy(flip=True)).flip == 1
    assert settled(toy(flip=False)).flip == 0
    assert digits.settle(Recipe()).flip == 0
    assert digits.settle(Recipe()).crop == 0


@pytest.mark.parametrize(("count", "batch"), [(40, 32), (1500, 64), (4000, 128), (20_000, 256)])
def test_batches_are_a_twentieth_between_32_and_256(count: int, batch: int) -> None:
    assert settled(toy(count, 2)).batch_size == batch


def test_muon_trains_from_16_pixels_on_at_one_rate_for_all_batches() -> None:
    found = [settled(toy(100, side), batch_size=64) for side in (15, 16, 28)]
    assert [(recipe.optimiser, recipe.lr) for recipe in found] == [("sgd", 0.4), ("muon", 1.6), ("muon", 1.6)]
    adam = settled(toy(100, 32, 3), optimiser="adam", batch_size=64)
    assert (adam.optimiser, adam.lr) == ("adam", 0.4)


def test_what_is_chosen_stays() -> None:
    recipe = settled(toy(flip=True), batch_size=7, crop=1, flip=0, optimiser="muon", lr=0.3)
    assert (recipe.batch_size, recipe.crop, recipe.flip, recipe.optimiser, recipe.lr) == (7, 1, 0, "muon", 0.3)


def test_the_split_is_fixed_by_the_seed_and_stratified() -> None:
    dataset = load_dataset("digits")
    one, two, other = (TrainingData.of(dataset, seed, CPU) for seed in (1, 1, 2))
    assert torch.equal(normalised(one.validation), normalised(two.validation))
    assert not torch.equal(normalised(one.validation), normalised(other.validation))
    assert len(one.train) + len(one.validation) == len(dataset.labels)
    shares = torch.bincount(one.validation.labels) / torch.bincount(dataset.labels)
    assert float((shares - 0.2).abs().max()) < 0.01


def test_a_validation_split_of_the_datasets_own_is_kept() -> None:
    dataset = replace(toy(40), validation=(toy(6).images, toy(6).labels))
    data = TrainingData.of(dataset, 0, CPU)
    assert (len(data.train), len(data.validation)) == (40, 6)


def test_the_accuracy_is_that_of_the_last_epoch(digits: TrainingData, monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([0.5, 0.9, 0.3])
    monkeypatch.setattr(validation, "accuracy_and_loss", lambda *_: (next(values), 0.0))
    seen: list[tuple[int, float]] = []
    trainer = Trainer(TrainingSetup(digits, Recipe(epochs=3), 0))
    assert trainer(SMALL, lambda epoch, value, metrics: seen.append((epoch, value))).score == 0.3
    assert seen == [(1, 0.5), (2, 0.9), (3, 0.3)]


def test_a_training_depends_on_seed_and_candidate_alone(digits: TrainingData) -> None:
    other = Arch((1, 8, 8), 10, Part("none"), (Stage("nin", 8, stride=2),), Part("linear"))

    def quiet(epoch: int, value: float, metrics: object = None) -> None:
        """Listens to nothing."""

    recipe = Recipe(epochs=1)
    first = Trainer(TrainingSetup(digits, recipe, 5))
    alone = first(SMALL, quiet).score
    second = Trainer(TrainingSetup(digits, recipe, 5))
    second(other, quiet)
    assert second(SMALL, quiet).score == alone
    assert first.module is not None
    assert second.module is not None
    assert same(first.module, second.module)
    third = Trainer(TrainingSetup(digits, recipe, 6))
    third(SMALL, quiet)
    assert third.module is not None
    assert not same(first.module, third.module)


def test_searched_recipe_values_win(digits: TrainingData) -> None:
    seen: list[int] = []
    arch = replace(SMALL, recipe={"epochs": 1})
    Trainer(TrainingSetup(digits, Recipe(epochs=3), 0))(arch, lambda epoch, value, metrics: seen.append(epoch))
    assert seen == [1]


def test_a_recipe_that_is_none_fails_the_candidate(digits: TrainingData) -> None:
    with pytest.raises(TrainingFailed, match="epochs = 0"):
        Trainer(TrainingSetup(digits, Recipe(), 0))(replace(SMALL, recipe={"epochs": 0}), lambda *_: None)


def test_weights_that_are_saved_answer_alike(digits: TrainingData, tmp_path: Path) -> None:
    trainer = Trainer(TrainingSetup(digits, Recipe(epochs=1), 0))
    with pytest.raises(RuntimeError):
        trainer.save(tmp_path / "early.safetensors", SMALL)
    value = trainer(SMALL, lambda *_: None).score
    trainer.save(tmp_path / "w.safetensors", SMALL, val_accuracy=value)
    assert validation.accuracy_and_loss(load_module(tmp_path / "w.safetensors"), digits.validation)[0] == value


@pytest.mark.slow
def test_a_compiled_training_learns_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32: fused operations of bfloat16 round less often."""
    for place in ("training.step", "nn.devices"):
        monkeypatch.setattr(f"archsearch.{place}.autocast_dtype", lambda device: None)
    data = TrainingData.of(toy(64), 0, CPU)
    arch, teach = SMALL.adapted((1, 8, 8), 2), nn.Sequential(nn.Flatten(), nn.Linear(64, 2), nn.Softmax(1))
    plain, compiled = (
        fit(arch, TrainingSetup(data, Recipe(epochs=1), 0, teach=teach, compiled=choice), lambda *_: None).module
        for choice in (False, True)
    )
    for one, two in zip(plain.state_dict().values(), compiled.state_dict().values(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4)


def test_metrics_come_with_each_report_and_are_those_of_that_epoch(digits: TrainingData) -> None:
    trainer = Trainer(TrainingSetup(digits, Recipe(epochs=3, label_smoothing=0.0), 0))
    seen = []

    evaluation = trainer(SMALL, lambda epoch, value, metrics: seen.append(metrics))
    assert [set(metrics) for metrics in seen] == [{"train_loss", "val_loss", "learning_rate"}] * 3
    losses, rates = ([metrics[name] for metrics in seen] for name in ("train_loss", "learning_rate"))
    assert losses[0] > losses[1] > losses[2] > 0
    assert rates[0] > rates[1] > rates[2] > 0
    assert trainer.module is not None
    with torch.no_grad():
        logits = trainer.module(normalised(digits.validation)).float()
    expected = float(functional.cross_entropy(logits, digits.validation.labels))
    assert seen[-1]["val_loss"] == pytest.approx(expected, rel=0.02)  # bf16 there, where the CPU has it
    assert evaluation.metrics == trainer(SMALL, lambda *_: None).metrics == seen[-1]
