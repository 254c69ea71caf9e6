"""ONNX graphs for the clock: as torch's exporter writes them, in milliseconds where it was seen to write the same."""

from __future__ import annotations

from typing import Any

from archsearch.export.direct import direct_model
from archsearch.export.slim import slim
from archsearch.export.write import onnx_model
from archsearch.inference.pixels import PixelNetwork
from archsearch.network.arch import Arch


class Graphs:
    """Writes graphs at once where torch's exporter was seen to write the same.

    An operator is trusted after one network in which it stands and whose graphs are equal. Until then, and for ever
    where they are not, torch writes.
    """

    def __init__(self) -> None:
        self._trusted = set[str]()
        self._differ = False

    def __call__(self, network: PixelNetwork, arch: Arch) -> Any:
        """An `onnx.ModelProto`. Raises InputError, ExportFailed as `write.onnx_model` does."""
        mine = None if self._differ else direct_model(network, arch)
        if mine is None:
            return onnx_model(network, arch)
        operators = {node.op_type for node in mine.graph.node}
        if operators <= self._trusted:
            return mine
        theirs = onnx_model(network, arch)
        if outline(mine) == outline(theirs):
            self._trusted |= operators
        else:
            self._differ = True
        return theirs


def outline(model: Any) -> list[Any]:
    """What two models have in common that take as long: all but the values of large tensors, and names."""
    found = slim(model)
    shapes = {one.name: (one.data_type, tuple(one.dims), _small(one)) for one in found.graph.initializer}
    ends = [one.SerializeToString(deterministic=True) for one in (*found.graph.input, *found.graph.output)]
    nodes = [_said(node) for node in found.graph.node]
    return [found.ir_version, [(one.domain, one.version) for one in found.opset_import], ends, nodes, shapes]


def _small(tensor: Any) -> bytes:
    """The values of integers, which say shapes and axes."""
    return bytes(tensor.raw_data) if tensor.data_type == tensor.INT64 else b""


def _said(node: Any) -> list[Any]:
    attributes = sorted(one.SerializeToString(deterministic=True) for one in node.attribute)
    return [node.op_type, list(node.input), list(node.output), attributes]
