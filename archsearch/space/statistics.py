"""What a search space holds: how many descriptions, the smallest and the largest network, the share inside a budget.

Descriptions are the different answers that `draw` can be given: a sum over types of products over dims. Several
may describe one network, by layers as `Arch.id` does, or none: their number bounds that of the architectures.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from math import prod

from archsearch.errors import SpecError
from archsearch.network.arch import Arch
from archsearch.network.blocks import Value
from archsearch.network.budget import Budget
from archsearch.network.layers import Shape
from archsearch.space.dims import Dim, Float
from archsearch.space.space import SearchSpace, Slot


def descriptions(space: SearchSpace) -> int | None:
    """The exact number of different draws, recipes included; None where a float dim makes it infinite."""
    return _product([architectures(space), recipes(space)])


def architectures(space: SearchSpace) -> int | None:
    """The most networks that there can be, recipes apart: equal and impossible ones count too. None for infinite."""
    shown = [_size(dim) for dim in space.input.values()]
    return _product([*shown, *(_slot_count(slot) for slot in (space.stem, *space.stages, space.head))])


def recipes(space: SearchSpace) -> int | None:
    """The exact number of searched recipes; None for infinite."""
    return _product([_size(dim) for dim in space.train.values()])


def _slot_count(slot: Slot) -> int | None:
    """Depth 0 is one description; above, every type has its own nested dims."""
    skipped, depths = _depths(slot)
    own = _product([_size(dim) for name, dim in slot.fields.items() if name != "depth"])
    nested = [_product([_size(dim) for dim in slot.nested.get(name, {}).values()]) for name in slot.options]
    if own is None or None in nested:
        return None
    return skipped + depths * own * sum(filter(None, nested))


def _depths(slot: Slot) -> tuple[int, int]:
    """How many of the depths leave the stage out, and how many do not."""
    values = _values(slot.fields.get("depth", 1))
    skipped = sum(value == 0 for value in values)
    return skipped, len(values) - skipped


def _product(sizes: list[int | None]) -> int | None:
    return None if None in sizes else prod(size for size in sizes if size is not None)


def _size(dim: Dim | Value) -> int | None:
    return None if isinstance(dim, Float) and dim.low < dim.high else len(_values(dim))


def _values(dim: Dim | Value) -> tuple[Value, ...] | range:
    if isinstance(dim, Float):
        return (dim.low,)
    return dim.values if isinstance(dim, Dim) else (dim,)


@dataclass(frozen=True)
class Share:
    """How many of `draws` uniform draws are inside a budget. `broken` made no network."""

    draws: int
    inside: int
    broken: int

    @property
    def share(self) -> float:
        """A fraction."""
        return self.inside / self.draws


def share(space: SearchSpace, budget: Budget, input_shape: Shape, classes: int, draws: int) -> Share:
    """Draw, count and hold against the budget, `draws` times."""
    rng = random.Random(0)
    inside = broken = 0
    for _ in range(draws):
        try:
            inside += budget.check(space.random(rng, input_shape, classes).cost).ok
        except SpecError:
            broken += 1
    return Share(draws, inside, broken)


def extremes(space: SearchSpace, input_shape: Shape, classes: int) -> tuple[Arch, Arch]:
    """The smallest and the largest network by parameters that coordinate descent over all dims finds.

    Raises:
        SpecError: no candidate tried makes a network.
    """
    smallest, _ = space.smallest(lambda arch: arch.cost.params, input_shape, classes)
    largest, _ = space.smallest(lambda arch: -arch.cost.params, input_shape, classes)
    return smallest, largest


def conditions(space: SearchSpace) -> dict[str, str]:
    """When each dim is asked, by dotted name: `stage3.depth > 0 and stage3.block = nin`, "" for always."""
    found: dict[str, str] = {}
    for slot in (space.stem, *space.stages, space.head):
        present = f"{slot.label}.depth > 0" if _depths(slot)[0] else ""
        for name, _ in slot.dims():
            chosen = name.removeprefix(f"{slot.label}.").rpartition(".")[0]
            typed = f"{slot.label}.{slot.selector_key} = {chosen}" if chosen and len(slot.options) > 1 else ""
            exists = present if name != f"{slot.label}.depth" else ""
            found[name] = " and ".join(filter(None, (exists, typed)))
    return found | {name: "" for name in space.dims if name not in found}
