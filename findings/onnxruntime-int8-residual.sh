#!/usr/bin/env bash
# Guess: in a QDQ graph int8 and uint8 activations differ in speed alone; both are computed in integers, and whether a
# convolution is does not depend on who else reads its input.
# Seen (onnxruntime 1.32.0, onnx 1.22.0, Python 3.11, Linux x86-64): a convolution of int8 activations is a QLinearConv.
# Beside one skip connection the same convolution is a float Conv between DequantizeLinear nodes, and so is the Add;
# with uint8 both stay in integers, and with int8, too, once the session's entry `session.qdqisint8allowed` is "1". Off
# Arm it is "0": int8 pairs are turned into uint8 ones, but not where a DequantizeLinear has two readers.
# Who meets it: who quantises a residual network with QInt8 activations and finds it no faster than in float.
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check onnx==1.22.0 onnxruntime==1.32.0 numpy==2.4.0
cd "$here"
cat > fused.py <<'PY'
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

kind, skip, allowed = sys.argv[1:]
zero = np.uint8(128) if kind == "uint8" else np.int8(0)
kernel = np.random.default_rng(0).integers(-64, 64, (3, 3, 3, 3)).astype(np.int8)
constants = {
    "scale": np.float32(1 / 64),
    "zero": zero,
    "kernel": kernel,
    "kernel_scale": np.float32(0.01),
    "kernel_zero": np.int8(0),
}


def rounded(name, out):
    yield helper.make_node("QuantizeLinear", [name, "scale", "zero"], [f"{out}_q"])
    yield helper.make_node("DequantizeLinear", [f"{out}_q", "scale", "zero"], [out])


nodes = [
    *rounded("x", "a"),
    helper.make_node("DequantizeLinear", ["kernel", "kernel_scale", "kernel_zero"], ["w"]),
    helper.make_node("Conv", ["a", "w"], ["c"], pads=[1, 1, 1, 1]),
    *rounded("c", "b"),
]
if skip == "skip":
    nodes += [helper.make_node("Add", ["b", "a"], ["s"]), *rounded("s", "y")]
graph = helper.make_graph(
    nodes,
    "block",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
    [helper.make_tensor_value_info("y" if skip == "skip" else "b", TensorProto.FLOAT, [1, 3, 8, 8])],
    [numpy_helper.from_array(value, name) for name, value in constants.items()],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
onnx.checker.check_model(model)
options = onnxruntime.SessionOptions()
options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
options.optimized_model_filepath = "optimised.onnx"
options.log_severity_level = 3
options.add_session_config_entry("session.qdqisint8allowed", allowed)
onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
kinds = [node.op_type for node in onnx.load("optimised.onnx").graph.node]
print("integer" if "QLinearConv" in kinds else "float" if "Conv" in kinds else "gone")
PY
seen=""
for case in "int8 plain 0" "int8 skip 0" "uint8 skip 0" "int8 skip 1"; do
    # shellcheck disable=SC2086
    answer=$("$here/venv/bin/python" fused.py $case)
    echo "$case: $answer"
    seen="$seen$answer "
done
[ "$seen" = "integer float integer integer " ] || { echo "the convolution is computed otherwise now" >&2; exit 1; }
