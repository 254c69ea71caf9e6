"""A search space as one dataset asks for it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from archsearch.network.arch import Arch
from archsearch.network.blocks import Value
from archsearch.network.layers import COLOURS, Shape
from archsearch.space import inputs
from archsearch.space.dims import Dim
from archsearch.space.space import Ask, SearchSpace


@dataclass(frozen=True)
class Domain:
    """A space for images of `input_shape` (channels, height, width) in so many classes.

    Where the space says size or colour, `input_shape` is the largest of its `shapes`.
    """

    space: SearchSpace
    input_shape: Shape
    classes: int

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Every input shape that candidates may have, the largest last."""
        return inputs.shapes(self.space.input, self.input_shape)

    def summary(self, arch: Arch) -> str:
        """The candidate's line for tables, with what of its input is searched in front: `96px grey | conv16 | ...`."""
        channels, side, _ = arch.input_shape
        colour = next((name for name, count in COLOURS.items() if count == channels), "")
        said = {"size": f"{side}px", "colour": colour}
        searched = [said[name] for name, dim in self.space.input.items() if isinstance(dim, Dim)]
        return " | ".join([" ".join(searched), arch.summary] if searched else [arch.summary])

    def draw(self, ask: Ask) -> Arch:
        """The candidate whose dims `ask` answers."""
        return self.space.draw(ask, self.input_shape, self.classes)

    def arch(self, params: Mapping[str, Value]) -> Arch:
        """The candidate of complete parameters."""
        return self.draw(lambda name, dim: params[name])

    def random(self, rng: random.Random) -> Arch:
        """A uniform draw."""
        return self.space.random(rng, self.input_shape, self.classes)
