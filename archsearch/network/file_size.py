"""How large a safetensors file is, from the number of its tensors, their values and the length of their names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from archsearch._utils.formats import FORMATS
from archsearch.errors import InputError

SAFETENSORS = "safetensors"
DTYPE_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1}
METADATA_BYTES = 8192
"""Room kept in a weights file for its metadata: architecture, recipe, normalisation, class names."""
SCALE_SUFFIX = "_scale"
"""At int8 the tensor `weight` comes with `weight_scale`, one fp32 value an output channel."""
_ENTRY = len('"":{"dtype":"","shape":[],"data_offsets":[,]},')
_LONGEST_CODE = len("F8_E4M3")
_CODES = {"fp32": "F32", "fp16": "F16", "bf16": "BF16"}


class Written(NamedTuple):
    """How the file is written whose bytes count: the precision, and the format by its name in `FORMATS`."""

    dtype: str = "fp32"
    form: str = SAFETENSORS

    @property
    def words(self) -> str:
        """For people: `int8`, or `LiteRT, int8`."""
        return self.dtype if self.form == SAFETENSORS else f"{FORMATS[self.form].words}, {self.dtype}"


class FixedTensor(NamedTuple):
    """A tensor whose bytes go by its own dtype: integers, complex numbers, quantised weights.

    Args:
        chars: characters of its name and shape.
        values: how many it has.
        data: bytes, whatever the dtype at which a file is counted.
        reals: real numbers, of the width of that dtype, of fp32 at int8.
    """

    chars: int
    values: int
    data: int
    reals: int = 0


class FileContents(NamedTuple):
    """The tensors of a file.

    Args:
        counters: integers of 64 bits, each a tensor.
        chars: characters of all names and shapes.
        matrices: tensors that int8 quantises: kernels and weight matrices.
        matrix_rows: their output channels, one scale each.
        matrix_chars: characters of their names and numbers of rows.
    """

    tensors: int = 0
    counters: int = 0
    chars: int = 0
    matrices: int = 0
    matrix_elements: int = 0
    matrix_rows: int = 0
    matrix_chars: int = 0

    def size_bytes(self, values: int, dtype: str, fixed: Sequence[FixedTensor] = ()) -> int:
        """Of a file with so many values, counters included: header, metadata and data. Raises InputError.

        Args:
            fixed: tensors besides, whose values are among `values`.
        """
        width = element_bytes(dtype)
        if fixed:
            values -= sum(tensor.values for tensor in fixed)
        others = values - self.matrix_elements - self.counters
        vectors = self.tensors - self.matrices - self.counters
        chars = self.chars
        # Entries (how many, characters of the dtype, bytes of data), in the order in which the file has them.
        regions = [(self.counters, 3, 8 * self.counters)]
        if dtype == "int8":
            regions.append((vectors + self.matrices, 3, 4 * (others + self.matrix_rows)))
            regions.append((self.matrices, 2, self.matrix_elements))
            chars += self.matrix_chars + self.matrices * len(SCALE_SUFFIX)
        else:
            regions.append((vectors + self.matrices, len(_CODES[dtype]), width * (others + self.matrix_elements)))
        for tensor in fixed:
            chars += tensor.chars
            regions.append((1, _LONGEST_CODE, tensor.data + (4 if dtype == "int8" else width) * tensor.reals))
        end = 0
        for entries, code, data in regions:
            end += data
            chars += entries * (_ENTRY + code + 2 * len(str(end)))
        return end + chars + METADATA_BYTES + 16


def element_bytes(dtype: str) -> int:
    """Bytes a value of fp32, fp16, bf16 or int8 takes. Raises InputError for another dtype."""
    if dtype not in DTYPE_BYTES:
        raise InputError(f"unknown dtype {dtype!r}: use one of {', '.join(DTYPE_BYTES)}")
    return DTYPE_BYTES[dtype]
