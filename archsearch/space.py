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
    [train]                                 # recipe values; dims among them are searched

Every dim has one dotted name for the whole study: `stage1.width`, `stage1.nin.points`, `train.lr`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from archsearch.arch import ABOUT, DOWNS, Arch, Part, Stage
from archsearch.blocks import Value, lookup, names, unknown
from archsearch.blocks.registry import a_type, is_a
from archsearch.dims import DIM_KINDS, Choice, Dim, Float, Int, parse_dim
from archsearch.errors import SpecError
from archsearch.files import shipped_folder
from archsearch.layers import Shape
from archsearch.recipe import FIELDS, Recipe, check_values
from archsearch.tomlfile import parse_toml, read_text

DEFAULT_SPACE = "resnin"
_STAGE_TYPES: dict[str, type] = {
    "width": int,
    "depth": int,
    "stride": int,
    "down": str,
    "aux": str,
    "aux_weight": float,
}
_TOP_KEYS = ("summary", "stem", "stage", "head", "train")


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
    """A set of networks and recipes. `pinned` recipe values belong to the candidates' identity."""

    name: str
    summary: str
    stem: Slot
    stages: tuple[Slot, ...]
    head: Slot
    train: Mapping[str, Dim | Value] = field(default_factory=dict)
    pinned: Mapping[str, Value] = field(default_factory=dict)
    source: str = ""

    @property
    def dims(self) -> dict[str, Dim]:
        """Every dim by dotted name, in the order in which they are asked."""
        slots = (self.stem, *self.stages, self.head)
        found = dict(pair for slot in slots for pair in slot.dims())
        return found | {f"train.{name}": dim for name, dim in self.train.items() if isinstance(dim, Dim)}

    def draw(self, ask: Ask, input_shape: Shape, classes: int) -> Arch:
        """One candidate. `ask` is called only for dims that are active, each once.

        The result may make no network (a kernel larger than its map): its cost raises SpecError then.
        """
        stem = _part(self.stem.draw(ask))
        drawn = [slot.draw(ask) for slot in self.stages]
        stages = tuple(_stage(*found) for found in drawn if found)
        head = _part(self.head.draw(ask))
        searched = {name: ask(f"train.{name}", dim) for name, dim in self.train.items() if isinstance(dim, Dim)}
        return Arch(tuple(input_shape), classes, stem, stages, head, {**self.pinned, **searched})

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
    own: dict[str, Any] = {key: values.pop(key) for key in _STAGE_TYPES if key in values}
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


def _ends(dim: Dim) -> tuple[Value, ...]:
    return dim.options if isinstance(dim, Choice) else (dim.low, dim.high)


def _descend(
    best: dict[str, Value], dims: Mapping[str, Dim], open_dims: list[str], score: Callable[[dict[str, Value]], float]
) -> dict[str, Value]:
    """Coordinate descent over the ends of some dims; a block or type is judged with its own dims at their best."""
    lowest = score(best)
    improved = True
    while improved:
        improved = False
        moves = [(name, option) for name in open_dims for option in _ends(dims[name])]
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
    yield {name: _ends(dim)[0] for name, dim in dims.items()}
    rng = random.Random(0)
    for _ in range(20):
        yield {name: rng.choice(_ends(dim)) for name, dim in dims.items()}


def shipped() -> dict[str, Path]:
    """The spaces that come with archsearch: name to file."""
    return {path.stem: path for path in sorted(shipped_folder().glob("*.toml"))}


def load_space(name: str) -> SearchSpace:
    """A shipped space by name, or a space file by path. An architecture file is a space of one candidate.

    Raises:
        SpecError: unknown name, missing file, or a file with faults, all of them named at once.
    """
    path = _path(name)
    return parse_space(read_text(path), path.stem, str(path))


def space_text(name: str) -> str:
    """The text of a space's file. Raises SpecError as `load_space` does."""
    return read_text(_path(name))


def _path(name: str) -> Path:
    path = shipped().get(name) or Path(name)
    if path.suffix != ".toml" and not path.exists():
        raise SpecError(f"there is no search space {unknown(name, shipped())}; or give a .toml file")
    return path


def parse_space(text: str, name: str, where: str = "") -> SearchSpace:
    """Read a space file's text. Raises SpecError naming file and keys, every fault at once."""
    data = parse_toml(text, where)
    pinned: dict[str, Value] = {}
    if "input" in data:
        arch = Arch.from_dict(data, where)
        pinned = dict(arch.recipe)
        if problems := [problem for name, value in pinned.items() for problem in _recipe(name, value)]:
            raise SpecError([f"recipe: {problem}" for problem in problems], where)
        data = {key: value for key, value in data.items() if key not in ("input", "classes", "recipe", ABOUT)}
    reader = _Reader()
    space = reader.space(data, name, where, pinned)
    if reader.problems:
        raise SpecError(reader.problems, where)
    return space


class _Reader:
    """Reads plain values into a `SearchSpace` and gathers every fault on the way."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def space(self, data: Mapping[str, Any], name: str, where: str, pinned: dict[str, Value]) -> SearchSpace:
        self.problems += [f"no key {unknown(key, _TOP_KEYS)}" for key in data if key not in _TOP_KEYS]
        self.problems += [f"{key!r} is missing" for key in ("stem", "head") if key not in data]
        summary = data.get("summary", "")
        if not isinstance(summary, str):
            self.problems.append(f"summary = {summary!r}: must be a string")
        ends = {kind: self.slot(kind, kind, data.get(kind, {"type": "none"})) for kind in ("stem",)}
        ends["head"] = self.slot("head", "head", data.get("head", {"type": "linear"}))
        stages = self.stages(data.get("stage", []))
        train = self.train(data.get("train", {}))
        return SearchSpace(name, str(summary), ends["stem"], stages, ends["head"], train, pinned, where)

    def stages(self, value: object) -> tuple[Slot, ...]:
        if not isinstance(value, list) or not all(isinstance(stage, Mapping) for stage in value):
            self.problems.append("stage: must be an array of tables, [[stage]]")
            return ()
        if len(value) > 100:
            self.problems.append(f"stage: {len(value)} stages, at most 100")
            return ()
        return tuple(self.slot(f"stage{i}", "block", stage) for i, stage in enumerate(value, 1))

    def slot(self, label: str, kind: str, table: object) -> Slot:
        if not isinstance(table, Mapping):
            self.problems.append(f"{label}: must be a table")
            return Slot(label, kind, "", {}, {})
        key = "block" if kind == "block" else "type"
        known = names(kind)
        table = {name: sub for name, sub in table.items() if not self.stray(label, kind, name, sub)}
        nested = {
            name: dict(sub)
            for name, sub in table.items()
            if name in known and isinstance(sub, Mapping) and not DIM_KINDS & sub.keys()
        }
        flat = {name: sub for name, sub in table.items() if name not in nested}
        fields = {name: dim for name, spec in flat.items() if (dim := self.dim(f"{label}.{name}", spec)) is not None}
        inner = {chosen: self.table(f"{label}.{chosen}", sub) for chosen, sub in nested.items()}
        needed = (key, "width") if kind == "block" else (key,)
        self.problems += [f"{label}: {name!r} is missing" for name in needed if name not in flat]
        readable = key in fields
        slot = Slot(label, kind, fields.pop(key, ""), fields, inner)
        if readable:
            self.check_slot(slot)
        return slot

    def stray(self, label: str, kind: str, name: str, sub: object) -> bool:
        """Whether this is a nested table for a type that does not exist; notes the problem."""
        if not isinstance(sub, Mapping) or DIM_KINDS & sub.keys():
            return False
        known = names(kind)
        dims = {dim for entry in known for dim in lookup(kind, entry).dims}
        if name in (*known, *dims, *_STAGE_TYPES, "block", "type"):
            return False
        self.problems.append(f"{label}.{name}: there is no {kind} {unknown(name, known)}")
        return True

    def table(self, label: str, table: Mapping[str, object]) -> dict[str, Dim | Value]:
        pairs = ((name, self.dim(f"{label}.{name}", spec)) for name, spec in table.items())
        return {name: dim for name, dim in pairs if dim is not None}

    def dim(self, label: str, spec: object) -> Dim | Value | None:
        try:
            return parse_dim(spec)
        except ValueError as error:
            self.problems.append(f"{label}: {error}")
            return None

    def check_slot(self, slot: Slot) -> None:
        """Types that exist, dims that they know, values of the right type."""
        options = [name for name in slot.options if self.exists(slot, name)]
        for name in slot.nested:
            if name not in slot.options:
                self.problems.append(f"{slot.label}.{name}: {slot.selector_key} is never {name!r} here")
        if slot.kind == "block":
            self.check_stage(slot)
        for chosen in options:
            stage_types = _STAGE_TYPES if slot.kind == "block" else {}
            types = {
                **{name: wanted for name, (wanted, _) in lookup(slot.kind, chosen).dims.items()},
                **stage_types,
            }
            self.check_types(slot.label, f"{slot.kind} {chosen!r}", slot.fields, types)
            inside = {name: wanted for name, wanted in types.items() if name not in stage_types}
            self.check_types(f"{slot.label}.{chosen}", f"{slot.kind} {chosen!r}", slot.nested.get(chosen, {}), inside)

    def exists(self, slot: Slot, name: Value) -> bool:
        try:
            lookup(slot.kind, str(name))
        except SpecError as error:
            self.problems += [f"{slot.label}: {problem}" for problem in error.problems]
            return False
        return True

    def check_stage(self, slot: Slot) -> None:
        for name, lowest in (("width", 1), ("depth", 0), ("stride", 1)):
            low = min(
                (v for v in _bounds(slot.fields.get(name, lowest)) if isinstance(v, int | float)),
                default=lowest,
            )
            if low < lowest:
                self.problems.append(f"{slot.label}.{name} = {low}: must be at least {lowest}")
        for value in _bounds(slot.fields.get("down", "stride")):
            if value not in DOWNS:
                self.problems.append(f"{slot.label}.down = {value!r}: must be one of {', '.join(DOWNS)}")
        for value in _bounds(slot.fields.get("aux", "")):
            if value != "" and value not in names("head"):
                self.problems.append(f"{slot.label}.aux: there is no head {unknown(value, names('head'))}")

    def check_types(self, label: str, what: str, fields: Mapping[str, Dim | Value], types: Mapping[str, type]) -> None:
        for name, dim in fields.items():
            if name not in types:
                self.note(f"{label}: {what} has no {unknown(name, types)}")
            elif wrong := [value for value in _bounds(dim) if not is_a(value, types[name])]:
                self.note(f"{label}.{name} = {wrong[0]!r}: {what} takes {a_type(types[name])} here")

    def note(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)

    def train(self, table: object) -> dict[str, Dim | Value]:
        if not isinstance(table, Mapping):
            self.problems.append("train: must be a table")
            return {}
        found = self.table("train", table)
        self.problems += [f"train: {problem}" for problem in check_values(dict.fromkeys(set(found) - set(FIELDS), 0))]
        for name, dim in found.items():
            if name in FIELDS:
                self.problems += [f"train: {problem}" for value in _bounds(dim) for problem in _recipe(name, value)]
        return found


def _recipe(name: str, value: Value) -> list[str]:
    try:
        Recipe().with_values({name: value})
    except SpecError as error:
        return error.problems
    return []


def _bounds(dim: Dim | Value) -> tuple[Value, ...]:
    """The values that say whether all of a dim is in range and of one type."""
    return _ends(dim) if isinstance(dim, Int | Float | Choice) else (dim,)
