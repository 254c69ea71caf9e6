#!/usr/bin/env bash
# Guess: an image (1, 3, H, W) times a constant (1, 3, 1, 1), the usual way to normalise inside of a graph, is the same
# in ncnn as in ONNX: ncnn's documents say that its batch of 1 is left out of every shape.
# Seen (pnnx 20261020, ncnn 1.0.20261020, onnx 1.22.0, Python 3.11, Linux x86-64): pnnx keeps the 1 of the constant, a
# MemoryData of four dimensions, while the image has three. BinaryOp answers with a blob of four dimensions and other
# numbers; loading and running end with 0. Written as a 1x1 convolution with one group a channel it is right.
# Who meets it: perceptrons, and whatever else takes pixels in without a convolution, with normalisation in the file.
# Behind such a product a convolution takes it in, and the constants with it, so most networks do not show it.
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
pip() { "$here/venv/bin/pip" install --quiet --disable-pip-version-check "$@"; }
pip onnx==1.22.0 numpy==2.4.0 ncnn==1.0.20261020
pip --no-deps pnnx==20261020 # for its program: its module imports torch, which ONNX files do not need
export PNNX=$(echo "$here"/venv/lib/python3*/site-packages/pnnx/pnnx)
cd "$here"
cat > scale.py <<'PY'
import os
import subprocess
import sys

import ncnn
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

factors = np.array([5.0, 4.0, 3.0], np.float32)
if sys.argv[1] == "product":
    first, constant = helper.make_node("Mul", ["x", "c"], ["y"]), factors.reshape(1, 3, 1, 1)
else:
    first = helper.make_node("Conv", ["x", "c"], ["y"], group=3, kernel_shape=[1, 1])
    constant = factors.reshape(3, 1, 1, 1)
graph = helper.make_graph(
    [first, helper.make_node("Flatten", ["y"], ["z"])],
    "scale",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
    [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 192])],
    [numpy_helper.from_array(constant, "c")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.checker.check_model(model)
onnx.save(model, "model.onnx")
subprocess.run([os.environ["PNNX"], "model.onnx", "inputshape=[1,3,8,8]"], capture_output=True, check=True)
net = ncnn.Net()
status = [net.load_param("model.ncnn.param"), net.load_model("model.ncnn.bin")]
image = np.random.default_rng(0).random((3, 8, 8), np.float32)
extractor = net.create_extractor()
extractor.input("in0", ncnn.Mat(image).clone())
done, found = extractor.extract("out0")
far = np.abs(np.array(found).ravel() - (image * factors[:, None, None]).ravel()).max()
print(*status, done, "right" if far < 1e-2 else "wrong")
PY
product=$("$here/venv/bin/python" scale.py product) conv=$("$here/venv/bin/python" scale.py conv)
echo "two times loading, running, the answer: product $product; convolution $conv"
[ "$product" = "0 0 0 wrong" ] || { echo "the product is right now, or refused" >&2; exit 1; }
[ "$conv" = "0 0 0 right" ] || { echo "the convolution is not right any more" >&2; exit 1; }
