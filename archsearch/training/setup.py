"""What one training, or a series of them, is given beside the network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from archsearch.metrics import Metric
from archsearch.network.arch import Arch
from archsearch.network.blocks.registry import Value
from archsearch.network.layers import Shape
from archsearch.network.recipe import Recipe
from archsearch.training.data import TrainingData
from archsearch.training.thread_tuner import ThreadTuner

Start = Callable[[nn.Module], float | None]
Teach = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Birth:
    """How a candidate begins with what a trained one knows.

    start: puts it into the initialised network; epochs: how many it trains; parent: the id of the trained one; usage:
    what the table of all trials says of it, by name.
    """

    start: Start
    epochs: int
    parent: str
    usage: Mapping[str, float]


Births = Callable[[Arch, int], Birth | None]
"""The beginning of a candidate that would train so many epochs from scratch; None for that."""


@dataclass(frozen=True)
class TrainingSetup:
    """Data, recipe and seed, how the device computes, and what a network starts and learns from.

    Args:
        recipe: for all networks; a network's own recipe goes before it, `overrides` before both.
        seed: fixes initial weights, order and augmentation. Reruns are equal to the last digit on one CPU with
            one number of threads; on CUDA only if `deterministic`; never from device to device.
        overrides: values of the recipe that hold for every network.
        threads: of the CPU, at most; by default all cores. A busy machine gets fewer, unless `deterministic`.
        deterministic: as `nn.devices.determinism`.
        compiled: let `torch.compile` make the training's forward and backward pass; costs a minute or so at the start.
        start: puts other weights into the initialised network, and may take the gradient from parts of it: parts
            (stem, a stage) without any parameter to train keep their statistics too. Gives the share of parameters
            that it filled, where it knows.
        teach: gives probabilities (N, classes) for normalised images (N, C, H, W) of full size, on the data's device;
            they take the labels' place, unsmoothed.
        shapes: gives the data for networks with another input shape than those of `data`; None: there are none.
        metric: what validation images are scored by; None: accuracy.
        tuner: chooses the number of threads, from one training to the next; None: each begins with `threads`.
    """

    data: TrainingData
    recipe: Recipe
    seed: int = 0
    overrides: Mapping[str, Value] = field(default_factory=dict)
    threads: int | None = None
    deterministic: bool = False
    compiled: bool = False
    start: Start | None = None
    teach: Teach | None = None
    shapes: Callable[[Shape], TrainingData] | None = None
    metric: Metric | None = None
    tuner: ThreadTuner | None = None

    def of(self, arch: Arch) -> TrainingSetup:
        """The setup with the data at the network's own input shape. Raises DataError."""
        if self.shapes is None or arch.input_shape == self.data.dataset.input_shape:
            return self
        return replace(self, data=self.shapes(arch.input_shape))

    @property
    def is_taught(self) -> bool:
        """Whether probabilities are learnt, those of teachers or of the data, rather than labels."""
        return self.teach is not None or self.data.train.labels.is_floating_point()

    def recipe_of(self, arch: Arch) -> Recipe:
        """What a network is trained with, settled for the data. Raises SpecError."""
        return self.of(arch).data.settle(self.recipe.with_values({**arch.recipe, **self.overrides}))
