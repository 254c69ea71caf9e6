"""How long a training takes on this device, from a few of its steps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn

from archsearch.network.arch import Arch
from archsearch.network.layers import Shape
from archsearch.nn.build import build
from archsearch.nn.devices import Stopwatch
from archsearch.training.epochs import Epochs
from archsearch.training.fit import tuned
from archsearch.training.optim import initialise
from archsearch.training.resizing import shapes
from archsearch.training.setup import TrainingSetup
from archsearch.training.validation import sample_size

_BATCHES = (8, 64)
"""Tried before whole batches: a step of a large network takes a minute on a CPU."""
_ENOUGH = 0.2
"""Seconds after which a measurement is believed."""
_FORWARD = 1 / 3
"""Share of a training step that an evaluation takes for as many images."""
OF_AN_IMAGE = 1.2e6
"""Multiply-accumulates in whose time a CPU does the rest of what an image takes: loading it, launching layers."""


def training_cost(device: torch.device) -> Callable[[Arch], float] | None:
    """What trainings of networks cost beside each other on this device, in multiply-accumulates of an image.

    None where that is not known: on a GPU a small network takes as long as a larger one.
    """
    if device.type != "cpu":
        return None
    return lambda arch: OF_AN_IMAGE + arch.cost.macs


def training_seconds(arch: Arch, setup: TrainingSetup) -> float:
    """Seconds of a whole training of the network, its evaluations included.

    Two steps are timed on the setup's device, on whole batches unless smaller ones take long enough. What a
    training does after it seeds torch does not depend on them.

    Raises:
        InputError: the network's recipe is none, or a crop or cutout larger than the images.
        RuntimeError: torch cannot train it here.
    """
    setup = setup.of(arch)
    setup = replace(setup, recipe=setup.recipe_of(arch), overrides={})
    setup = tuned(arch, setup)
    data, recipe = setup.data, setup.recipe
    module = build(arch)
    initialise(module)
    module.to(data.device).to(memory_format=torch.channels_last)
    every = shapes(arch, recipe.initial_scale, recipe.epochs)
    evaluated = len(data.validation) + sample_size(len(data.train))
    images = len(data.train) + _FORWARD * evaluated
    whole = sum(math.prod(shape) for shape in every) / math.prod(every[-1])
    return images * whole * _seconds_an_image(module, setup, every[-1])


def _seconds_an_image(module: nn.Module, setup: TrainingSetup, shape: Shape) -> float:
    """Of a training step, its data included; the first step is not counted."""
    most = min(setup.recipe.batch_size, len(setup.data.train))
    for size in [*(size for size in _BATCHES if size < most), most]:
        generator = torch.Generator(device=setup.data.device).manual_seed(0)
        epochs = Epochs(module, _with_one_batch(setup, size), generator, Stopwatch(setup.data.device))
        epochs(1, shape)
        clock = time.perf_counter()
        epochs(1, shape)
        seconds = time.perf_counter() - clock
        if seconds > _ENOUGH:
            break
    return seconds / size


def _with_one_batch(setup: TrainingSetup, size: int) -> TrainingSetup:
    """The setup with so many train images, all of them in one batch."""
    data = setup.data
    recipe = setup.recipe.with_values({"batch_size": size})
    return replace(setup, data=replace(data, train=data.train.first(size)), recipe=recipe, compiled=False)
