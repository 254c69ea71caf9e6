"""One fit: a network, its data on a device, a recipe, a callback after every epoch."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from archsearch import weights
from archsearch.arch import Arch
from archsearch.blocks.registry import Value
from archsearch.checkpoint import Checkpoint
from archsearch.data import Dataset, DeviceData, augmentation_of, epoch, split
from archsearch.devices import (
    Stopwatch,
    autocast_dtype,
    determinism,
    free_memory,
    out_of_memory,
    peak_memory,
    reset_peak,
)
from archsearch.errors import InputError, SpecError, TrainingFailed, one_line
from archsearch.graphs import Stepper, graphed
from archsearch.modules import build
from archsearch.optim import Average, initialise, make_optimiser, one_cycle, recalibrate, set_lr
from archsearch.recipe import AUTO, Recipe
from archsearch.step import Step

Report = Callable[[int, float], None]
Start = Callable[[nn.Module], None]
_EVAL_BATCH = 1000
_STATISTICS = 2048
_ONE_THREAD_MACS = 2e8
_DIVERGED = 10.0
_CORES = torch.get_num_threads()


@dataclass(frozen=True)
class TrainingData:
    """Both parts of a dataset on the device, and what a recipe leaves open, chosen from the dataset.

    validation: empty where everything is trained on.
    """

    dataset: Dataset
    train: DeviceData
    validation: DeviceData
    device: torch.device

    @classmethod
    def of(cls, dataset: Dataset, seed: int, device: torch.device) -> TrainingData:
        """Split the train images by the seed, stratified, unless the dataset brings a validation split."""
        images, labels = dataset.images, dataset.labels
        if dataset.validation is None:
            mine, held = split(labels, seed)
            parts = (images[mine], labels[mine]), (images[held], labels[held])
        else:
            parts = (images, labels), dataset.validation
        train, validation = (DeviceData(x, y, dataset.normalisation, device) for x, y in parts)
        return cls(dataset, train, validation, device)

    @classmethod
    def whole(cls, dataset: Dataset, device: torch.device) -> TrainingData:
        """Train and validation images together, to train on what a search has chosen."""
        images, labels = dataset.images, dataset.labels
        if dataset.validation is not None:
            images, labels = (torch.cat(pair) for pair in zip((images, labels), dataset.validation, strict=True))
        parts = (images, labels), (images[:0], labels[:0])
        train, validation = (DeviceData(x, y, dataset.normalisation, device) for x, y in parts)
        return cls(dataset, train, validation, device)

    def settle(self, recipe: Recipe) -> Recipe:
        """The recipe with everything that was left open (-1) chosen.

        Batches: a twentieth of the images, as a power of two from 32 to 256. Crops: an eighth of the side,
        none under 16 pixels: on 8x8 digits a shift of one pixel costs 1 to 4 points of accuracy.
        """
        batch, crop, flip = recipe.batch_size, recipe.crop, recipe.flip
        if batch == AUTO:
            batch = min(256, max(32, 2 ** round(math.log2(max(1, len(self.train) / 20)))))
        if crop == AUTO:
            side = min(self.dataset.input_shape[1:])
            crop = side // 8 if side >= 16 else 0
        if flip == AUTO:
            flip = int(self.dataset.flip)
        return recipe.with_values({"batch_size": batch, "crop": crop, "flip": flip})


def fit(
    arch: Arch,
    data: TrainingData,
    recipe: Recipe,
    seed: int,
    report: Report,
    *,
    threads: int | None = None,
    deterministic: bool = False,
    watch: Stopwatch | None = None,
    start: Start | None = None,
    checkpoint: Checkpoint | None = None,
    compiled: bool = False,
    metrics: dict[str, float] | None = None,
) -> nn.Module:
    """Train a network and report its validation accuracy after every epoch; returns it after the last one.

    Without validation images the accuracy is not a number (nan).

    Args:
        seed: fixes initial weights, order and augmentation. Reruns are equal to the last digit on one CPU with
            one number of threads; on CUDA only if `deterministic`; never from device to device.
        threads: of the CPU, at most; by default all cores.
        deterministic: as `devices.determinism`.
        watch: is told what went into data, step and eval.
        start: puts other weights into the initialised network, and may take the gradient from parts of it: parts
            (stem, a stage) without any parameter to train keep their statistics too.
        checkpoint: where the state is kept between epochs. What is there is gone on with, to the same end.
        compiled: let `torch.compile` make the training's forward and backward pass; costs a minute or so at the start.
        metrics: before each report gets that epoch's train_loss (the mean of what is minimised), val_loss (plain
            cross-entropy) and learning_rate (of the last step).

    Raises:
        InputError: early stopping without validation images; a crop or cutout larger than the images.
        TrainingFailed: the loss is not finite or has exploded, or the device's memory does not suffice.
    """
    recipe = data.settle(recipe)
    if recipe.patience and not len(data.validation):
        raise InputError(f"patience = {recipe.patience}: early stopping needs validation images, here are none")
    torch.set_num_threads(_threads(arch, recipe.batch_size, threads or _CORES))
    torch.manual_seed(seed)
    generator = torch.Generator(device=data.device).manual_seed(seed)
    module = build(arch)
    initialise(module)
    if start:
        start(module)
    module.to(data.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    try:
        with determinism(deterministic, data.device):
            training = _Fit(module, data, recipe, generator, watch or Stopwatch(data.device), checkpoint, compiled)
            training.metrics = {} if metrics is None else metrics
            return training.run(report)
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
    free_memory(data.device)
    raise TrainingFailed(f"out of memory on {data.device}, with micro-batches of a few images too")


def _threads(arch: Arch, batch: int, most: int) -> int:
    """CPU threads for a step: one for little work, where a second one waits more than it helps."""
    return 1 if arch.cost.macs * batch < _ONE_THREAD_MACS else most


class _Fit:
    """The epochs of one training."""

    def __init__(
        self,
        module: nn.Module,
        data: TrainingData,
        recipe: Recipe,
        generator: torch.Generator,
        watch: Stopwatch,
        checkpoint: Checkpoint | None,
        compiled: bool,
    ) -> None:
        self.module, self.data, self.recipe, self.generator, self.watch = module, data, recipe, generator, watch
        self.checkpoint = checkpoint
        self.batch = min(recipe.batch_size, len(data.train))
        self.steps = max(1, len(data.train) // self.batch)
        self.optimiser = make_optimiser(module, recipe, self.batch)
        self.peak = recipe.lr * self.batch / 256
        self.cycle = one_cycle(recipe.epochs * self.steps, recipe.warmup)
        forward: Any = torch.compile(module) if compiled else module
        self.step: Stepper = Step(forward, self.optimiser, recipe.label_smoothing, data.device)
        self.average = Average(module, recipe.ema * self.steps) if recipe.ema else None
        self.done, self.captured = 0, False
        self.best, self.since = -1.0, 0
        self.metrics: dict[str, float] = {}
        self.sample = _sample(data.train)
        self.frozen = [part for part in module.children() if _is_frozen(part)]
        if self.frozen:
            self._recalibrate()

    @property
    def result(self) -> nn.Module:
        """What is evaluated and kept."""
        return self.average.module if self.average else self.module

    def run(self, report: Report) -> nn.Module:
        """All epochs that are left, or fewer with early stopping."""
        kept = self.checkpoint and self.checkpoint.read()
        first = self._restore(kept) if kept else 1
        for number in range(first, self.recipe.epochs + 1):
            self._epoch(number)
            value = self._evaluate(last=number == self.recipe.epochs)
            self.watch.lap("eval")
            self.best, self.since = (value, 0) if value > self.best else (self.best, self.since + 1)
            if self.checkpoint and self.checkpoint.is_due:
                self.checkpoint.write(self._state(number))
            report(number, value)
            self.watch.start()
            if self.recipe.patience and self.since >= self.recipe.patience:
                break
        return self.result

    def _evaluate(self, last: bool) -> float:
        if not len(self.data.validation):
            if last:
                self._recalibrate()
            return math.nan
        self._recalibrate()
        value, self.metrics["val_loss"] = accuracy_and_loss(self.result, self.data.validation)
        return value

    def _recalibrate(self) -> None:
        dtype = autocast_dtype(self.data.device)
        with torch.autocast(self.data.device.type, dtype=dtype, enabled=dtype is not None):
            recalibrate(self.result, self.sample)

    def _state(self, number: int) -> dict[str, Any]:
        """Everything that the epochs after this one depend on."""
        random = [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if self.data.device.type == "cuda" else [])]
        return {
            "epoch": number,
            "done": self.done,
            "patience": [self.best, self.since],
            "module": self.module.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average.state() if self.average else None,
            "generator": self.generator.get_state(),
            "random": random,
        }

    def _restore(self, state: dict[str, Any]) -> int:
        """Go back to a state; returns the number of the next epoch."""
        self.module.load_state_dict(state["module"])
        rates = [group["lr"] for group in self.optimiser.param_groups]  # on CUDA tensors, which must stay there
        self.optimiser.load_state_dict(state["optimiser"])
        for group, rate in zip(self.optimiser.param_groups, rates, strict=True):
            group["lr"] = rate
        if self.average:
            self.average.restore(state["average"])
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["random"][0])
        if self.data.device.type == "cuda":
            torch.cuda.set_rng_state_all(state["random"][1:])
        self.done, (self.best, self.since) = state["done"], state["patience"]
        return int(state["epoch"]) + 1

    def _epoch(self, number: int) -> None:
        self.module.train()
        for part in self.frozen:
            part.eval()
        total = torch.zeros((), device=self.data.device)
        on_cpu, on_cuda = (self.data.device.type == kind for kind in ("cpu", "cuda"))
        self.watch.start()
        for images, targets in self._batches(number):
            self.watch.lap("data")
            if on_cuda and not self.captured:
                self.step, self.captured = graphed(self.step, self.module, self.optimiser, images, targets), True
                self.watch.start()
            rate = self.peak * self.cycle(self.done)
            set_lr(self.optimiser, rate)
            loss = self.step(images, targets)
            if self.average:
                self.average.update()
            self.done += 1
            total += loss
            if on_cpu and not math.isfinite(float(loss)):  # on a GPU a look at every loss would wait for it
                break
            self.watch.lap("step")
        mean = float(total) / self.steps
        _check(mean, number, len(self.data.dataset.classes))
        self.metrics.update(train_loss=mean, learning_rate=rate)

    def _batches(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        return epoch(
            self.data.train,
            self.batch,
            generator=self.generator,
            augmentation=augmentation_of(self.recipe),
            number=number,
            classes=len(self.data.dataset.classes),
        )


def _is_frozen(part: nn.Module) -> bool:
    parameters = list(part.parameters())
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)


def _sample(train: DeviceData) -> torch.Tensor:
    """Images for recalibration: a quarter of them, 2,048 at most; evenly spaced, for datasets sorted by class."""
    count = min(_STATISTICS, max(2, len(train) // 4), len(train))
    chosen = torch.linspace(0, len(train) - 1, count).long().to(train.pixels.device)
    return train.normalised(train.pixels[chosen]).contiguous(memory_format=torch.channels_last)


def _check(loss: float, epoch: int, classes: int) -> None:
    """Refuse to go on with a training whose mean loss in an epoch is useless."""
    if not math.isfinite(loss):
        raise TrainingFailed(f"the loss is not finite in epoch {epoch}")
    chance = math.log(max(2, classes))
    if loss > _DIVERGED * chance:
        raise TrainingFailed(f"diverged in epoch {epoch}: mean loss {loss:.3g}, where guessing has {chance:.3g}")


def accuracy(module: nn.Module, data: DeviceData) -> float:
    """The share of images that the module labels correctly, in evaluation mode."""
    return accuracy_and_loss(module, data)[0]


@torch.no_grad()
def accuracy_and_loss(module: nn.Module, data: DeviceData) -> tuple[float, float]:
    """The share of images that the module labels correctly, in evaluation mode, and their mean cross-entropy."""
    module.eval()
    device = data.images.device
    dtype = autocast_dtype(device)
    correct = torch.zeros((), dtype=torch.int64, device=device)
    loss = torch.zeros((), device=device)
    with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
        for images, labels in zip(
            torch.split(data.images, _EVAL_BATCH), torch.split(data.labels, _EVAL_BATCH), strict=True
        ):
            logits = module(images)
            correct += (logits.argmax(1) == labels).sum()
            loss += functional.cross_entropy(logits.float(), labels, reduction="sum")
    return int(correct) / len(data), float(loss) / len(data)


class Trainer:
    """Evaluates candidates for a search, and keeps the last trained module so that it can be saved.

    The seed of a candidate's training comes from the search's seed and the candidate's id alone, so that it
    does not depend on what was trained before.

    Args:
        overrides: values of the recipe that hold for every network, whatever its own recipe says.
        start, checkpoint, compiled: as for `fit`.

    Attributes:
        usage: of the last training, also if it was stopped or failed: images_per_second (training, with data),
            data_seconds, step_seconds, eval_seconds, overhead_seconds (the rest), peak_memory_bytes.
        metrics: of the last epoch that was reported, as `fit` gives them.
    """

    def __init__(
        self,
        data: TrainingData,
        recipe: Recipe,
        seed: int,
        threads: int | None = None,
        deterministic: bool = False,
        overrides: Mapping[str, Value] | None = None,
        start: Start | None = None,
        checkpoint: Checkpoint | None = None,
        compiled: bool = False,
    ) -> None:
        self.data = data
        self.recipe = recipe
        self.seed = seed
        self.threads = threads
        self.deterministic = deterministic
        self.overrides = dict(overrides or {})
        self.start = start
        self.checkpoint = checkpoint
        self.compiled = compiled
        self.module: nn.Module | None = None
        self.usage: dict[str, float] = {}
        self.metrics: dict[str, float] = {}

    def __call__(self, arch: Arch, report: Report) -> float:
        """Train `arch`; returns its validation accuracy after the last epoch. Raises TrainingFailed."""
        curve: list[float] = []
        clock, watch = time.perf_counter(), Stopwatch(self.data.device)
        reset_peak(self.data.device)
        self.module, self.usage, self.metrics = None, {}, {}

        def note(number: int, value: float) -> None:
            curve.append(value)
            report(number, value)

        try:
            self.module = self._fit(arch, note, watch)
        finally:
            self.usage = self._used(watch, time.perf_counter() - clock, len(curve))
        return curve[-1] if curve else math.nan

    def recipe_of(self, arch: Arch) -> Recipe:
        """What a network is trained with, settled for the data. Raises SpecError."""
        return self.data.settle(self.recipe.with_values(arch.recipe).with_values(self.overrides))

    def _fit(self, arch: Arch, report: Report, watch: Stopwatch) -> nn.Module:
        try:
            recipe = self.recipe_of(arch)
        except SpecError as error:
            raise TrainingFailed(str(error)) from None
        try:
            return fit(
                arch,
                self.data,
                recipe,
                self._seed(arch),
                report,
                threads=self.threads,
                deterministic=self.deterministic,
                watch=watch,
                start=self.start,
                checkpoint=self.checkpoint,
                compiled=self.compiled,
                metrics=self.metrics,
            )
        except InputError as error:  # a searched crop or cutout larger than the images
            raise TrainingFailed(str(error)) from None
        except RuntimeError as error:
            # torch raises nothing more specific for a layer that breaks or memory that the CPU lacks.
            raise TrainingFailed(one_line(error)) from error

    def _used(self, watch: Stopwatch, wall: float, epochs: int) -> dict[str, float]:
        seconds = {"data": 0.0, "step": 0.0, "eval": 0.0, **watch.seconds()}
        training = seconds["data"] + seconds["step"]
        return {
            "images_per_second": round(epochs * len(self.data.train) / training, 1) if epochs and training else 0.0,
            **{f"{name}_seconds": round(value, 3) for name, value in seconds.items()},
            "overhead_seconds": round(wall - sum(seconds.values()), 3),
            "peak_memory_bytes": peak_memory(self.data.device),
        }

    def _seed(self, arch: Arch) -> int:
        return int.from_bytes(hashlib.sha256(f"{self.seed}/{arch.id}".encode()).digest()[:4], "big")

    def save(self, path: Path, arch: Arch, **info: Any) -> None:
        """Write the last trained module as a weights file. Raises OSError."""
        if self.module is None:
            raise RuntimeError("nothing was trained yet")
        mean, std = self.data.dataset.normalisation
        weights.save(
            path,
            self.module,
            arch,
            {
                "dataset": self.data.dataset.name,
                "seed": self.seed,
                "recipe": self.recipe_of(arch).to_dict(),
                "normalisation": {"mean": list(mean), "std": list(std)},
                "classes": list(self.data.dataset.classes),
                **info,
            },
        )
