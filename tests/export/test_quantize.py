"""Eight bits in ONNX files."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from exports import ARCH
from onnx import TensorProto, helper, numpy_helper
from shipped import Shelf
from toolchains import kinds

from archsearch._utils.formats import files_of
from archsearch.errors import InputError
from archsearch.export import Images, Source, convert, export, write
from archsearch.export.quantize import quantized, weights_quantized
from archsearch.export.slim import slim


@pytest.fixture(scope="module")
def model(source: Source) -> Any:
    return write.onnx_model(source.network(), ARCH)


def kernels(model: Any) -> list[Any]:
    arrays = [numpy_helper.to_array(one) for one in model.graph.initializer]
    return [array for array in arrays if array.dtype == np.int8 and array.ndim > 1]


@pytest.mark.parametrize(("bits", "largest"), [(7, 64), (8, 128)])
@pytest.mark.parametrize("per_channel", [True, False])
def test_weights_have_so_many_bits_and_a_scale_a_channel_or_a_tensor(
    images: Images, model: Any, bits: int, largest: int, per_channel: bool
) -> None:
    found = quantized(model, images.train[:], per_channel=per_channel, bits=bits)
    made = kernels(found)
    assert {largest - 1, largest} >= {int(abs(kernel.astype(int)).max()) for kernel in made}
    held = {one.name: numpy_helper.to_array(one) for one in found.graph.initializer}
    scales = [
        held[node.input[1]].size
        for node in found.graph.node
        if node.op_type == "DequantizeLinear" and held.get(node.input[0], np.zeros(0)).dtype == np.int8
    ]
    assert len(scales) == len(made)
    assert (set(scales) == {1}) is not per_channel


def test_activations_are_uint8_and_biases_in_float(images: Images, model: Any) -> None:
    found = quantized(model, images.train[:])
    held = {one.name: numpy_helper.to_array(one) for one in found.graph.initializer}
    points = [held[node.input[2]].dtype for node in found.graph.node if node.op_type == "QuantizeLinear"]
    assert points
    assert set(points) == {np.dtype(np.uint8)}
    biases = [held[node.input[2]] for node in found.graph.node if node.op_type in ("Conv", "Gemm")]
    assert biases
    assert {bias.dtype for bias in biases} == {np.dtype(np.float32)}


def test_onnx_runtime_computes_all_of_it_in_integers(source: Source, images: Images, model: Any, tmp_path: Any) -> None:
    found = slim(quantized(model, images.train[:]))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(found.SerializeToString(), options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert kinds.count("QLinearConv") == [node.op_type for node in model.graph.node].count("Conv")
    assert "Conv" not in kinds


def test_weights_alone_are_within_half_a_step(model: Any) -> None:
    found = weights_quantized(model)
    before = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    after = {one.name: numpy_helper.to_array(one) for one in found.graph.initializer}
    nodes = [node for node in found.graph.node if node.op_type == "DequantizeLinear"]
    assert len(nodes) == sum(node.op_type in ("Conv", "Gemm") for node in model.graph.node)
    for node in nodes:
        axis = node.attribute[0].i
        eight, scale = (after[name] for name in node.input)
        shape = [-1 if i == axis else 1 for i in range(eight.ndim)]
        assert len(scale) == eight.shape[axis]
        assert int(abs(eight.astype(int)).max()) == 127
        assert (abs(eight * scale.reshape(shape) - before[node.output[0]]) <= scale.reshape(shape) * 0.5001).all()
    assert "QuantizeLinear" not in {node.op_type for node in found.graph.node}


def test_a_channel_of_zeros_and_weights_that_would_not_shrink() -> None:
    rows = np.zeros((40, 8), np.float32)
    rows[:, 1] = np.linspace(-3, 3, 40)
    few = np.ones((8, 8, 1, 1), np.float32)[:, :1]
    nodes = [
        helper.make_node("Conv", ["images", "few"], ["x"], group=8),
        helper.make_node("ReduceMean", ["x", "axes"], ["y"], keepdims=0),
        helper.make_node("MatMul", ["y", "turned"], ["z"]),
        helper.make_node("MatMul", ["z", "rows"], ["logits"]),
    ]
    ends = [
        helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 8, 4, 4]),
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 8]),
    ]
    tensors = {"few": few, "axes": np.array([2, 3]), "turned": rows.T.copy(), "rows": rows}
    graph = helper.make_graph(
        nodes, "g", ends[:1], ends[1:], [numpy_helper.from_array(value, name) for name, value in tensors.items()]
    )
    before = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    after = slim(weights_quantized(before))
    assert [kernel.shape for kernel in kernels(after)] == [(8, 40), (40, 8)]
    feed = {"images": torch.rand(5, 8, 4, 4).numpy()}
    [wanted], [found] = (
        onnxruntime.InferenceSession(one.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feed)
        for one in (before, after)
    )
    assert np.isfinite(found).all()
    assert np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max()


def test_eight_bits_are_for_int8_in_onnx(source: Source, images: Images, tmp_path: Any) -> None:
    done = export(source, tmp_path / "m.onnx", images, "onnx", "int8", weight_bits=8)
    assert max(int(abs(kernel.astype(int)).max()) for kernel in kernels(onnx.load(done.path))) >= 127
    for kind, dtype in (("onnx", "fp32"), ("safetensors", "fp32")):
        with pytest.raises(InputError, match="--weight-bits 8: goes with --format onnx --quantize int8 alone"):
            export(source, tmp_path / "n", images, kind, dtype, weight_bits=8)
    assert not (tmp_path / "n").exists()


@pytest.mark.parametrize("kind", kinds("litert", "openvino"))
def test_other_formats_have_int8_weights_too(shelf: Shelf, kind: str) -> None:
    whole, eight = shelf(kind), shelf(kind, "int8-weights")
    sizes = [files_of(one.path)[-1].stat().st_size for one in (whole, eight)]  # an .xml says how each is put together
    assert sizes[1] < 0.75 * sizes[0]
    assert 0 < eight.parity.max_abs_diff < 0.1 * eight.parity.scale
    assert eight.about["input"]["dtype"] == "float32"


def test_an_xml_is_without_indentation_and_names_no_folder(tmp_path: Any) -> None:
    whole = '<?xml version="1.0"?>\n<net>\n\t<layers>\n\t\t<layer name="a b" />\n\t</layers>\n\t<edges>\n\t</edges>'
    (tmp_path / "m.xml").write_text(
        f'{whole}\n\t<rt_info>\n<input_model value="/home/me/m.onnx" />\n</rt_info>\n</net>\n'
    )
    convert._tighten(tmp_path / "m.xml")
    assert (tmp_path / "m.xml").read_text() == (
        '<?xml version="1.0"?><net><layers><layer name="a b" /></layers><edges></edges></net>'
    )
