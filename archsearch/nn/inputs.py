"""What a module is fed with: one or several inputs, each with its shape and dtype."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from archsearch.errors import InputError
from archsearch.network.layers import Shape

DTYPES = (
    "float32", "float16", "bfloat16", "float64", "complex64", "complex128",
    "int64", "int32", "int16", "int8", "uint8", "bool",
)  # fmt: skip
"""torch's names of what an input may hold."""


@dataclass(frozen=True, slots=True)
class Input:
    """One input without its batch.

    Args:
        shape: (3, 224, 224), (16,), or () for one value an image.
        dtype: one of `DTYPES`; "" for that of the module's first floating parameter.
    """

    shape: Shape
    dtype: str = ""

    def __str__(self) -> str:
        return "x".join(map(str, self.shape)) + f":{self.dtype}" * bool(self.dtype)


Inputs: TypeAlias = tuple[Input, ...]


def inputs_of(given: Shape | Inputs | None) -> Inputs:
    """Several inputs as they are, a shape as the only one, nothing as none."""
    if not given:
        return ()
    return given if isinstance(given[0], Input) else (Input(given),)


def one_image(target: str, given: Shape | Inputs | None) -> Shape | None:
    """The shape of the only input, for targets that take one image.

    Raises:
        InputError: there are several, or it has a dtype of its own.
    """
    inputs = inputs_of(given)
    if len(inputs) > 1 or any(one.dtype or not one.shape for one in inputs):
        raise InputError(f"{target}: takes one image, not {listed(inputs)}: give --input-shape 3,224,224 once")
    return inputs[0].shape if inputs else None


def listed(inputs: Sequence[Input]) -> str:
    """Inputs for people: `3x224x224 and 16:int64`."""
    return " and ".join(map(str, inputs))
