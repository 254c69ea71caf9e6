"""Everything that the next epoch of a training depends on, as tensors and plain values, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from archsearch.training.optim import Average, Lookahead, Schedule


@dataclass(frozen=True)
class TrainingState:
    """The parts of a training that change from step to step, random numbers included."""

    module: nn.Module
    schedule: Schedule
    average: Average | None
    generator: torch.Generator
    device: torch.device
    lookahead: Lookahead | None = None

    def read(self) -> dict[str, Any]:
        """What `restore` takes; its tensors are those of the training."""
        on_cuda = self.device.type == "cuda"
        return {
            "done": self.schedule.done,
            "module": self.module.state_dict(),
            "optimiser": self.schedule.optimiser.state_dict(),
            "average": self.average.state() if self.average else None,
            "lookahead": self.lookahead.state() if self.lookahead else None,
            "generator": self.generator.get_state(),
            "random": [torch.get_rng_state(), *([torch.cuda.get_rng_state(self.device)] if on_cuda else [])],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a state as it was read."""
        self.module.load_state_dict(state["module"])
        self.schedule.restore(state["done"], state["optimiser"])
        if self.average:
            self.average.restore(state["average"])
        if self.lookahead:
            self.lookahead.restore(state["lookahead"])
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["random"][0])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state["random"][1], self.device)
