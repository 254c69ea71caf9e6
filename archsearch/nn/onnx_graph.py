"""What an ONNX file costs, by the graph in it: initialisers that are weights, and products with them."""

from __future__ import annotations

import importlib
import lzma
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Any

from archsearch.errors import InputError, one_line
from archsearch.network.cost import Layer
from archsearch.nn.measured import Counted, per_image

_MOST_BYTES = 2**31
"""What a protobuf file can hold."""
_PRODUCTS = {"Gemm": (0, 1), "MatMul": (0, 1), "MatMulInteger": (0, 1), "QLinearMatMul": (0, 3), "FusedMatMul": (0, 1)}
_CONVS = {"Conv": (0, 1), "ConvInteger": (0, 1), "QLinearConv": (0, 3), "DeformConv": (0, 1), "ConvTranspose": (0, 1)}
"""Where image and weight stand among the inputs."""
_RECURRENT = {"LSTM", "GRU", "RNN"}
_UNCOUNTED = {"Einsum", "If", "Loop", "Scan"}
_AS_THEY_ARE = {"Cast", "Add", "Sub", "Mul", "Div", "Transpose", "Identity", "QuantizeLinear", "DequantizeLinear"}
"""What normalises pixels: constants before the first other operator are no weights."""
_NOT_WEIGHTS = {
    "BatchNormalization": (3, 4), "QuantizeLinear": (1, 2), "DequantizeLinear": (1, 2), "Clip": (1, 2), "Pad": (1, 2),
    "Resize": (1, 2, 3), "Pow": (1,), "QLinearConv": (1, 2, 4, 5, 6, 7), "QLinearMatMul": (1, 2, 4, 5, 6, 7),
    "ConvInteger": (2, 3), "MatMulInteger": (2, 3), "Where": (1, 2), "Dropout": (1, 2), "OneHot": (1, 2),
}  # fmt: skip
_TO_REAL = ("DequantizeLinear", "Cast")
_STANDARD = ("", "ai.onnx", "ai.onnx.ml")
_PACKED = "weights of "
_QUANTISED = {"DequantizeLinear": (0,), "QLinearConv": (3, 8), "QLinearMatMul": (0, 3), "ConvInteger": (1,),
              "MatMulInteger": (0, 1)}  # fmt: skip
"""Where an integer is a weight."""
_SCALARS = {"Conv", "Gemm", "PRelu", "ConvTranspose", "MatMul", "BatchNormalization", "LayerNormalization"}
"""Operators of which a single value is a weight too, no constant of a formula."""


def count(path: Path, shape: tuple[int, ...] | None = None) -> Counted:
    """Count the graph of an ONNX file, for one image.

    Args:
        shape: of one input, where the graph leaves its sizes open.

    Raises:
        InputError: no readable ONNX file, weights beside it are missing, or the graph takes another input.
    """
    try:
        onnx = importlib.import_module("onnx")
    except ModuleNotFoundError:
        return Counted(notes=("counting a graph needs onnx: pip install 'archsearch[export]'",))
    try:
        model = onnx.ModelProto.FromString(_content(path))
        if not model.graph.node:
            raise ValueError("it has no graph")
        external = _external(path, model.graph)
        if model.functions:
            model = importlib.import_module("onnx.inliner").inline_local_functions(model)
        graph = _Graph(onnx, model, path, shape)
        return graph.counted({one.key: one.value for one in model.metadata_props}, external)
    except (OSError, InputError):
        raise
    except Exception as error:  # noqa: BLE001 - protobuf and onnx share no exception
        raise InputError(f"{path}: no readable ONNX file: {one_line(error)}") from None


def _content(path: Path) -> bytes:
    if path.suffix != ".xz":
        return path.read_bytes()
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ)
    found = decompressor.decompress(path.read_bytes(), max_length=_MOST_BYTES)
    if not decompressor.eof:
        raise ValueError("it is cut off or holds more than 2 GiB")
    return found


def _external(path: Path, graph: Any) -> int:
    """Bytes of the files beside it that hold its tensors. Raises InputError for a missing one."""
    places = {entry.value for one in graph.initializer for entry in one.external_data if entry.key == "location"}
    total = 0
    for place in sorted(places):
        if Path(place).is_absolute() or ".." in Path(place).parts:
            raise InputError(f"{path}: its weights lie in {place!r}, outside of its folder")
        if not (path.parent / place).is_file():
            raise InputError(f"{path}: its weights, {place}, are not beside it")
        total += (path.parent / place).stat().st_size
    return total


class _Graph:
    def __init__(self, onnx: Any, model: Any, path: Path, shape: tuple[int, ...] | None) -> None:
        self.onnx, self.graph = onnx, model.graph
        self.held = {one.name: one for one in (*model.graph.initializer, *self._constants())}
        self.held |= {one.values.name: one for one in model.graph.sparse_initializer}
        self.inputs = [one for one in model.graph.input if one.name not in self.held]
        self.open, self.shape = self._fix(path, shape)
        self.shapes = self._inferred(model)
        self.weights: dict[str, int] = {}
        # What a constant is made of, by its name, and which constants are real numbers.
        self.sources: dict[str, tuple[str, ...]] = {name: (name,) for name in self.held}
        self.real = {name for name, one in self.held.items() if self._floats(one)}
        self.pixels = {one.name for one in self.inputs}
        self.rows: list[Layer] = []
        self.unknown: dict[str, None] = {}

    def _constants(self) -> Iterator[Any]:
        for node in self.graph.node:
            for attribute in node.attribute if node.op_type == "Constant" else ():
                if attribute.name == "value":
                    attribute.t.name = node.output[0]
                    yield attribute.t

    def _fix(self, path: Path, shape: tuple[int, ...] | None) -> tuple[bool, tuple[int, ...]]:
        """Give the inputs plain sizes: one image, of `shape` where the graph leaves it open."""
        opened, found = False, ()
        for i, one in enumerate(self.inputs):
            dims = one.type.tensor_type.shape.dim
            first_open = bool(dims) and not dims[0].HasField("dim_value")
            if first_open:
                dims[0].dim_value = 1
            if shape and i == 0:
                _set(path, dims, shape)
            if i == 0:
                opened, found = first_open, tuple(dim.dim_value for dim in dims)
        return opened, found

    def _inferred(self, model: Any) -> dict[str, tuple[int, ...]]:
        for one in self.graph.output:
            one.type.tensor_type.ClearField("shape")
        self.graph.ClearField("value_info")
        found = self.onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        shapes = {name: tuple(_dims(one)) for name, one in self.held.items()}
        for value in (*self.inputs, *found.value_info, *found.output):
            dims = value.type.tensor_type.shape.dim
            if value.type.tensor_type.HasField("shape") and all(dim.HasField("dim_value") for dim in dims):
                shapes[value.name] = tuple(dim.dim_value for dim in dims)
        return shapes

    def counted(self, metadata: dict[str, str], external: int) -> Counted:
        """The graph's figures."""
        for node in self.graph.node:
            self._follow(node)
        params = sum(self.weights.values())
        macs, shape = per_image(sum(row.macs for row in self.rows), self.shape, self.open)
        rows = tuple(row._replace(macs=per_image(row.macs, self.shape, self.open)[0]) for row in self.rows)
        if not self.unknown:
            return Counted(params, macs, rows, (), metadata, shape, external)
        why = f"no rule for {', '.join(list(self.unknown)[:3])}"
        if 0 in shape[1:]:
            why = "the graph leaves its input's size open: give --input-shape 3,224,224"
        whole = None if any(name.startswith(_PACKED) for name in self.unknown) else params
        return Counted(whole, None, rows, (why,), metadata, () if 0 in shape else shape, external)

    def _follow(self, node: Any) -> None:
        names = list(node.input)
        used = [name for name in names if name]
        moving = [name for name in used if name not in self.sources]
        if node.op_type == "Constant":
            return
        if used and not moving:
            self._derive(node, names)
        elif node.op_type in _AS_THEY_ARE and self.pixels.issuperset(moving):
            self.pixels |= set(node.output)
        else:
            self._note(node, names)
            self._count(node, names)

    def _derive(self, node: Any, names: Sequence[str]) -> None:
        """A node of constants alone: what it gives is made of the weights among them."""
        skipped = _NOT_WEIGHTS.get(node.op_type, ())
        kept = [name for i, name in enumerate(names) if name and i not in skipped]
        made_of = [one for name in kept for one in self.sources[name] if name in self.real or node.op_type in _TO_REAL]
        for name in node.output:
            self.sources[name] = tuple(dict.fromkeys(made_of))
            if node.op_type in _TO_REAL or any(one in self.real for one in kept):
                self.real.add(name)

    def _note(self, node: Any, names: Sequence[str]) -> None:
        """The weights that a node reads."""
        for i, name in enumerate(names):
            if name not in self.sources or i in _NOT_WEIGHTS.get(node.op_type, ()):
                continue
            sizes = {one: prod(_dims(self.held[one])) for one in self.sources[name]}
            if name in self.real:
                alone = node.op_type in _SCALARS
                self.weights |= {one: size for one, size in sizes.items() if size > 1 or alone}
            elif i in _QUANTISED.get(node.op_type, ()):
                self.weights |= sizes
            elif node.domain not in _STANDARD and any(len(_dims(self.held[one])) > 1 for one in sizes):
                self.unknown[f"{_PACKED}{node.domain}.{node.op_type}"] = None

    def _floats(self, one: Any) -> bool:
        kind = str(self.onnx.TensorProto.DataType.Name(getattr(one, "values", one).data_type))
        return kind.startswith(("FLOAT", "DOUBLE", "BFLOAT", "COMPLEX")) and kind != "FLOAT8E8M0"

    def _count(self, node: Any, names: Sequence[str]) -> None:
        held = [name for name in names if name in self.sources]
        if node.op_type in _UNCOUNTED and (held or node.op_type != "Einsum"):
            self.unknown[node.op_type] = None
        elif node.domain not in _STANDARD and any(len(self.shapes.get(n, ())) > 1 for n in held):
            self.unknown[f"{node.domain}.{node.op_type}"] = None
        elif node.op_type in _CONVS or node.op_type in _PRODUCTS or node.op_type in _RECURRENT:
            self._product(node, names)

    def _product(self, node: Any, names: Sequence[str]) -> None:
        at = _CONVS.get(node.op_type) or _PRODUCTS.get(node.op_type) or (0, 1)
        image, weight = (names[i] for i in at)
        if image not in self.sources and weight not in self.sources:
            return
        shapes = [self.shapes.get(name) for name in (image, weight, node.output[0] or names[0])]
        if any(shape is None or 0 in shape for shape in shapes):
            self.unknown[f"{node.op_type} of unknown shape"] = None
            return
        macs = self._macs(node, names, *(shape or () for shape in shapes))
        made_of = self.sources.get(weight) or self.sources.get(image) or ("",)
        held = sum(self.weights.get(one, 0) for one in made_of)
        self.rows.append(Layer(made_of[0].removesuffix(".weight"), node.op_type, held, macs, 0))

    def _macs(
        self, node: Any, names: Sequence[str], image: tuple[int, ...], weight: tuple[int, ...], out: tuple[int, ...]
    ) -> int:
        if node.op_type in _RECURRENT:
            return prod(image[:2]) * (prod(weight) + prod(self.shapes[names[2]]))
        if node.op_type in _CONVS:
            return prod(image if node.op_type == "ConvTranspose" else out) * prod(weight[1:])
        flipped = any(one.name == "transA" and one.i for one in node.attribute)
        return prod(out) * (image[0] if flipped else image[-1])


def _dims(one: Any) -> Sequence[int]:
    dims: Sequence[int] = one.dims
    return dims


def _set(path: Path, dims: Any, shape: tuple[int, ...]) -> None:
    """The sizes behind the batch. Raises InputError where the graph has others."""
    fixed = tuple(dim.dim_value for dim in dims[1:])
    if len(fixed) != len(shape) or any(old not in (0, new) for old, new in zip(fixed, shape, strict=True)):
        raise InputError(f"{path}: its graph takes {fixed}, where 0 is any size: not --input-shape {tuple(shape)}")
    for dim, size in zip(dims[1:], shape, strict=True):
        dim.dim_value = size
