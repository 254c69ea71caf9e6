"""The parts of a network: stem, stages of repeated blocks, head; each unrolls to an expression."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from archsearch.errors import SpecError
from archsearch.network import cost
from archsearch.network.blocks import Dims, Value, expand
from archsearch.network.blocks.registry import cached, is_a
from archsearch.network.cost import Cost
from archsearch.network.layers import Aux, Expr, Pool, Seq, Shape, seq, shared

MAX_COST = 2**53
"""Figures from here on are refused: floats cannot tell them apart, and no machine could hold the network."""
DOWNS = ("stride", "max", "avg")
STAGE_KEYS = {
    "block": str, "width": int, "depth": int, "stride": int, "down": str, "shared": bool, "aux": str,
    "aux_weight": float,
}  # fmt: skip


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
    `shared`: equal blocks have one set of kernels, counted once, and norms of their own.
    """

    block: str
    width: int
    depth: int = 1
    stride: int = 1
    down: str = "stride"
    dims: Dims = ()
    aux: str = ""
    aux_weight: float = 0.3
    shared: bool = False

    def __post_init__(self) -> None:
        problems = [
            f"{name} = {value!r}: must be a whole number of at least 1"
            for name, value in (("width", self.width), ("depth", self.depth), ("stride", self.stride))
            if not isinstance(value, int) or isinstance(value, bool) or value < 1
        ]
        if self.down not in DOWNS:
            problems.append(f"down = {self.down!r}: must be one of {', '.join(DOWNS)}")
        if not isinstance(self.shared, bool):
            problems.append(f"shared = {self.shared!r}: must be true or false")
        if not isinstance(self.aux, str):
            problems.append(f"aux = {self.aux!r}: must be the name of a head")
        if not is_a(self.aux_weight, float) or not 0 <= self.aux_weight < float("inf"):
            problems.append(f"aux_weight = {self.aux_weight!r}: must be a number of at least 0")
        if problems:
            raise SpecError(problems)


def _blocks(stage: Stage, shape: Shape) -> Seq:
    pooled = stage.stride > 1 and stage.down != "stride"
    first = expand("block", stage.block, (shape[0], stage.width, 1 if pooled else stage.stride), stage.dims)
    if pooled:
        first = seq(Pool(stage.down, stage.stride), first)
    if stage.depth == 1:
        return Seq((first,))
    again = expand("block", stage.block, (stage.width, stage.width, 1), stage.dims)
    if not stage.shared:
        return Seq((first, *[again] * (stage.depth - 1)))
    if first == again and cost.measure(first, shape).out == shape:
        return Seq((shared(again, stage.depth),))
    return Seq((first, shared(again, stage.depth - 1) if stage.depth > 2 else again))


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
def unrolled(kind: str, spec: Part | Stage, shape: Shape, classes: int) -> tuple[Expr, Cost]:
    """One part and its cost; a search meets the same parts over and over."""
    expr = _stage(spec, shape, classes) if isinstance(spec, Stage) else _end(kind, spec, shape, classes)
    found = cost.measure(expr, shape)
    if max(found.params, found.macs, found.peak) >= MAX_COST:
        raise SpecError("more than 2^53 parameters, MACs or activations")
    return expr, found


def _end(kind: str, part: Part, shape: Shape, classes: int) -> Expr:
    args = (shape[0],) if kind == "stem" else (shape, classes)
    return expand(kind, part.type, args, part.dims)


def part_summary(part: Part) -> str:
    """`conv16 k3`: type, width, other dims."""
    dims = dict(part.dims)
    width = dims.pop("width", "")
    return " ".join([f"{part.type}{width}", *_dims_summary(dims)])


def stage_summary(stage: Stage) -> str:
    """`resnin 64x1/2 k3`: block, width x depth / stride, other dims."""
    stride = f"/{stage.stride}" if stage.stride > 1 else ""
    down = [stage.down] if stage.stride > 1 and stage.down != "stride" else []
    shares = ["shared"] if stage.shared else []
    aux = [f"aux={stage.aux}"] if stage.aux else []
    dims = _dims_summary(dict(stage.dims))
    return " ".join([stage.block, f"{stage.width}x{stage.depth}{stride}", *down, *shares, *dims, *aux])


def _dims_summary(dims: Mapping[str, Value]) -> list[str]:
    short = {"kernel": "k", "points": "p", "ratio": "r"}
    plain = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in dims.items()}
    return [f"{short.get(name, name + '=')}{value}" for name, value in plain.items()]


def stage_dict(stage: Stage) -> dict[str, Any]:
    """Plain values, as they stand in an architecture file."""
    down = {"down": stage.down} if stage.down != "stride" else {}
    share = {"shared": True} if stage.shared else {}
    has_aux = stage.aux or stage.aux_weight != Stage.__dataclass_fields__["aux_weight"].default
    aux = {"aux": stage.aux, "aux_weight": stage.aux_weight} if has_aux else {}
    return {
        "block": stage.block, "width": stage.width, "depth": stage.depth, "stride": stage.stride,
        **down, **share, **dict(stage.dims), **aux,
    }  # fmt: skip
