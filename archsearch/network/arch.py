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

from archsearch._utils.files import write_text
from archsearch._utils.tomlfile import parse_toml, read_text
from archsearch.errors import SpecError
from archsearch.network import cost
from archsearch.network.arch_file import read_fields
from archsearch.network.blocks import Value
from archsearch.network.cost import Cost
from archsearch.network.file_size import METADATA_BYTES
from archsearch.network.layers import Expr, Seq, Shape, canonical, seq
from archsearch.network.stage import Part, Stage, part_summary, stage_dict, stage_summary, unrolled

MAX_BLOCKS = 1000
"""More blocks than this are refused: no network of this kind is that deep, and a typo is."""
FEW_STAGES = 16


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
                expr, found = unrolled(kind, spec, shape, self.classes)
            except SpecError as error:
                raise SpecError([f"{name}: {problem}" for problem in error.problems]) from None
            except ArithmeticError as error:
                raise SpecError(f"{name}: makes no layer: {error}") from None
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
        parts, whole, shape = [], [], self.input_shape
        for name, expr, found in self.unroll():
            parts.append((name, found))
            whole.append((name, expr, shape))
            shape = found.out
        found = cost.joined(parts, self.input_shape, tuple(whole))
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
        stages = (stage_summary(stage) for stage in self.stages)
        return " | ".join([part_summary(self.stem), *stages, part_summary(self.head)])

    def adapted(self, input_shape: Shape, classes: int) -> Arch:
        """The same network for other images or another number of classes."""
        return replace(self, input_shape=tuple(input_shape), classes=classes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as they stand in an architecture file."""
        stages = [stage_dict(stage) for stage in self.stages]
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
        arch = cls(**read_fields(data, where))
        try:
            arch.parts()
        except SpecError as error:
            raise SpecError(error.problems, where) from None
        return arch

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
