"""One fit: a network, what a training is given, a callback after every epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from archsearch.errors import InputError, TrainingFailed
from archsearch.evaluation import Relay, Report
from archsearch.network.arch import Arch
from archsearch.nn.build import build
from archsearch.nn.devices import Stopwatch, determinism, free_memory, out_of_memory
from archsearch.training.checkpoint import Checkpoint
from archsearch.training.epochs import Epochs
from archsearch.training.optim import initialise
from archsearch.training.resizing import shapes
from archsearch.training.rounding import Rounded
from archsearch.training.setup import TrainingSetup
from archsearch.training.state import TrainingState
from archsearch.training.thread_tuner import ThreadTuner
from archsearch.training.validation import Validation

_ONE_THREAD_MACS = 2e8
_DIVERGED = 10.0


@dataclass(frozen=True)
class Trained:
    """A trained module, with the last epoch's score on the validation images and metrics."""

    module: nn.Module
    score: float
    metrics: Mapping[str, float]

    @property
    def accuracy(self) -> float:
        """The last epoch's validation accuracy, which is the score where the setup has no metric."""
        return self.metrics.get("val_accuracy", self.score)


def fit(
    arch: Arch,
    setup: TrainingSetup,
    report: Report,
    *,
    watch: Stopwatch | None = None,
    checkpoint: Checkpoint | None = None,
) -> Trained:
    """Train a network and report its score after every epoch: its validation accuracy, or the setup's metric.

    Without validation images the score is not a number (nan).

    Args:
        report: gets as metrics the epoch's train_loss (the mean of what is minimised), val_loss (plain cross-entropy)
            and learning_rate (of the last step), and val_accuracy where the score is another.
        watch: is told what went into data, step and eval.
        checkpoint: where the state is kept between epochs. What is there is gone on with, to the same end, once its
            epochs are reported again.

    Raises:
        InputError: the network's recipe is none (SpecError); early stopping without validation images, or before the
            epochs of `qat`; a crop or cutout larger than the images.
        TrainingFailed: the loss is not finite or has exploded, or the device's memory does not suffice.
    """
    setup = setup.of(arch)
    setup, device = replace(setup, recipe=setup.recipe_of(arch), overrides={}), setup.data.device
    if setup.recipe.patience and not len(setup.data.validation):
        raise InputError(f"patience = {setup.recipe.patience}: early stopping needs validation images, here are none")
    if setup.recipe.patience and setup.recipe.qat:
        raise InputError(f"patience = {setup.recipe.patience}: it may end before the epochs of qat: set one to 0")
    setup = tuned(arch, setup)
    torch.manual_seed(setup.seed)
    generator = torch.Generator(device=device).manual_seed(setup.seed)
    module = build(arch)
    initialise(module)
    if setup.start:
        setup.start(module)
    module.to(device).to(memory_format=torch.channels_last)
    told = Relay(report)
    try:
        with determinism(setup.deterministic, device):
            return _Fit(arch, module, setup, generator, watch or Stopwatch(device), checkpoint).run(told)
    except RuntimeError as error:
        if error is told.error or not out_of_memory(error):
            raise
    free_memory(device)
    why = "with micro-batches of a few images too" if setup.teach is None else "where teachers take whole batches"
    raise TrainingFailed(f"out of memory on {device}, {why}")


def tuned(arch: Arch, setup: TrainingSetup) -> TrainingSetup:
    """The setup with a number of threads for a step, which torch has from here on: one for little work."""
    tuner = setup.tuner or ThreadTuner(setup.threads)
    little = setup.teach is None and arch.cost.macs * setup.recipe.batch_size < _ONE_THREAD_MACS
    tuner.start(little, fixed=setup.deterministic or setup.data.device.type != "cpu")
    return replace(setup, tuner=tuner)


class _EarlyStopping:
    """Ends a training after `patience` epochs without a better one; never for 0."""

    def __init__(self, patience: int) -> None:
        self.patience, self.best, self.since = patience, -math.inf, 0

    def note(self, value: float) -> None:
        self.best, self.since = (value, 0) if value > self.best else (self.best, self.since + 1)

    @property
    def is_due(self) -> bool:
        return bool(self.patience) and self.since >= self.patience


class _Fit:
    """The epochs of one training, each evaluated, kept and reported."""

    def __init__(
        self,
        arch: Arch,
        module: nn.Module,
        setup: TrainingSetup,
        generator: torch.Generator,
        watch: Stopwatch,
        checkpoint: Checkpoint | None,
    ) -> None:
        recipe = setup.recipe
        self.data, self.watch, self.checkpoint = setup.data, watch, checkpoint
        self.shapes = shapes(arch, recipe.initial_scale, recipe.epochs)
        self.epochs = Epochs(module, setup, generator, watch)
        average = self.epochs.average
        self.module = average.module if average else module
        self.metric, self.qat = setup.metric, recipe.qat
        self.rounded: Rounded | None = None
        self.judged = Rounded(self.module) if recipe.score_precision == "int8" else None
        self.validation = Validation(self.module, setup.data, setup.metric, self.judged)
        self.state = TrainingState(
            module, self.epochs.schedule, average, generator, setup.data.device, self.epochs.lookahead
        )
        self.stopping = _EarlyStopping(recipe.patience)
        self.reports: list[tuple[int, float, dict[str, float]]] = []
        if self.epochs.frozen:
            self.validation.recalibrate(self.shapes[-1])

    def run(self, report: Report) -> Trained:
        """All epochs that are left, or fewer with early stopping."""
        kept = self.checkpoint and self.checkpoint.read()
        first = self._restore(kept, report) if kept else 1
        for number in range(first, len(self.shapes) + 1):
            if self.stopping.is_due:
                break
            value, metrics = self._epoch(number)
            self.reports.append((number, value, metrics))
            if self.checkpoint and self.checkpoint.is_due:
                self.checkpoint.write(self._state(number))
            report(number, value, metrics)
            self.watch.start()
        _, value, metrics = self.reports[-1]
        if self.judged:
            self.judged.close()
        if self.qat:
            (self.rounded or Rounded(self.module)).keep()
        return Trained(self.module, value, metrics)

    def _epoch(self, number: int) -> tuple[float, dict[str, float]]:
        """Train and evaluate on images of the epoch's size; returns score and metrics."""
        shape = self.shapes[number - 1]
        loss, rate = self.epochs(number, shape)
        if self.epochs.rounded and self.rounded is None:
            self.rounded = Rounded(self.module) if self.epochs.average else self.epochs.rounded
            self.validation = Validation(self.rounded, self.data, self.metric)
        _require_finite(loss, number, self.epochs.loss.of_guessing(len(self.data.dataset.classes)))
        metrics = {"train_loss": loss, "learning_rate": rate}
        value = math.nan
        if len(self.data.validation):
            value, measured = self.validation(shape)
            metrics |= measured
            if not math.isfinite(metrics["val_loss"]):  # the largest of logits that are no numbers is the first one
                raise TrainingFailed(f"the outputs for validation images are not finite in epoch {number}")
        elif number == len(self.shapes):
            self.validation.recalibrate(shape)
        self.watch.lap("eval")
        if shape == self.shapes[-1]:
            self.stopping.note(value)
        return value, metrics

    def _state(self, number: int) -> dict[str, Any]:
        """Everything that the epochs after this one depend on."""
        patience = [self.stopping.best, self.stopping.since]
        return {"epoch": number, "patience": patience, "reports": self.reports, **self.state.read()}

    def _restore(self, state: dict[str, Any], report: Report) -> int:
        """Go back to a state, by way of its reports; returns the number of the next epoch."""
        for number, value, metrics in state["reports"]:
            report(number, value, metrics)
        self.reports = state["reports"]
        self.state.restore(state)
        self.stopping.best, self.stopping.since = state["patience"]
        return int(state["epoch"]) + 1


def _require_finite(loss: float, epoch: int, chance: float) -> None:
    """Refuse to go on with a training whose mean loss in an epoch is useless."""
    if not math.isfinite(loss):
        raise TrainingFailed(f"the loss is not finite in epoch {epoch}")
    if loss > _DIVERGED * chance:
        raise TrainingFailed(f"diverged in epoch {epoch}: mean loss {loss:.3g}, where guessing has {chance:.3g}")
