"""A graph in fewer bytes gives the same values."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from exports import ARCH, images_of, pixels, source_of
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from archsearch.export import Source, write
from archsearch.export.quantize import quantized, weights_quantized
from archsearch.export.slim import _names, slim, without_notes
from archsearch.nn import onnx_graph


def outputs(model: Any, feed: torch.Tensor) -> NDArray[np.float32]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found: NDArray[np.float32] = session.run(["logits"], {"images": feed.numpy()})[0]
    return found


def of(nodes: list[Any], tensors: list[Any]) -> Any:
    """A model from pixels (N, 1, 4, 4) to logits (N, 1, 4, 4)."""
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 1, 4, 4]) for n in ("images", "logits")]
    graph = helper.make_graph(nodes, "a long name of a graph", ends[:1], ends[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("unused", 1)])


def tensor(name: str, value: object, dtype: str = "float32") -> Any:
    return numpy_helper.from_array(np.array(value, dtype), name)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return source_of(tmp_path_factory.mktemp("slim") / "w.safetensors")


@pytest.fixture(scope="module")
def model(source: Source) -> Any:
    return write.onnx_model(source.network(), ARCH)


@pytest.mark.parametrize("kind", ["fp32", "int8", "int8 per tensor", "int8-weights"])
def test_the_values_are_the_same_to_the_bit_in_fewer_bytes(source: Source, model: Any, kind: str) -> None:
    train = images_of(source).train[:]
    made = {
        "fp32": lambda: model,
        "int8": lambda: quantized(model, train),
        "int8 per tensor": lambda: quantized(model, train, per_channel=False),
        "int8-weights": lambda: weights_quantized(model),
    }[kind]()
    feed = pixels(ARCH, 20).float() / 255
    before = outputs(made, feed)
    slimmed = slim(made)
    assert np.array_equal(outputs(made, feed), before)
    without_notes(made)
    size = made.ByteSize()
    onnx.checker.check_model(slimmed, full_check=True)
    assert np.array_equal(outputs(slimmed, feed), before)
    tensors = slimmed.graph.initializer
    over = slimmed.ByteSize() - sum(len(one.raw_data) for one in tensors)
    assert over < 60 * (len(slimmed.graph.node) + len(tensors))
    assert slimmed.ByteSize() < size - 1000


def test_weights_are_counted_as_before(model: Any, source: Source, tmp_path: Any) -> None:
    (tmp_path / "before.onnx").write_bytes(model.SerializeToString())
    before = onnx_graph.count(tmp_path / "before.onnx")
    for made in (model, quantized(model, images_of(source).train[:]), weights_quantized(model)):
        (tmp_path / "after.onnx").write_bytes(slim(made).SerializeToString())
        after = onnx_graph.count(tmp_path / "after.onnx")
        assert (after.params, after.macs) == (before.params, before.macs)


def test_what_equals_another_tensor_is_read_there_but_weights_stay() -> None:
    kernel = [[[[2.0]]]]
    nodes = [
        helper.make_node("Mul", ["images", "one scale"], ["x"], "a name"),
        helper.make_node("Mul", ["x", "another scale"], ["y"]),
        helper.make_node("Conv", ["y", "kernel", "bias"], ["z"], strides=[1, 1], pads=[0] * 4, dilations=[1, 1]),
        helper.make_node("Conv", ["z", "other kernel", "other bias"], ["logits"], strides=[1, 1], pads=[0] * 4),
    ]
    tensors = [tensor("one scale", 0.5), tensor("another scale", 0.5), tensor("unread", [1.0] * 99)]
    tensors += [tensor(name, kernel) for name in ("kernel", "other kernel")]
    tensors += [tensor(name, [0.0]) for name in ("bias", "other bias")]
    model = slim(of(nodes, tensors))
    assert len(model.graph.initializer) == 5
    first, second, *convs = model.graph.node
    assert first.input[1] == second.input[1]
    assert convs[0].input[1] != convs[1].input[1]
    assert [list(one.attribute) for one in convs] == [[], []]
    assert not any(one.name for one in model.graph.node)
    assert [one.domain for one in model.opset_import] == [""]
    feed = torch.rand(3, 1, 4, 4)
    assert np.allclose(outputs(model, feed), feed.numpy())


def test_what_is_not_the_default_stays() -> None:
    nodes = [
        helper.make_node("Conv", ["images", "kernel"], ["x"], pads=[1, 1, 1, 1], auto_pad="NOTSET", group=1),
        helper.make_node("LeakyRelu", ["x"], ["y"], alpha=0.2),
        helper.make_node("LeakyRelu", ["y"], ["logits"], alpha=0.01),
    ]
    model = slim(of(nodes, [tensor("kernel", np.ones((1, 1, 3, 3)))]))
    assert [[one.name for one in node.attribute] for node in model.graph.node] == [["pads"], ["alpha"], []]


def test_integers_are_bytes() -> None:
    listed = helper.make_tensor("zeros", TensorProto.INT8, [8], [-1] * 8)
    assert listed.ByteSize() > 80
    nodes = [
        helper.make_node("DequantizeLinear", ["zeros", "scale"], ["x"]),
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["images", "sum"], ["logits"]),
    ]
    model = slim(of(nodes, [listed, tensor("scale", 0.25)]))
    assert sorted(len(one.raw_data) for one in model.graph.initializer) == [4, 8]
    feed = torch.rand(1, 1, 4, 4)
    assert np.allclose(outputs(model, feed), -2 * feed.numpy())


def test_a_graph_inside_of_a_node_keeps_all_names() -> None:
    inner = helper.make_graph(
        [helper.make_node("Mul", ["images", "a long name"], ["inside"])], "inner", [],
        [helper.make_tensor_value_info("inside", TensorProto.FLOAT, None)],
    )  # fmt: skip
    node = helper.make_node("If", ["yes"], ["logits"], then_branch=inner, else_branch=inner)
    model = slim(of([node], [tensor("yes", True, "bool"), tensor("a long name", 3.0)]))
    feed = torch.rand(1, 1, 4, 4)
    assert np.allclose(outputs(model, feed), 3 * feed.numpy())


def test_names_are_short_and_each_is_given_once() -> None:
    found = list(islice(_names(), 50_000))
    assert len(set(found)) == len(found)
    assert [len(found[i]) for i in (0, 25, 26, 961, 962, 49_999)] == [1, 1, 2, 2, 3, 4]
    assert all(name[0].isalpha() for name in found)
