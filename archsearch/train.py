"""One fit: a network, its data on a device, a recipe, a callback after every epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from archsearch.arch import Arch
from archsearch.checkpoint import Checkpoint
from archsearch.data import DeviceData, augmentation_of, epoch
from archsearch.devices import (
    Stopwatch,
    autocast_dtype,
    determinism,
    free_memory,
    out_of_memory,
)
from archsearch.errors import InputError, TrainingFailed
from archsearch.graphs import Stepper, graphed
from archsearch.layers import Shape
from archsearch.modules import build
from archsearch.optim import Average, initialise, make_optimiser, one_cycle, recalibrate, set_lr
from archsearch.recipe import Recipe
from archsearch.resizing import scaled, shapes
from archsearch.step import Step
from archsearch.training_data import TrainingData

Report = Callable[[int, float], None]
Start = Callable[[nn.Module], None]
Teach = Callable[[Tensor], Tensor]
_EVAL_BATCH = 1000
_STATISTICS = 2048
_ONE_THREAD_MACS = 2e8
_DIVERGED = 10.0
_CORES = torch.get_num_threads()


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
    teach: Teach | None = None,
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
        teach: gives probabilities (N, classes) for normalised images (N, C, H, W) of full size, on the data's device;
            they take the labels' place, unsmoothed.
        checkpoint: where the state is kept between epochs. What is there is gone on with, to the same end, once its
            epochs are reported again.
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
    most = threads or _CORES
    torch.set_num_threads(_threads(arch, recipe.batch_size, most) if teach is None else most)
    torch.manual_seed(seed)
    generator = torch.Generator(device=data.device).manual_seed(seed)
    module = build(arch)
    initialise(module)
    if start:
        start(module)
    module.to(data.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    try:
        with determinism(deterministic, data.device):
            training = _Fit(
                arch, module, data, recipe, generator, watch or Stopwatch(data.device), teach, checkpoint, compiled
            )
            training.metrics = {} if metrics is None else metrics
            return training.run(report)
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
    free_memory(data.device)
    why = "with micro-batches of a few images too" if teach is None else "where teachers take whole batches"
    raise TrainingFailed(f"out of memory on {data.device}, {why}")


def _threads(arch: Arch, batch: int, most: int) -> int:
    """CPU threads for a step: one for little work, where a second one waits more than it helps."""
    return 1 if arch.cost.macs * batch < _ONE_THREAD_MACS else most


class _Fit:
    """The epochs of one training."""

    def __init__(
        self,
        arch: Arch,
        module: nn.Module,
        data: TrainingData,
        recipe: Recipe,
        generator: torch.Generator,
        watch: Stopwatch,
        teach: Teach | None,
        checkpoint: Checkpoint | None,
        compiled: bool,
    ) -> None:
        self.module, self.data, self.recipe, self.generator, self.watch = module, data, recipe, generator, watch
        self.checkpoint = checkpoint
        self.shapes = shapes(arch, recipe.initial_scale, recipe.epochs)
        self.batch = min(recipe.batch_size, len(data.train))
        self.steps = max(1, len(data.train) // self.batch)
        self.optimiser = make_optimiser(module, recipe, self.batch)
        self.peak = recipe.lr * self.batch / 256
        self.cycle = one_cycle(recipe.epochs * self.steps, recipe.warmup)
        forward: Any = torch.compile(module, dynamic=False) if compiled else module
        self.step: Stepper = Step(
            forward, self.optimiser, recipe.label_smoothing if teach is None else 0.0, data.device
        )
        self.teach: Any = torch.compile(teach, dynamic=False) if compiled and teach is not None else teach
        self.average = Average(module, recipe.ema * self.steps) if recipe.ema else None
        self.done = 0
        self.captured: tuple[Shape, Stepper] | None = None
        self.best, self.since = -1.0, 0
        self.metrics: dict[str, float] = {}
        self.reports: list[tuple[int, float, dict[str, float]]] = []
        self.sample = _sample(data.train)
        self.frozen = [part for part in module.children() if _is_frozen(part)]
        if self.frozen:
            self._recalibrate(self.shapes[-1])

    @property
    def result(self) -> nn.Module:
        """What is evaluated and kept."""
        return self.average.module if self.average else self.module

    def run(self, report: Report) -> nn.Module:
        """All epochs that are left, or fewer with early stopping."""
        kept = self.checkpoint and self.checkpoint.read()
        first = self._restore(kept, report) if kept else 1
        for number in range(first, self.recipe.epochs + 1):
            if self.recipe.patience and self.since >= self.recipe.patience:
                break
            self._epoch(number)
            value = self._evaluate(number)
            self.watch.lap("eval")
            if self.shapes[number - 1] == self.shapes[-1]:
                self.best, self.since = (value, 0) if value > self.best else (self.best, self.since + 1)
            self.reports.append((number, value, dict(self.metrics)))
            if self.checkpoint and self.checkpoint.is_due:
                self.checkpoint.write(self._state(number))
            report(number, value)
            self.watch.start()
        return self.result

    def _evaluate(self, number: int) -> float:
        """Validation accuracy on images of the epoch's size."""
        shape = self.shapes[number - 1]
        if not len(self.data.validation):
            if number == self.recipe.epochs:
                self._recalibrate(shape)
            return math.nan
        self._recalibrate(shape)
        value, self.metrics["val_loss"] = accuracy_and_loss(self.result, self.data.validation, shape)
        return value

    @torch.no_grad()
    def _taught(self, images: Tensor) -> Tensor:
        with _autocast(self.data.device):
            answers: Tensor = self.teach(images)
        return answers

    def _recalibrate(self, shape: Shape) -> None:
        with _autocast(self.data.device):
            recalibrate(self.result, scaled(self.sample, shape))

    def _state(self, number: int) -> dict[str, Any]:
        """Everything that the epochs after this one depend on."""
        device = self.data.device
        random = [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]
        return {
            "epoch": number,
            "done": self.done,
            "patience": [self.best, self.since],
            "reports": self.reports,
            "module": self.module.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average.state() if self.average else None,
            "generator": self.generator.get_state(),
            "random": random,
        }

    def _restore(self, state: dict[str, Any], report: Report) -> int:
        """Go back to a state, by way of its reports; returns the number of the next epoch."""
        for number, value, metrics in state["reports"]:
            self.metrics.update(metrics)
            report(number, value)
        self.reports = state["reports"]
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
            torch.cuda.set_rng_state(state["random"][1], self.data.device)
        self.done, (self.best, self.since) = state["done"], state["patience"]
        return int(state["epoch"]) + 1

    def _epoch(self, number: int) -> None:
        self.module.train()
        for part in self.frozen:
            part.eval()
        total = torch.zeros((), device=self.data.device)
        on_cpu, on_cuda = (self.data.device.type == kind for kind in ("cpu", "cuda"))
        self.watch.start()
        shape = self.shapes[number - 1]
        step = self.captured[1] if self.captured and self.captured[0] == shape else self.step
        for whole, labels in self._batches(number):
            images = scaled(whole, shape)
            self.watch.lap("data")
            targets = labels if self.teach is None else self._taught(whole)
            if on_cuda and (self.captured is None or self.captured[0] != shape):
                step = graphed(self.step, self.module, self.optimiser, images, targets)
                self.captured = shape, step
                self.watch.start()
            rate = self.peak * self.cycle(self.done)
            set_lr(self.optimiser, rate)
            loss = step(images, targets)
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


def _autocast(device: torch.device) -> torch.autocast:
    """The precision of a device's forward passes, where no step is captured."""
    dtype = autocast_dtype(device)
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)


@torch.no_grad()
def accuracy_and_loss(module: nn.Module, data: DeviceData, shape: Shape | None = None) -> tuple[float, float]:
    """The share of images that the module labels correctly, in evaluation mode, and their mean cross-entropy.

    shape: (channels, height, width) to which images are scaled; None: as they are.
    """
    module.eval()
    device = data.images.device
    correct = torch.zeros((), dtype=torch.int64, device=device)
    loss = torch.zeros((), device=device)
    with _autocast(device):
        for images, labels in zip(
            torch.split(data.images, _EVAL_BATCH), torch.split(data.labels, _EVAL_BATCH), strict=True
        ):
            logits = module(scaled(images, shape) if shape else images)
            correct += (logits.argmax(1) == labels).sum()
            loss += functional.cross_entropy(logits.float(), labels, reduction="sum")
    return int(correct) / len(data), float(loss) / len(data)
