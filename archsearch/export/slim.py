"""An ONNX graph in fewer bytes: the same operators on the same values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import count
from typing import Any

from archsearch.inference.onnx import IMAGES, LOGITS, need

_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_IMPLIED = {"strides": 1, "dilations": 1, "pads": 0}
"""What a convolution or a pooling takes where its node does not say; the schemas know of all other defaults."""
_SMALL = ("INT8", "UINT8", "INT64")


def slim(model: Any) -> Any:
    """An `onnx.ModelProto` with the same outputs in fewer bytes; the given one is left as it is.

    Left out are notes, names of nodes, attributes that say the default, tensors that nothing reads, and zero points,
    shapes and single values that another one equals. Tensors get short names, `images` and `logits` keep theirs.

    Raises:
        InputError: onnx is missing.
    """
    onnx = need("onnx")
    found = onnx.ModelProto()
    found.CopyFrom(model)
    without_notes(found)
    graph = found.graph
    if found.functions or any(one.HasField("g") or one.graphs for node in graph.node for one in node.attribute):
        return found  # graphs inside of nodes read tensors of this one by their names
    for node in graph.node:
        node.ClearField("name")
        _drop_defaults(onnx, found, node)
    _merge(onnx, graph)
    _drop_unread(graph)
    _pack(onnx, graph)
    _rename(graph)
    return found


def without_notes(model: Any) -> None:
    """Clear what the exporter says of itself: places in files, names of modules, the shapes of values."""
    graph = model.graph
    for part in (*graph.node, *graph.initializer, *graph.input, *graph.output, graph, model):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    graph.ClearField("value_info")
    model.ClearField("producer_version")
    model.producer_name = "archsearch"
    used = {node.domain for node in graph.node}
    kept = [one for one in model.opset_import if one.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)


def _drop_defaults(onnx: Any, model: Any, node: Any) -> None:
    """Attributes that say what holds without them; kernel shapes stay, as some readers want them."""
    version = next(one.version for one in model.opset_import if one.domain == node.domain)
    known = onnx.defs.get_schema(node.op_type, version, "").attributes if node.domain == "" else {}
    kept = []
    for one in node.attribute:
        value = onnx.helper.get_attribute_value(one)
        schema = known.get(one.name)
        said = schema is not None and schema.default_value.name and schema.default_value == one
        if not said and not (one.name in _IMPLIED and all(v == _IMPLIED[one.name] for v in value)):
            kept.append(one)
    del node.attribute[:]
    node.attribute.extend(kept)


def _merge(onnx: Any, graph: Any) -> None:
    """One tensor for all that are equal: single values, zero points and shapes. Weights are counted, and stay."""
    small = {onnx.TensorProto.DataType.Value(name) for name in _SMALL}
    first: dict[Any, str] = {}
    same = {}
    for one in graph.initializer:
        if not one.dims or (len(one.dims) == 1 and one.data_type in small):
            content = (tuple(one.dims), one.data_type, onnx.numpy_helper.to_array(one).tobytes())
            same[one.name] = first.setdefault(content, one.name)
    for node in graph.node:
        node.input[:] = [same.get(name, name) for name in node.input]


def _drop_unread(graph: Any) -> None:
    read = {name for node in graph.node for name in node.input}
    kept = [one for one in graph.initializer if one.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _pack(onnx: Any, graph: Any) -> None:
    """Values as bytes: as a list of numbers a negative one takes ten."""
    for one in graph.initializer:
        one.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(one), one.name))


def _rename(graph: Any) -> None:
    """The names that are used most are the shortest."""
    used = Counter(name for node in graph.node for name in (*node.input, *node.output))
    for name in ("", IMAGES, LOGITS):
        del used[name]
    short = dict(zip((name for name, _ in used.most_common()), _names(), strict=False))
    for node in graph.node:
        node.input[:] = [short.get(name, name) for name in node.input]
        node.output[:] = [short.get(name, name) for name in node.output]
    for one in graph.initializer:
        one.name = short[one.name]
    graph.name = "network"


def _names() -> Iterator[str]:
    """a, b, ..., z, aa, ab, ..."""
    for number in count():
        name, rest = _LETTERS[number % 26], number // 26
        while rest:
            name, rest = name + _LETTERS[(rest - 1) % 36], (rest - 1) // 36
        yield name
