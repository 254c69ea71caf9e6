"""What moves the weights: initialisation, optimiser, learning-rate cycle, averaged weights and statistics."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from archsearch.network.recipe import AUTO, CHOSEN, Recipe
from archsearch.nn.torch_private import foreach
from archsearch.training.muon import Muon, kernels

_CHUNK = 512  # images that recalibration takes at a time


def initialise(module: nn.Module) -> None:
    """Kaiming-normal kernels for the number of inputs (He et al. 2015, arXiv 1502.01852), in place."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_in", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def make_optimiser(module: nn.Module, recipe: Recipe, batch: int) -> torch.optim.Optimizer:
    """The recipe's optimiser; weight decay on kernels and matrices only, not on norms, biases and what Muon turns.

    With Muon, what it does not turn gets a smaller rate in batches under 256, by their root: a step's noise grows as
    they shrink, and only a step of a given length is safe from it (docs/evidence/recipe.md#muon).
    On CUDA the learning rate is a tensor there, so that a captured step can be told another one.
    Raises ValueError for a recipe that is not settled.
    """
    if recipe.optimiser == CHOSEN or recipe.lr == AUTO:
        raise ValueError("the recipe leaves its optimiser or its rate open: TrainingData.settle chooses them")
    params = [p for p in module.parameters() if p.requires_grad]
    turned = kernels(module) if recipe.optimiser == "muon" else []
    others = [p for p in params if not any(p is kernel for kernel in turned)]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in others if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in others if p.ndim <= 1], "weight_decay": 0.0},
        {"params": turned, "weight_decay": 0.0, "orthogonal": True},
    ]
    groups = [group for group in groups if group["params"]]
    kinds = {p.device.type for p in params}
    on_cuda, fused = kinds == {"cuda"}, kinds <= {"cpu", "cuda"}
    peak = recipe.lr * batch / 256
    lr = torch.tensor(peak, device=params[0].device) if on_cuda else peak
    if recipe.optimiser == "muon":
        for group in groups:
            group["share"] = 1.0 if group.get("orthogonal") else min(1.0, math.sqrt(batch / 256))
        return Muon(groups, lr, recipe.momentum)
    if recipe.optimiser == "sgd":
        nesterov = recipe.momentum > 0
        return torch.optim.SGD(groups, lr=lr, momentum=recipe.momentum, nesterov=nesterov, fused=fused)
    adam = torch.optim.Adam if recipe.optimiser == "adam" else torch.optim.AdamW
    return adam(groups, lr=lr, fused=fused, capturable=on_cuda)


def set_lr(optimiser: torch.optim.Optimizer, value: float) -> None:
    """Give all groups another learning rate."""
    for group in optimiser.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(value)
        else:
            group["lr"] = value


def one_cycle(steps: int, warmup: float) -> Callable[[int], float]:
    """Factor on the learning rate: linearly up to 1 over `warmup` of the steps, then linearly to 0."""
    rise = warmup * steps

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / (rise + 1)
        return max(0.0, (steps - step) / max(1.0, steps - rise))

    return factor


class Schedule:
    """Gives an optimiser its learning rate, step by step.

    Args:
        peak: the highest learning rate.
        factor: of it at a step, counted from 0.

    Attributes:
        done: how many steps had theirs.
    """

    def __init__(self, optimiser: torch.optim.Optimizer, peak: float, factor: Callable[[int], float]) -> None:
        self.optimiser, self.done = optimiser, 0
        self._peak, self._factor = peak, factor

    def advance(self) -> float:
        """Set the next step's learning rate; returns it."""
        rate = self._peak * self._factor(self.done)
        set_lr(self.optimiser, rate)
        self.done += 1
        return rate

    def restore(self, done: int, state: dict[str, Any]) -> None:
        """Go back to a number of steps and the optimiser's state then."""
        rates = [group["lr"] for group in self.optimiser.param_groups]  # on CUDA tensors, which must stay there
        self.optimiser.load_state_dict(state)
        for group, rate in zip(self.optimiser.param_groups, rates, strict=True):
            group["lr"] = rate
        self.done = done


class Average:
    """An exponential moving average of a module's weights and statistics, over about `horizon` steps.

    Early on the horizon is half of the steps so far, so that the average does not remember the start
    (as in Polyak averaging with a decay that grows, Tarvainen & Valpola 2017, arXiv 1703.01780).
    """

    def __init__(self, module: nn.Module, horizon: float) -> None:
        self.module = copy.deepcopy(module).requires_grad_(False)
        self._horizon = horizon
        self._steps = 0
        self._pairs = list(zip(_floats(self.module), _floats(module), strict=True))

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the module's present weights."""
        self._steps += 1
        weight = max(1 / self._horizon, 1 / (1 + self._steps / 2)) if self._horizon > 1 else 1.0
        mine, theirs = zip(*self._pairs, strict=True)
        foreach("lerp_", mine, theirs, weight)

    def state(self) -> dict[str, Any]:
        """What `restore` takes."""
        return {"steps": self._steps, "module": self.module.state_dict()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to an average as it was."""
        self._steps = state["steps"]
        self.module.load_state_dict(state["module"])


class Lookahead:
    """Slow weights behind a module's own (Zhang et al. 2019, arXiv 1907.08610).

    After every `every` steps, and after the last of `steps`, the slow ones go half of the way to the module's, and the
    module's go there too.
    """

    def __init__(self, module: nn.Module, every: int, steps: int) -> None:
        self._fast = [p for p in module.parameters() if p.requires_grad]
        self._slow = [p.detach().clone() for p in self._fast]
        self._every, self._steps = every, steps

    @torch.no_grad()
    def update(self, done: int) -> None:
        """After a step, of which so many are done."""
        if done % self._every and done != self._steps:
            return
        foreach("lerp_", self._slow, self._fast, 0.5)
        for fast, slow in zip(self._fast, self._slow, strict=True):
            fast.copy_(slow)

    def state(self) -> list[torch.Tensor]:
        """What `restore` takes."""
        return self._slow

    @torch.no_grad()
    def restore(self, state: list[torch.Tensor]) -> None:
        """Go back to slow weights as they were."""
        for slow, kept in zip(self._slow, state, strict=True):
            slow.copy_(kept)


@torch.no_grad()
def recalibrate(
    module: nn.Module, images: torch.Tensor, prepared: Callable[[torch.Tensor], torch.Tensor] = lambda some: some
) -> None:
    """Set the running statistics of every BatchNorm to those of `images` (N, C, H, W) under the present weights.

    prepared: makes of some images, at most 512 at a time, what the module takes.

    Running averages lag behind weights that move fast, most of all in the first epochs, and do not belong to
    averaged weights at all ("precise BatchNorm", Wu & Johnson 2021, arXiv 2105.07576). Leaves `module` in
    evaluation mode; does nothing with fewer than two images, which have no variance.
    """
    norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    module.eval()
    if len(images) < 2 or not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
        norm.momentum = None  # the plain mean over the chunks
    for some in images.chunk(math.ceil(len(images) / _CHUNK)):
        module(prepared(some))
    module.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def _floats(module: nn.Module) -> list[torch.Tensor]:
    """Everything in a module's state that can be averaged."""
    return [value for value in module.state_dict(keep_vars=True).values() if value.is_floating_point()]
