"""A search space as one dataset asks for it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from archsearch.network.arch import Arch
from archsearch.network.blocks import Value
from archsearch.network.layers import Shape
from archsearch.space.space import Ask, SearchSpace


@dataclass(frozen=True)
class Domain:
    """A space for images of `input_shape` (channels, height, width) in so many classes."""

    space: SearchSpace
    input_shape: Shape
    classes: int

    def draw(self, ask: Ask) -> Arch:
        """The candidate whose dims `ask` answers."""
        return self.space.draw(ask, self.input_shape, self.classes)

    def arch(self, params: Mapping[str, Value]) -> Arch:
        """The candidate of complete parameters."""
        return self.draw(lambda name, dim: params[name])

    def random(self, rng: random.Random) -> Arch:
        """A uniform draw."""
        return self.space.random(rng, self.input_shape, self.classes)
