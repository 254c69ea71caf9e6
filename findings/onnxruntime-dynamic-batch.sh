#!/usr/bin/env bash
# Guess: a classifier's answer for an image does not depend on which images are in the batch with it.
# Seen (onnxruntime 1.32.0, onnx 1.22.0, Python 3.11, Linux x86-64): after `quantize_dynamic` it does. Each
# DynamicQuantizeLinear takes one scale from the whole batch, so a dark image beside a bright one has few of the 256
# steps left. Of 64 dark images, answered alone and then with one bright image in the batch, 5 get another label; the
# float model gives the same outputs bit for bit both ways.
# Who meets it: who measures accuracy in batches and serves single images, or merges requests to batches.
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check onnx==1.22.0 onnxruntime==1.32.0 numpy==2.4.0
cd "$here"
cat > batch.py <<'PY'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

rng = np.random.default_rng(0)
weights = {"kernel": rng.normal(size=(8, 3, 3, 3)), "matrix": rng.normal(size=(8, 5))}
graph = helper.make_graph(
    [
        helper.make_node("Conv", ["images", "kernel"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "matrix"], ["logits"]),
    ],
    "classifier",
    [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, 8, 8])],
    [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 5])],
    [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
onnx.checker.check_model(model)
onnx.save(model, "float.onnx")
quantize_dynamic("float.onnx", "int8.onnx", weight_type=QuantType.QUInt8)
images = rng.random((65, 3, 1, 1), dtype=np.float32) * rng.random((65, 3, 8, 8), dtype=np.float32)
images[:64] *= 0.02  # dark; the last one is bright
for name in ("float", "int8"):
    session = onnxruntime.InferenceSession(f"{name}.onnx", providers=["CPUExecutionProvider"])
    together = session.run(None, {"images": images})[0][:64]
    alone = np.concatenate([session.run(None, {"images": image[None]})[0] for image in images[:64]])
    print(name, "equal" if np.array_equal(together, alone) else "other", (together.argmax(1) != alone.argmax(1)).sum())
PY
seen=$("$here/venv/bin/python" batch.py)
echo "$seen"
set -- $seen
[ "$1 $2 $3 $4 $5" = "float equal 0 int8 other" ] && [ "$6" -gt 0 ] || { echo "the batch does not matter any more" >&2; exit 1; }
