"""What an archive of `torch.export` costs, by the graph in it: JSON that is read, never a program that is loaded."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

from archsearch.errors import InputError, one_line
from archsearch.network.cost import Layer
from archsearch.nn.measured import Counted, per_image

_METADATA = "extra/archsearch.json"
_WEIGHTS = "data/weights/model_weights_config.json"
_MOST_BYTES = 500_000_000
_CONVS = {"conv1d", "conv2d", "conv3d", "convolution", "_convolution", "deform_conv2d"}
_TRANSPOSED = {"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"}
_PRODUCTS = {"linear", "mm", "addmm", "bmm", "baddbmm", "matmul", "mv", "addmv"}
_RECURRENT = {"lstm", "gru", "rnn_tanh", "rnn_relu"}
_HEAVY = re.compile(r"conv|linear|mm|matmul|einsum|bilinear|lstm|gru|rnn|transformer|attention", re.IGNORECASE)
_QUANTISED = (2, 8)
"""The schema's numbers of char and byte: what only a product uses is a weight all the same."""


def count(path: Path, shape: tuple[int, ...] | None = None) -> Counted:
    """Count the graph of an archive, for one image of the input that it was exported with.

    Args:
        shape: what the user says the input is; it must be the graph's own.

    Raises:
        InputError: no readable archive, or another input.
    """
    try:
        members = _members(path)
    except (zipfile.BadZipFile, ValueError, KeyError) as error:
        raise InputError(f"{path}: no readable .pt2 archive: {one_line(error)}") from None
    graphs = [data for name, data in members.items() if name.startswith("models/")]
    if len(graphs) != 1:
        return Counted(notes=("it is compiled, of several models, or by torch before 2.8: it has no graph as JSON",))
    try:
        metadata = json.loads(members.get(_METADATA, b"{}"))
        weights = json.loads(members.get(_WEIGHTS, b"{}")).get("config", {})
        found = _Graph(json.loads(graphs[0])["graph_module"], weights).counted(
            {str(k): str(v) for k, v in metadata.items()}
        )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise InputError(f"{path}: no graph of torch.export that can be read: {one_line(error)}") from None
    if shape and found.shape and tuple(shape) != found.shape:
        raise InputError(f"{path}: its graph was exported at {found.shape}: leave out --input-shape {tuple(shape)}")
    return found


def _members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as file:
        wanted = [
            one
            for one in file.infolist()
            if re.search(
                r"/(models/[^/]+\.json|extra/archsearch\.json|data/weights/model_weights_config\.json)$", one.filename
            )
        ]
        if sum(one.file_size for one in wanted) > _MOST_BYTES:
            raise ValueError("its graph is larger than that of any network")
        return {one.filename.partition("/")[2]: file.read(one) for one in wanted}


class _Graph:
    """A serialised graph. Raises KeyError, TypeError and the like where it is none."""

    def __init__(self, module: dict[str, Any], weights: dict[str, Any]) -> None:
        # Tied parameters lie in one file.
        self.places = {name: json.dumps([one["path_name"], one["tensor_meta"]]) for name, one in weights.items()}
        graph = module["graph"]
        self.nodes = graph["nodes"]
        self.shapes = {name: tuple(map(_size, value["sizes"])) for name, value in graph["tensor_values"].items()}
        self.dtypes = {name: value["dtype"] for name, value in graph["tensor_values"].items()}
        self.open = {name for name, value in graph["tensor_values"].items()
                     if value["sizes"] and "as_expr" in value["sizes"][0]}  # fmt: skip
        self.names: dict[str, str] = {}
        self.inputs: list[str] = []
        self.params: set[str] = set()
        self.seen: set[str] = set()
        for spec in module["signature"]["input_specs"]:
            self._declare(spec)
        # The tensors that a computed weight is made of, by the weight; each held tensor is made of itself.
        self.made_of: dict[str, frozenset[str]] = {name: frozenset([name]) for name in self.names}
        self.rows: list[Layer] = []
        self.unknown: dict[str, None] = {}

    def _declare(self, spec: dict[str, Any]) -> None:
        (kind, value), *_ = spec.items()
        argument = value["arg"]
        if kind == "user_input":
            self.inputs += [argument["as_tensor"]["name"]] if "as_tensor" in argument else []
        elif kind in ("parameter", "buffer", "tensor_constant"):
            name = next((value[key] for key in value if key.endswith("_name")), argument["name"])
            self.names[argument["name"]] = str(name)
            place = self.places.pop(str(name), str(name))
            if kind == "parameter" and place not in self.seen:
                self.params.add(argument["name"])
            self.seen.add(place)

    def counted(self, metadata: dict[str, str]) -> Counted:
        """The graph's figures."""
        for node in self.nodes:
            self._follow(node)
        total = sum(prod(self.shapes[name]) for name in self.params)
        first = self.inputs[0] if self.inputs else ""
        batched = first in self.open
        macs, shape = per_image(sum(row.macs for row in self.rows), self.shapes.get(first, ()), batched)
        rows = tuple(
            row._replace(macs=per_image(row.macs, self.shapes.get(first, ()), batched)[0]) for row in self.rows
        )
        if self.unknown:
            return Counted(total, None, rows, (f"no rule for {', '.join(self.unknown)}",), metadata, shape)
        return Counted(total, macs, rows, (), metadata, shape)

    def _follow(self, node: dict[str, Any]) -> None:
        _, _, operator = str(node["target"]).rpartition("torch.ops.")
        kind = operator.split(".")[1] if "." in operator else operator
        inputs = list(_tensors(node["inputs"]))
        outputs = list(_tensors(node["outputs"]))
        held = [name for name in inputs if name in self.made_of]
        if inputs and len(held) == len(inputs):
            made_of = frozenset().union(*(self.made_of[name] for name in inputs))
            self.made_of |= dict.fromkeys(outputs, made_of)
            return
        if "as_graph" in json.dumps(node["inputs"]):
            self.unknown[operator] = None
        if held and outputs:
            self._product(operator, kind, inputs, outputs[0], held)

    def _product(self, operator: str, kind: str, inputs: list[str], output: str, held: list[str]) -> None:
        image, weight, out = self.shapes[inputs[0]], self.shapes[inputs[min(1, len(inputs) - 1)]], self.shapes[output]
        if kind in _CONVS:
            macs = prod(out) * prod(weight[1:])
        elif kind in _TRANSPOSED:
            macs = prod(image) * prod(weight[1:])
        elif kind == "linear":
            macs = prod(out) * image[-1]
        elif kind in _PRODUCTS:
            pair = inputs[-2:] if kind.startswith(("addm", "baddb")) else inputs[:2]
            if not set(pair) & set(held):
                return
            macs = prod(out) * self.shapes[pair[0]][-1]
        elif kind in _RECURRENT:
            macs = prod(image[:-1]) * sum(prod(self.shapes[name]) for name in held if len(self.shapes[name]) == 2)
        else:
            if _HEAVY.search(kind):
                self.unknown[operator] = None
            return
        self._row(kind, held, macs)

    def _row(self, kind: str, held: list[str], macs: int) -> None:
        sources = frozenset().union(*(self.made_of[name] for name in held))
        # 8-bit weights are buffers to torch.
        self.params |= {name for name in sources if self.dtypes[name] in _QUANTISED and len(self.shapes[name]) > 1}
        mine = [name for name in sources if name in self.params]
        title = min((self.names[name] for name in mine), key=len, default=kind).rpartition(".")[0]
        self.rows.append(Layer(title, kind, sum(prod(self.shapes[name]) for name in mine), macs, 0))


def _size(value: dict[str, Any]) -> int:
    """A size, or that of the example the network was exported with."""
    return int(value["as_int"] if "as_int" in value else value["as_expr"]["hint"]["as_int"])


def _tensors(value: Any) -> Iterator[str]:
    """The names of all tensors in arguments."""
    if isinstance(value, list):
        for inner in value:
            yield from _tensors(inner)
    elif isinstance(value, dict):
        if "as_tensor" in value and isinstance(value["as_tensor"], dict):
            yield str(value["as_tensor"]["name"])
        elif "as_tensors" in value:
            yield from (str(one["name"]) for one in value["as_tensors"])
        elif "as_optional_tensors" in value:
            yield from (str(one["as_tensor"]["name"]) for one in value["as_optional_tensors"] if one.get("as_tensor"))
        elif "arg" in value:
            yield from _tensors(value["arg"])
