"""How much device memory a training will need, from the exact cost of its network: who may train beside whom.

Counted are 16 bytes a parameter (float32 weights and gradients, two moments of the optimiser, which SGD does not
fill), and for every image of a batch 2 bytes for each value that a layer reads or writes. A layer's output is
read by the next, so that is 4 bytes for each value held until the backward pass: bfloat16 twice, or float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from archsearch.network import cost
from archsearch.network.arch import Arch
from archsearch.network.layers import Shape
from archsearch.network.recipe import Recipe
from archsearch.training.data import TrainingData

STATE_BYTES, VALUE_BYTES = 16, 2
PROCESS_BYTES = 6e8
"""CUDA's context, its libraries' kernels and workspaces: once a worker process."""
SHARE = 0.8
"""Of a device's memory that all trainings together are let in to."""


def training_bytes(arch: Arch, batch: int, data_bytes: float = 0.0) -> float:
    """Predicted bytes on the device of one worker that trains `arch`, its copy of the data included."""
    parts = arch.parts()
    values = sum(layer.activation for layer in cost.layers(parts, arch.input_shape))
    return PROCESS_BYTES + data_bytes + STATE_BYTES * arch.cost.params + VALUE_BYTES * batch * values


def predictor(
    data: TrainingData, recipe: Recipe, device: torch.device | None = None, shapes: Sequence[Shape] = ()
) -> Callable[[Arch], float]:
    """Predicted bytes of a training by this recipe on these data, on their device or on another one.

    shapes: at all of which the data are kept, where there are several.
    """
    own = data.dataset.input_shape
    copies = sum(math.prod(shape) for shape in shapes or [own]) / math.prod(own)
    size = copies * data.bytes_on(device or data.device)

    def predict(arch: Arch) -> float:
        return training_bytes(arch, data.settle(recipe.with_values(arch.recipe)).batch_size, size)

    return predict


def workers_that_fit(predicted: list[float], free_bytes: float, cores: int) -> int:
    """How many workers a device has room for, by the mean of some candidates' predictions; 1 to `cores`."""
    mean = sum(predicted) / len(predicted)
    return max(1, min(cores, int(SHARE * free_bytes / mean)))
