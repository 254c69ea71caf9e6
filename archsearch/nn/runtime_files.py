"""Weights in the files of LiteRT, OpenVINO and ncnn, counted by what stands in them; nothing is run.

What a count costs is bounded by the file's length, whatever is in it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from math import prod
from pathlib import Path
from typing import Any
from xml.parsers import expat

from archsearch._utils.formats import files_of

_MOST_TENSORS = 200_000
_MOST_DIMS = 16


class Unreadable(ValueError):
    """A file whose weights cannot be counted; the message says why."""


def count(path: Path, kind: str) -> int:
    """The values of its weights and biases, normalisations folded into them as they are.

    Args:
        kind: one of `COUNTED`.

    Raises:
        Unreadable: it is broken, or has something that is not counted here.
        OSError: it cannot be read.
    """
    try:
        found = _COUNTERS[kind](path)
    except Unreadable:
        raise
    except (ValueError, KeyError, IndexError, struct.error, expat.ExpatError) as error:
        raise Unreadable(f"it is broken: {type(error).__name__}") from None
    if found > 4 * sum(file.stat().st_size for file in files_of(path)):
        raise Unreadable("it says that it has more weights than bits for them")
    return found


# LiteRT: a flat buffer, by the numbers of TensorFlow Lite's schema

_REAL = {0, 1, 10, 18}
"""float32, float16, float64, bfloat16."""
_INTEGERS = {2, 3, 4, 7, 9, 17, 19, 20}
"""Weights where they have a scale: int32 and int64 are biases then."""


class _FlatBuffer:
    """Positions in a flat buffer. Every read is inside of it, or raises."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def number(self, form: str, at: int) -> int:
        """A little-endian number. Raises struct.error, ValueError."""
        if at < 0:
            raise ValueError(at)
        found: int = struct.unpack_from("<" + form, self.data, at)[0]
        return found

    def field(self, table: int, number: int) -> int:
        """Where a table's field stands, 0 where it has none."""
        fields = table - self.number("i", table)
        place = 4 + 2 * number
        offset = self.number("H", fields + place) if place + 2 <= self.number("H", fields) else 0
        return table + offset if offset else 0

    def value(self, table: int, number: int, form: str) -> int:
        """A number in a table, 0 where it has none."""
        at = self.field(table, number)
        return self.number(form, at) if at else 0

    def vector(self, table: int, number: int, width: int = 4) -> tuple[int, int]:
        """Where the elements of a vector in a table begin, and how many there are."""
        at = self.field(table, number)
        if not at:
            return 0, 0
        at += self.number("I", at)
        length = self.number("I", at)
        if at + 4 + width * length > len(self.data):
            raise ValueError(length)
        return at + 4, length

    def tables(self, table: int, number: int) -> Iterator[int]:
        """The tables of a vector."""
        start, length = self.vector(table, number)
        if length > _MOST_TENSORS:
            raise ValueError(length)
        for at in range(start, start + 4 * length, 4):
            yield at + self.number("I", at)


def _litert(path: Path) -> int:
    flat = _FlatBuffer(path.read_bytes())
    model = flat.number("I", 0)
    held = [flat.vector(one, 0, 1)[1] or flat.value(one, 2, "Q") for one in flat.tables(model, 4)]
    found: dict[int, int] = {}
    seen = 0
    for graph in flat.tables(model, 2):
        for tensor in flat.tables(graph, 0):
            seen += 1
            if seen > _MOST_TENSORS:
                raise Unreadable("it has more tensors than a network")
            buffer = flat.value(tensor, 2, "I")
            if held[buffer] and (size := _weight(flat, tensor)) > 1:
                found[buffer] = size
    return sum(found.values())


def _weight(flat: _FlatBuffer, tensor: int) -> int:
    """The values of a constant tensor, 0 where it is no weight."""
    kind, about = flat.value(tensor, 1, "b"), flat.field(tensor, 4)
    scaled = bool(about) and flat.vector(about + flat.number("I", about), 2)[1] > 0
    if kind not in _REAL and not (scaled and kind in _INTEGERS):
        return 0
    start, length = flat.vector(tensor, 0)
    if length > _MOST_DIMS:
        raise ValueError(length)
    return prod(flat.number("i", at) for at in range(start, start + 4 * length, 4))


# OpenVINO: XML that says which bytes of the .bin are constants, and who reads them

_FLOATS = {"f64", "f32", "f16", "bf16", "f8e4m3", "f8e5m2"}
_QUANTISED = {"i8", "u8", "i4", "u4", "nf4", "i2", "u2"}
_RANGES = {"FakeQuantize", "FakeConvert"}
_SCALES = {"Subtract", "Multiply"}
_BODIES = {"body", "then_body", "else_body"}


class _Net:
    """The layers of an .xml file, in their order: kinds, constants, and what each of them reads."""

    def __init__(self, path: Path) -> None:
        self.kinds: dict[str, str] = {}
        self.constants: dict[str, tuple[str, int]] = {}
        self.reads: dict[str, dict[str, str]] = {}
        self.end = 0
        self._layer = ""
        parser = expat.ParserCreate()
        parser.StartElementHandler = self._start
        parser.StartDoctypeDeclHandler = self._doctype
        with path.open("rb") as file:
            parser.ParseFile(file)

    def _doctype(self, *_: Any) -> None:
        raise Unreadable("it has a document type, which OpenVINO does not write")

    def _start(self, name: str, about: dict[str, str]) -> None:
        if name in _BODIES:
            raise Unreadable("it has a graph inside of a layer")
        if name == "layer":
            self._layer = about["id"]
            self.kinds[self._layer] = about["type"]
        elif name == "data" and self.kinds.get(self._layer) == "Const":
            dims = [int(one) for one in about.get("shape", "").split(",") if one.strip()]
            self.constants[self._layer] = about["element_type"], prod(dims[:_MOST_DIMS])
            self.end = max(self.end, int(about["offset"]) + int(about["size"]))
        elif name == "edge":
            self.reads.setdefault(about["to-layer"], {})[about["to-port"]] = about["from-layer"]

    def params(self) -> int:
        """Values of constants but for ranges, scales and zero points."""
        integers = {name for name, (kind, _) in self.constants.items() if kind in _QUANTISED}
        made_of = dict.fromkeys(self.constants, "") | {name: name for name in self.constants}
        unpacked, skipped = set[str](), set[str]()
        for name, kind in self.kinds.items():
            reads = self.reads.get(name, {})
            first, *others = [reads[port] for port in sorted(reads, key=int)] or [""]
            if kind == "Convert" and first in made_of:
                made_of[name] = made_of[first]
                if made_of[first] in integers:
                    unpacked.add(name)
            elif kind in _SCALES and first in unpacked:
                unpacked.add(name)
                skipped |= {made_of[one] for one in others if one in made_of}
            elif kind in _RANGES:
                skipped |= {made_of[one] for one in others if one in made_of}
        kept = {name: one for name, one in self.constants.items() if name not in skipped}
        return sum(size for kind, size in kept.values() if size > 1 and kind in _FLOATS | _QUANTISED)


def _openvino(path: Path) -> int:
    net = _Net(path)
    if net.end > path.with_suffix(".bin").stat().st_size:
        raise Unreadable("its .bin is shorter than its constants: cut off, or of another file")
    return net.params()


# ncnn: a line of text for each layer, with numbered values

_MAGIC = "7767517"
_Values = dict[int, int]
_LAYERS: dict[str, Callable[[_Values], int]] = {
    "InnerProduct": lambda v: v.get(2, 0) + (v.get(0, 0) if v.get(1) else 0),
    "BatchNorm": lambda v: 2 * v.get(0, 0),
    "Scale": lambda v: (1 + v.get(1, 0)) * max(0, v.get(0, 0)),
    "PReLU": lambda v: v.get(0, 0),
    "Bias": lambda v: v.get(0, 0),
    "LayerNorm": lambda v: 2 * v.get(0, 0) * v.get(2, 1),
    "RMSNorm": lambda v: v.get(0, 0) * v.get(2, 1),
    "GroupNorm": lambda v: 2 * v.get(1, 0) * v.get(3, 1),
    "InstanceNorm": lambda v: 2 * v.get(0, 0) * v.get(2, 1),
    "Embed": lambda v: v.get(3, 0) + (v.get(0, 0) if v.get(2) else 0),
    "MemoryData": lambda v: prod(v[key] for key in (0, 1, 2, 11) if v.get(key)),
}
_CONVS = ("Convolution", "Deconvolution")


def _ncnn(path: Path) -> int:
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    if lines[0].strip() != _MAGIC:
        raise Unreadable("it does not begin with ncnn's number")
    found = [one for one in map(_ncnn_layer, lines[2:]) if one]
    params = sum(size for size in found if size > 1)
    # Weights are four bytes at most; what is more belongs to layers that have no rule above.
    room = 4 * params + 64 * len(lines) + 2**16
    if path.with_suffix(".bin").stat().st_size > max(room, int(4.5 * params)):
        raise Unreadable("its .bin holds more than the layers that are counted")
    return params


def _ncnn_layer(line: str) -> int:
    words = line.split()
    if len(words) < 4:
        return 0
    kind, _, ins, outs = words[:4]
    values: _Values = {}
    for word in words[4 + int(ins) + int(outs) :]:
        key, equals, value = word.partition("=")
        if equals and value.lstrip("-").isdigit() and len(value) < 20:
            values[int(key)] = int(value)
    conv = kind.startswith(_CONVS)
    size = values.get(6, 0) + (values.get(0, 0) if values.get(5) else 0) if conv else _LAYERS.get(kind, _none)(values)
    if size < 0:
        raise ValueError(size)
    return size


def _none(values: _Values) -> int:
    return 0


_COUNTERS = {".tflite": _litert, ".xml": _openvino, ".param": _ncnn}
COUNTED = tuple(_COUNTERS)
"""Endings of files whose weights are counted."""
