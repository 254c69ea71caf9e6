"""`Arch`: one network as data. Stem, stages of repeated blocks, head; unrolls to an expression."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import tomli_w

from archsearch import cost
from archsearch.blocks import Dims, Value, expand, lookup, unknown
from archsearch.blocks.registry import cached, is_a
from archsearch.cost import Cost
from archsearch.errors import SpecError
from archsearch.file_size import METADATA_BYTES
from archsearch.files import write_text
from archsearch.layers import Aux, Expr, Pool, Seq, Shape, canonical, seq
from archsearch.tomlfile import parse_toml, read_text

MAX_BLOCKS = 1000
"""More blocks than this are refused: no network of this kind is that deep, and a typo is."""
MAX_COST = 2**53
"""Figures from here on are refused: floats cannot tell them apart, and no machine could hold the network."""
FEW_STAGES = 16
DOWNS = ("stride", "max", "avg")
_STAGE_KEYS = {"block": str, "width": int, "depth": int, "stride": int, "down": str, "aux": str, "aux_weight": float}
_TOP_KEYS = ("input", "classes", "stem", "stage", "head", "recipe")
ABOUT = "about"
"""Whatever stands under this key says where a network comes from; it is no part of the network."""


@dataclass(frozen=True, slots=True)
class Part:
    """A stem or a head: a registered type and its dims."""

    type: str
    dims: Dims = ()


@dataclass(frozen=True, slots=True)
class Stage:
    """`depth` blocks of `width` output channels; the first one has the stride.

    `down`: "stride" strides the block's first layer; "max" and "avg" pool before a block of stride 1.
    `aux`: the head of an auxiliary classifier behind the last block, with its default dims, "" for none; it is
    trained along with `aux_weight` of the loss and never deployed (Szegedy et al. 2014, arXiv 1409.4842).
    """

    block: str
    width: int
    depth: int = 1
    stride: int = 1
    down: str = "stride"
    dims: Dims = ()
    aux: str = ""
    aux_weight: float = 0.3

    def __post_init__(self) -> None:
        problems = [
            f"{name} = {value!r}: must be a whole number of at least 1"
            for name, value in (("width", self.width), ("depth", self.depth), ("stride", self.stride))
            if not isinstance(value, int) or isinstance(value, bool) or value < 1
        ]
        if self.down not in DOWNS:
            problems.append(f"down = {self.down!r}: must be one of {', '.join(DOWNS)}")
        if not isinstance(self.aux, str):
            problems.append(f"aux = {self.aux!r}: must be the name of a head")
        if not is_a(self.aux_weight, float) or not 0 <= self.aux_weight < float("inf"):
            problems.append(f"aux_weight = {self.aux_weight!r}: must be a number of at least 0")
        if problems:
            raise SpecError(problems)


@dataclass(frozen=True)
class Arch:
    """A network: input (channels, height, width), classes, stem, stages, head, and searched recipe dims."""

    input_shape: Shape
    classes: int
    stem: Part
    stages: tuple[Stage, ...]
    head: Part
    recipe: Mapping[str, Value] = field(default_factory=dict)

    def parts(self) -> list[tuple[str, Expr]]:
        """The network's named parts in order: stem, stage1 .. stageN (each a sequence of blocks), head.

        Raises:
            SpecError: a part makes no network; the message says which.
        """
        return [(name, expr) for name, expr, _ in self.unroll()]

    def unroll(self) -> Iterator[tuple[str, Expr, Cost]]:
        """The parts with their cost, one by one, each where the one before leads. Raises SpecError as `parts` does."""
        shape = self.input_shape
        for name, kind, spec in self._specs():
            try:
                expr, found = _unrolled(kind, spec, shape, self.classes)
            except SpecError as error:
                raise SpecError([f"{name}: {problem}" for problem in error.problems]) from None
            except ArithmeticError as error:
                raise SpecError(f"{name}: makes no layer: {error}") from None
            if found.params >= MAX_COST or found.macs >= MAX_COST or found.peak >= MAX_COST:
                raise SpecError(f"{name}: more than 2^53 parameters, MACs or activations")
            yield name, expr, found
            shape = found.out
        if shape != (self.classes,):
            raise SpecError(f"head: gives {shape}, not ({self.classes},)")

    def _specs(self) -> Iterator[tuple[str, str, Part | Stage]]:
        yield "stem", "stem", self.stem
        if sum(stage.depth for stage in self.stages) > MAX_BLOCKS:
            raise SpecError(f"stage: more than {MAX_BLOCKS} blocks in all")
        for i, stage in enumerate(self.stages, 1):
            yield f"stage{i}", "block", stage
        yield "head", "head", self.head

    def expr(self) -> Seq:
        """The whole network as one expression."""
        return seq(*(expr for _, expr in self.parts()))

    @cached_property
    def cost(self) -> Cost:
        """The exact cost for one image of `input_shape`. Raises SpecError as `parts` does."""
        found = cost.joined([(name, found) for name, _, found in self.unroll()], self.input_shape)
        contents = found.contents
        return found._replace(contents=contents._replace(chars=contents.chars + self.spill)) if self.spill else found

    @cached_property
    def spill(self) -> int:
        """Bytes of a weights file's metadata beyond the room kept in its size: a description of dozens of stages."""
        if len(self.stages) <= FEW_STAGES:
            return 0
        return max(0, len(json.dumps(self.to_toml())) - METADATA_BYTES // 2)

    @cached_property
    def id(self) -> str:
        """12 hex digits over input shape, classes, unrolled layers and searched recipe dims.

        Two descriptions that unroll to the same layers are one candidate.
        """
        content = [self.input_shape, self.classes, canonical(self.expr()), sorted(self.recipe.items())]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]

    @property
    def summary(self) -> str:
        """One line for tables: `conv16 | nin 32x2 k5 | resnin 64x1/2 | nin`."""
        stages = (_stage_summary(stage) for stage in self.stages)
        return " | ".join([_part_summary(self.stem), *stages, _part_summary(self.head)])

    def adapted(self, input_shape: Shape, classes: int) -> Arch:
        """The same network for other images or another number of classes."""
        return replace(self, input_shape=tuple(input_shape), classes=classes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as they stand in an architecture file."""
        stages = [_stage_dict(stage) for stage in self.stages]
        ends = {
            name: {"type": part.type, **dict(part.dims)} for name, part in (("stem", self.stem), ("head", self.head))
        }
        recipe = {"recipe": dict(self.recipe)} if self.recipe else {}
        return {
            "input": list(self.input_shape), "classes": self.classes,
            "stem": ends["stem"], "stage": stages, "head": ends["head"], **recipe,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "") -> Arch:
        """Read plain values; every fault is gathered before one is raised.

        Raises:
            SpecError: unknown or missing keys, wrong types, unknown blocks or dims, or no network.
        """
        return _Reader(where).arch(data)

    def to_toml(self) -> str:
        """The architecture file's text."""
        return tomli_w.dumps(self.to_dict())

    @classmethod
    def from_toml(cls, text: str, where: str = "") -> Arch:
        """Read an architecture file's text. Raises SpecError as `from_dict` does, also for broken TOML."""
        return cls.from_dict(parse_toml(text, where), where)

    def dump(self, path: str | Path) -> None:
        """Write an architecture file, whole. Raises OSError."""
        write_text(Path(path), self.to_toml())

    @classmethod
    def load(cls, path: str | Path) -> Arch:
        """Read an architecture file. Raises SpecError: missing, unreadable or wrong."""
        return cls.from_toml(read_text(Path(path)), str(path))


def count(network: Arch | Expr, input_shape: Shape | None = None) -> Cost:
    """The exact cost of an architecture, or of an expression at an input shape (channels, height, width).

    Raises:
        SpecError: it makes no network.
    """
    if isinstance(network, Arch):
        return network.cost
    if input_shape is None:
        raise SpecError("an expression is counted at an input shape: count(expr, (3, 32, 32))")
    return cost.measure(network, tuple(input_shape))


def _blocks(stage: Stage, shape: Shape) -> Seq:
    pooled = stage.stride > 1 and stage.down != "stride"
    first = expand("block", stage.block, (shape[0], stage.width, 1 if pooled else stage.stride), stage.dims)
    if pooled:
        first = seq(Pool(stage.down, stage.stride), first)
    if stage.depth == 1:
        return Seq((first,))
    again = expand("block", stage.block, (stage.width, stage.width, 1), stage.dims)
    return Seq((first, *[again] * (stage.depth - 1)))


def _stage(stage: Stage, shape: Shape, classes: int) -> Expr:
    """A stage's blocks, followed by its auxiliary classifier where it has one."""
    blocks = _blocks(stage, shape)
    if not stage.aux:
        return blocks
    features = cost.measure(blocks, shape).out
    classifier = expand("head", stage.aux, (features, classes), ())
    if (out := cost.measure(classifier, features).out) != (classes,):
        raise SpecError(f"aux: {stage.aux!r} gives {out}, not ({classes},)")
    return Seq((*blocks.parts, Aux(classifier, stage.aux_weight)))


@cached(1 << 14)
def _unrolled(kind: str, spec: Part | Stage, shape: Shape, classes: int) -> tuple[Expr, Cost]:
    """One part and its cost; a search meets the same parts over and over."""
    expr = _stage(spec, shape, classes) if isinstance(spec, Stage) else _end(kind, spec, shape, classes)
    return expr, cost.measure(expr, shape)


def _end(kind: str, part: Part, shape: Shape, classes: int) -> Expr:
    args = (shape[0],) if kind == "stem" else (shape, classes)
    return expand(kind, part.type, args, part.dims)


def _part_summary(part: Part) -> str:
    dims = dict(part.dims)
    width = dims.pop("width", "")
    return " ".join([f"{part.type}{width}", *_dims_summary(dims)])


def _stage_summary(stage: Stage) -> str:
    stride = f"/{stage.stride}" if stage.stride > 1 else ""
    down = [stage.down] if stage.stride > 1 and stage.down != "stride" else []
    aux = [f"aux={stage.aux}"] if stage.aux else []
    dims = _dims_summary(dict(stage.dims))
    return " ".join([stage.block, f"{stage.width}x{stage.depth}{stride}", *down, *dims, *aux])


def _dims_summary(dims: Mapping[str, Value]) -> list[str]:
    short = {"kernel": "k", "points": "p", "ratio": "r"}
    return [f"{short.get(name, name + '=')}{value}" for name, value in dims.items()]


def _stage_dict(stage: Stage) -> dict[str, Any]:
    down = {"down": stage.down} if stage.down != "stride" else {}
    has_aux = stage.aux or stage.aux_weight != Stage.__dataclass_fields__["aux_weight"].default
    aux = {"aux": stage.aux, "aux_weight": stage.aux_weight} if has_aux else {}
    return {
        "block": stage.block, "width": stage.width, "depth": stage.depth, "stride": stage.stride,
        **down, **dict(stage.dims), **aux,
    }  # fmt: skip


class _Reader:
    """Reads plain values into an `Arch` and gathers every fault on the way."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.problems: list[str] = []

    def arch(self, data: Mapping[str, Any]) -> Arch:
        self.problems += [f"no key {unknown(key, _TOP_KEYS)}" for key in data if key not in (*_TOP_KEYS, ABOUT)]
        missing = [key for key in _TOP_KEYS[:-1] if key not in data]
        self.problems += [f"{key!r} is missing" for key in missing]
        shape = self.shape(data.get("input", [1, 8, 8]))
        classes = data.get("classes", 1)
        if not isinstance(classes, int) or isinstance(classes, bool) or classes < 1:
            self.problems.append(f"classes = {classes!r}: must be a whole number of at least 1")
        stem, head = (self.part(kind, data.get(kind, {})) for kind in ("stem", "head"))
        stages = self.stages(data.get("stage", []))
        recipe = self.recipe(data.get("recipe", {}))
        if self.problems:
            raise SpecError(self.problems, self.where)
        arch = Arch(shape, classes, stem, stages, head, recipe)
        try:
            arch.parts()
        except SpecError as error:
            raise SpecError(error.problems, self.where) from None
        return arch

    def shape(self, value: object) -> Shape:
        fine = isinstance(value, list) and len(value) == 3 and all(type(v) is int and v >= 1 for v in value)
        if not fine:
            self.problems.append(f"input = {value!r}: must be [channels, height, width], whole numbers")
            return (1, 1, 1)
        return tuple(value)  # type: ignore[arg-type]

    def part(self, kind: str, value: object) -> Part:
        if not isinstance(value, Mapping):
            self.problems.append(f"{kind}: must be a table")
            return Part("")
        dims = dict(value)
        name = dims.pop("type", None)
        if value and not isinstance(name, str):
            self.problems.append(f"{kind}: 'type' is missing")
        if isinstance(name, str):
            self.check(kind, kind, name, dims)
        return Part(str(name), tuple(dims.items()))

    def stages(self, value: object) -> tuple[Stage, ...]:
        if not isinstance(value, list) or not all(isinstance(stage, Mapping) for stage in value):
            self.problems.append("stage: must be an array of tables, [[stage]]")
            return ()
        found = (self.stage(f"stage{i}", dict(stage)) for i, stage in enumerate(value, 1))
        return tuple(stage for stage in found if stage)

    def stage(self, label: str, dims: dict[str, Any]) -> Stage | None:
        own = {key: dims.pop(key) for key in _STAGE_KEYS if key in dims}
        missing = [key for key in ("block", "width") if key not in own]
        self.problems += [f"{label}: {key!r} is missing" for key in missing]
        if missing:
            return None
        self.check(label, "block", own["block"], dims, extra=_STAGE_KEYS)
        try:
            return Stage(**own, dims=tuple(dims.items()))
        except SpecError as error:
            self.problems += [f"{label}: {problem}" for problem in error.problems]
            return None

    def check(
        self,
        label: str,
        kind: str,
        name: object,
        dims: dict[str, Any],
        extra: Mapping[str, object] | None = None,
    ) -> None:
        try:
            entry = lookup(kind, str(name))
        except SpecError as error:
            self.problems += [f"{label}: {problem}" for problem in error.problems]
            return
        known = {**entry.dims, **dict.fromkeys(extra or ["type"])}
        for dim, value in dims.items():
            if dim not in entry.dims:
                self.problems.append(f"{label}: {kind} {name!r} has no {unknown(dim, known)}")
            else:
                self.problems += [f"{label}: {problem}" for problem in entry.check([(dim, value)])]

    def recipe(self, value: object) -> dict[str, Value]:
        if not isinstance(value, Mapping) or not all(isinstance(v, int | float | str) for v in value.values()):
            self.problems.append("recipe: must be a table of numbers, strings and booleans")
            return {}
        return dict(value)
