"""What a target of `archsearch check` measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from archsearch.network.cost import Layer
from archsearch.network.file_size import SAFETENSORS
from archsearch.network.limits import LIMITS

ON_DISK = "file"
"""Stands for a dtype where bytes are those of the file, whatever its tensors are."""


@dataclass(frozen=True)
class Measured:
    """A target's figures at one dtype, for one image.

    values: by the measures of `limits.LIMITS`; None where there is nothing to measure it on.
    size_dtype: the precision at which bytes are counted, or `ON_DISK`; `size_format`: the format.
    attention_macs: products of two activations, which are not in `values`; None where no forward pass was followed.
    """

    target: str
    what: str
    values: Mapping[str, float | None]
    layers: tuple[Layer, ...] = ()
    note: str = ""
    size_dtype: str = "fp32"
    attention_macs: int | None = None
    size_format: str = SAFETENSORS


@dataclass(frozen=True)
class Counted:
    """What can be counted of a file without running it; None where it cannot, and `notes` say why.

    metadata: what archsearch wrote into it.
    shape: of the input at which it was counted, without the batch.
    external: bytes of files beside it that belong to it.
    """

    params: int | None = None
    macs: int | None = None
    layers: tuple[Layer, ...] = ()
    notes: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    shape: tuple[int, ...] = ()
    external: int = 0


class Stored(NamedTuple):
    """A tensor in a file: `dtype` is safetensors' name of it, such as F32 or I64."""

    shape: tuple[int, ...]
    dtype: str
    bytes: int


def stored(params: int | None, size: int, macs: int | None = None) -> dict[str, int | None]:
    """The values of what has no forward pass to follow."""
    unknown = {limit.measure: None for limit in LIMITS if not limit.lower}
    return {**unknown, "params": params, "size_bytes": size, "macs": macs}


def per_image(macs: int, shape: tuple[int, ...], batch_first: bool) -> tuple[int, tuple[int, ...]]:
    """What a pass over an input of this shape costs for one image, and the shape of that image.

    batch_first: the graph leaves the first size open; else images and vectors alone have a batch.
    """
    if not shape or not (batch_first or len(shape) in (2, 4)):
        return macs, shape
    return macs // max(shape[0], 1), shape[1:]


def by(shape: tuple[int, ...]) -> str:
    """A shape for people: 3x224x224."""
    return "x".join(map(str, shape))
