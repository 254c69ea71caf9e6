"""What a module is fed with: one or several inputs, each with its shape and dtype."""

from __future__ import annotations

from dataclasses import dataclass

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
