"""Search spaces: a TOML file says what may vary; `draw` turns answers into an `Arch`.

    summary = "..."
    [stem]                                  # type, and the dims of that type
    type = "conv"
    width = { choice = [16, 32] }
    [[stage]]                               # block, width, depth (0: no such stage), stride, down, block dims
    block = { choice = ["basic", "nin"] }
    width = { int = [16, 64], step = 16 }
    [stage.nin]                             # dims that exist only where block is "nin"
    points = { int = [1, 2] }
    [head]
    type = "linear"
    [input]                                 # side and colour of the images, see `space.inputs`
    size = { choice = [64, 96] }
    [train]                                 # recipe values; dims among them are searched

Every dim has one dotted name for the whole study: `stage1.width`, `stage1.nin.points`, `input.size`, `train.lr`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from archsearch.errors import InputError, SpecError
from archsearch.network.arch import Arch
from archsearch.network.blocks import Value
from archsearch.network.layers import Shape
from archsearch.network.recipe import Recipe
from archsearch.network.stage import STAGE_KEYS, Part, Stage
from archsearch.space import inputs
from archsearch.space.dims import Choice, Dim, Float


class Ask(Protocol):
    """Answers a dim: `ask(name, dim)` is one of the dim's values."""

    def __call__(self, name: str, dim: Dim) -> Value: ...


@dataclass(frozen=True)
class Slot:
    """A stem, a stage or a head with open dims: `fields` always exist, `nested[name]` only for that type."""

    label: str
    kind: str
    selector: Dim | Value
    fields: Mapping[str, Dim | Value]
    nested: Mapping[str, Mapping[str, Dim | Value]]

    @property
    def options(self) -> tuple[str, ...]:
        """Every type or block that the slot may take."""
        return tuple(map(str, self.selector.options)) if isinstance(self.selector, Choice) else (str(self.selector),)

    @property
    def selector_key(self) -> str:
        """`block` for a stage, `type` for a stem or head."""
        return "block" if self.kind == "block" else "type"

    def draw(self, ask: Ask) -> tuple[str, dict[str, Value]] | None:
        """The chosen type and its values, None for a stage of depth 0."""
        values: dict[str, Value] = {}
        if "depth" in self.fields:
            values["depth"] = self._value(ask, "depth", self.fields["depth"])
            if values["depth"] == 0:
                return None
        chosen = str(self._value(ask, self.selector_key, self.selector))
        for name, dim in self.fields.items():
            if name != "depth":
                values[name] = self._value(ask, name, dim)
        for name, dim in self.nested.get(chosen, {}).items():
            values[name] = self._value(ask, f"{chosen}.{name}", dim)
        return chosen, values

    def _value(self, ask: Ask, name: str, dim: Dim | Value) -> Value:
        return ask(f"{self.label}.{name}", dim) if isinstance(dim, Dim) else dim

    def dims(self) -> Iterator[tuple[str, Dim]]:
        """Every dim with its dotted name."""
        own = {self.selector_key: self.selector, **self.fields}
        own |= {f"{chosen}.{name}": dim for chosen, table in self.nested.items() for name, dim in table.items()}
        yield from ((f"{self.label}.{name}", dim) for name, dim in own.items() if isinstance(dim, Dim))


@dataclass(frozen=True)
class SearchSpace:
    """A set of networks and recipes. `pinned` recipe values belong to the candidates' identity.

    `input`: size and colour of the images where the space says them, see `space.inputs`.
    """

    name: str
    summary: str
    stem: Slot
    stages: tuple[Slot, ...]
    head: Slot
    train: Mapping[str, Dim | Value] = field(default_factory=dict)
    pinned: Mapping[str, Value] = field(default_factory=dict)
    source: str = ""
    input: Mapping[str, Dim | Value] = field(default_factory=dict)

    @property
    def dims(self) -> dict[str, Dim]:
        """Every dim by dotted name, in the order in which they are asked."""
        slots = (self.stem, *self.stages, self.head)
        found = {f"input.{name}": dim for name, dim in self.input.items() if isinstance(dim, Dim)}
        found |= dict(pair for slot in slots for pair in slot.dims())
        return found | {f"train.{name}": dim for name, dim in self.train.items() if isinstance(dim, Dim)}

    def with_sizes(self, sizes: Sequence[int]) -> SearchSpace:
        """The same space for images of these sides, whatever it says itself."""
        return replace(self, input=inputs.merged(self.input, {"size": inputs.one_of(sizes)})) if sizes else self

    def taking(self, wanted: Shape | Sequence[Shape] | None) -> tuple[SearchSpace, Shape]:
        """The space for images of one shape, of several, or of those that it says itself; and the largest of them.

        Raises:
            InputError: nothing says the shape, or several are no sizes and colours.
        """
        if wanted is None:
            if left := [name for name in inputs.NAMES if name not in self.input]:
                raise InputError(f"space {self.name!r} says no input {' and '.join(left)}: give input_shape")
            return self, inputs.shapes(self.input, (1, 1, 1))[-1]
        if wanted and isinstance(wanted[0], Sequence):
            every = [tuple(shape) for shape in wanted]  # type: ignore[arg-type]  # one part of it tells which it is
            return replace(self, input=inputs.dims_of(every)), max(every)
        return self, inputs.shapes(self.input, tuple(wanted))[-1]  # type: ignore[arg-type]  # as above

    def draw(self, ask: Ask, input_shape: Shape, classes: int) -> Arch:
        """One candidate. `ask` is called only for dims that are active, each once.

        `input_shape`: of the images, where the space does not say it. The result may make no network (a kernel
        larger than its map): its cost raises SpecError then.
        """
        answers = {name: ask(f"input.{name}", d) if isinstance(d, Dim) else d for name, d in self.input.items()}
        stem = _part(self.stem.draw(ask))
        drawn = [slot.draw(ask) for slot in self.stages]
        stages = tuple(_stage(*found) for found in drawn if found)
        head = _part(self.head.draw(ask))
        searched = {name: ask(f"train.{name}", dim) for name, dim in self.train.items() if isinstance(dim, Dim)}
        return Arch(inputs.shape_of(answers, input_shape), classes, stem, stages, head, {**self.pinned, **searched})

    def recipe(self, base: Recipe) -> Recipe:
        """The recipe with this space's constants; searched and pinned values come from each candidate."""
        return base.with_values({name: v for name, v in self.train.items() if not isinstance(v, Dim)})

    def random(self, rng: random.Random, input_shape: Shape, classes: int) -> Arch:
        """A candidate with every dim uniform over its range (over the logarithm where it says so)."""
        return self.draw(lambda name, dim: uniform(rng, dim), input_shape, classes)

    def smallest(self, value: Callable[[Arch], float], input_shape: Shape, classes: int) -> tuple[Arch, float]:
        """The candidate with the smallest `value` that coordinate descent over all dims finds.

        Exact where `value` falls with every single dim, as sizes nearly always do.

        Raises:
            SpecError: no candidate tried makes a network.
        """

        def score(answers: Mapping[str, Value]) -> float:
            try:
                return value(self.draw(lambda name, dim: answers[name], input_shape, classes))
            except SpecError:
                return float("inf")

        dims = self.dims
        starts = sorted(_starts(dims), key=score)[:5]
        best = min((_descend(start, dims, list(dims), score) for start in starts), key=score)
        lowest = score(best)
        if lowest == float("inf"):
            raise SpecError(f"no candidate makes a network for images of shape {input_shape}", self.source)
        return self.draw(lambda name, dim: best[name], input_shape, classes), lowest


def _part(found: tuple[str, dict[str, Value]] | None) -> Part:
    name, values = found or ("", {})
    return Part(name, tuple(values.items()))


def _stage(block: str, values: dict[str, Value]) -> Stage:
    own: dict[str, Any] = {key: values.pop(key) for key in STAGE_KEYS if key in values}
    return Stage(block, **own, dims=tuple(values.items()))


def uniform(rng: random.Random, dim: Dim) -> Value:
    """One value of a dim, uniform over its range (over the logarithm where it says so)."""
    if isinstance(dim, Choice):
        return rng.choice(dim.options)
    if isinstance(dim, Float):
        return _log_uniform(rng, dim.low, dim.high) if dim.log else rng.uniform(dim.low, dim.high)
    if dim.log:
        return min(dim.high, max(dim.low, round(_log_uniform(rng, dim.low - 0.5, dim.high + 0.5))))
    return rng.choice(dim.values)


def _log_uniform(rng: random.Random, low: float, high: float) -> float:
    # In logarithms, since high / low may overflow; rounding must not leave the range.
    return min(high, max(low, math.exp(rng.uniform(math.log(low), math.log(high)))))


def ends(dim: Dim) -> tuple[Value, ...]:
    return dim.options if isinstance(dim, Choice) else (dim.low, dim.high)


def _descend(
    best: dict[str, Value], dims: Mapping[str, Dim], open_dims: list[str], score: Callable[[dict[str, Value]], float]
) -> dict[str, Value]:
    """Coordinate descent over the ends of some dims; a block or type is judged with its own dims at their best."""
    lowest = score(best)
    improved = True
    while improved:
        improved = False
        moves = [(name, option) for name in open_dims for option in ends(dims[name])]
        for name, option in moves:
            trial = {**best, name: option}
            label, _, key = name.partition(".")
            if key in ("block", "type"):
                inner = [other for other in dims if other.startswith(f"{label}.{option}.")]
                trial = _descend(trial, dims, inner, score)
            if (found := score(trial)) < lowest:
                best, lowest, improved = trial, found, True
    return best


def _starts(dims: Mapping[str, Dim]) -> Iterator[dict[str, Value]]:
    """Where the descent may start: everything at its first value, then at random ones."""
    yield {name: ends(dim)[0] for name, dim in dims.items()}
    rng = random.Random(0)
    for _ in range(20):
        yield {name: rng.choice(ends(dim)) for name, dim in dims.items()}
