"""Epochs of a training: batches, targets, the learning rate's schedule, steps, averaged weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from archsearch.data import Augmentation, augmentation_of, epoch
from archsearch.network.layers import Shape
from archsearch.network.recipe import Recipe
from archsearch.nn.devices import Stopwatch, autocast
from archsearch.training.cuda_graph import CapturedStep
from archsearch.training.loss import AnyLoss, Loss, loss_of
from archsearch.training.optim import Average, Lookahead, Schedule, make_optimiser, one_cycle
from archsearch.training.resizing import scaled
from archsearch.training.rounding import Rounded, is_rounded
from archsearch.training.setup import Teach, TrainingSetup
from archsearch.training.step import Step
from archsearch.training.thread_tuner import ThreadTuner

Targets = Callable[[Tensor, Tensor], Tensor]


class Epochs:
    """Trains a module, one epoch a call.

    Args:
        setup: its recipe is settled and takes the network's own one in.
        generator: of order and augmentation, on the data's device.
        watch: is told what went into data and step.

    Attributes:
        loss: what is minimised.
        tuner: of the threads of a step.
        rounded: the module as its int8 file computes, in the epochs that train that.
        average, lookahead: averaged and slow weights, None where the recipe wants none.
        frozen: parts of the module without any parameter to train.
    """

    def __init__(self, module: nn.Module, setup: TrainingSetup, generator: torch.Generator, watch: Stopwatch) -> None:
        data, recipe = setup.data, setup.recipe
        batch = min(recipe.batch_size, len(data.train))
        self.steps = max(1, len(data.train) // batch)
        self.module, self.device, self.watch = module, data.device, watch
        optimiser = make_optimiser(module, recipe, batch)
        factor = one_cycle(recipe.epochs * self.steps, recipe.warmup)
        self.schedule = Schedule(optimiser, recipe.lr * batch / 256, factor)
        self._forward: Any = torch.compile(module, dynamic=False) if setup.compiled else module
        self.rounded: Rounded | None = None
        self.loss = loss_of(setup)

        def step_of(loss: AnyLoss) -> CapturedStep:
            return CapturedStep(Step(self._forward, optimiser, loss, data.device), module, optimiser, data.device)

        self._step_of = step_of
        self.step = self._step_of(self.loss)
        self.targets = _taught(setup.teach, setup.compiled, data.device) if setup.teach else _labels
        self.average = Average(module, recipe.ema * self.steps) if recipe.ema else None
        every = recipe.lookahead
        self.lookahead = Lookahead(module, every, recipe.epochs * self.steps) if every else None
        self.tuner = setup.tuner or ThreadTuner(setup.threads)
        self._shape: Shape = ()
        self._recipe = recipe
        self.frozen = [part for part in module.children() if _is_frozen(part)]
        self.batches = partial(
            epoch,
            data.train.balanced() if recipe.balanced_batches else data.train,
            batch,
            generator=generator,
            classes=len(data.dataset.classes),
        )

    def __call__(self, number: int, shape: Shape) -> tuple[float, float]:
        """Train on images of that shape; the mean of what is minimised, and the last step's learning rate.

        On the CPU the epoch ends where a loss is not finite.
        """
        self._sharpen(number)
        self._round(number)
        self.module.train()
        for part in self.frozen:
            part.eval()
        total = torch.zeros((), device=self.device)
        self.watch.start()
        if shape != self._shape:
            self._shape = shape
            self.tuner.fresh()
        augmentation = grown(augmentation_of(self._recipe), self._recipe, number)
        with closing(self.batches(number=number, augmentation=augmentation)) as batches:
            for whole, labels in batches:
                images = scaled(whole, shape)
                self.watch.lap("data")
                targets = self.targets(whole, labels)
                if self.step.prepare(images, targets):
                    self.watch.start()
                rate = self.schedule.advance()
                with self.tuner:
                    loss = self.step(images, targets)
                if self.lookahead:
                    self.lookahead.update(self.schedule.done)
                if self.average:
                    self.average.update()
                total += loss
                if self.device.type == "cpu" and not math.isfinite(float(loss)):  # a look at a GPU's would wait for it
                    break
                self.watch.lap("step")
        return float(total) / self.steps, rate

    def _sharpen(self, number: int) -> None:
        """Smooth labels no more from the epoch on that the recipe says."""
        if isinstance(self.loss, Loss) and self.loss.smoothing and is_over(self._recipe, number):
            self.loss = replace(self.loss, smoothing=0.0)
            self.step = self._step_of(self.loss)

    def _round(self, number: int) -> None:
        """Train the rounded network from the epoch on that the recipe says, never compiled: there it would not pay."""
        if self.rounded is None and is_rounded(self._recipe, number):
            self.rounded = self._forward = Rounded(self.module)
            self.step = self._step_of(self.loss)


def is_over(recipe: Recipe, number: int) -> bool:
    """Whether the share of the epochs is over in which labels are smoothed; epochs are counted from 1."""
    return number > recipe.smoothing_until * recipe.epochs


def grown(augmentation: Augmentation, recipe: Recipe, number: int) -> Augmentation:
    """With the alphas of mixup and cutmix that an epoch has while they grow."""
    share = number / (recipe.mix_growth * recipe.epochs) if recipe.mix_growth else 1.0
    if share >= 1 or not augmentation.mixes:
        return augmentation
    return replace(augmentation, mixup=share * augmentation.mixup, cutmix=share * augmentation.cutmix)


def _labels(images: Tensor, labels: Tensor) -> Tensor:
    return labels


def _taught(teach: Teach, compiled: bool, device: torch.device) -> Targets:
    """The teachers' answers as targets, in the precision of the device's forward passes."""
    answer: Any = torch.compile(teach, dynamic=False) if compiled else teach

    @torch.no_grad()
    def targets(images: Tensor, labels: Tensor) -> Tensor:
        with autocast(device):
            answers: Tensor = answer(images)
        return answers

    return targets


def _is_frozen(part: nn.Module) -> bool:
    parameters = list(part.parameters())
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)
