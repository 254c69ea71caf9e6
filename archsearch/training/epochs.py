"""Epochs of a training: batches, targets, the learning rate's schedule, steps, averaged weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from archsearch.data import augmentation_of, epoch
from archsearch.network.layers import Shape
from archsearch.nn.devices import Stopwatch, autocast
from archsearch.training.cuda_graph import CapturedStep
from archsearch.training.loss import loss_of
from archsearch.training.optim import Average, Schedule, make_optimiser, one_cycle
from archsearch.training.resizing import scaled
from archsearch.training.setup import Teach, TrainingSetup
from archsearch.training.step import Step

Targets = Callable[[Tensor, Tensor], Tensor]


class Epochs:
    """Trains a module, one epoch a call.

    Args:
        setup: its recipe is settled and takes the network's own one in.
        generator: of order and augmentation, on the data's device.
        watch: is told what went into data and step.

    Attributes:
        loss: what is minimised.
        average: the averaged weights, None where the recipe wants none.
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
        forward: Any = torch.compile(module, dynamic=False) if setup.compiled else module
        self.loss = loss_of(setup)
        step = Step(forward, optimiser, self.loss, data.device)
        self.step = CapturedStep(step, module, optimiser, data.device)
        self.targets = _taught(setup.teach, setup.compiled, data.device) if setup.teach else _labels
        self.average = Average(module, recipe.ema * self.steps) if recipe.ema else None
        self.frozen = [part for part in module.children() if _is_frozen(part)]
        self.batches = partial(
            epoch,
            data.train.balanced() if recipe.balanced_batches else data.train,
            batch,
            generator=generator,
            augmentation=augmentation_of(recipe),
            classes=len(data.dataset.classes),
        )

    def __call__(self, number: int, shape: Shape) -> tuple[float, float]:
        """Train on images of that shape; the mean of what is minimised, and the last step's learning rate.

        On the CPU the epoch ends where a loss is not finite.
        """
        self.module.train()
        for part in self.frozen:
            part.eval()
        total = torch.zeros((), device=self.device)
        self.watch.start()
        with closing(self.batches(number=number)) as batches:
            for whole, labels in batches:
                images = scaled(whole, shape)
                self.watch.lap("data")
                targets = self.targets(whole, labels)
                if self.step.prepare(images, targets):
                    self.watch.start()
                rate = self.schedule.advance()
                loss = self.step(images, targets)
                if self.average:
                    self.average.update()
                total += loss
                if self.device.type == "cpu" and not math.isfinite(float(loss)):  # a look at a GPU's would wait for it
                    break
                self.watch.lap("step")
        return float(total) / self.steps, rate


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
