#!/usr/bin/env bash
# Guess: a converter that ends with status 0 has written a file that its own runtime loads, or has said what it left.
# Seen (pnnx 20261020, ncnn 1.0.20261020, onnx 1.22.0, Python 3.11, Linux x86-64): an ONNX Slice with steps of 1 becomes
# ncnn's Crop. With steps of 2 pnnx writes a layer `Tensor.slice`, which ncnn does not have, and ends with 0. Loading
# does not raise either: `Net.load_param` returns -1, and `load_model` after it is what fails.
# Who meets it: residual networks whose shortcut is `x[:, :, ::2, ::2]` padded with zero channels (option A of He et al.
# 2015, as in most ResNet-20 to 110 for CIFAR-10), and focus stems that split an image into its even and odd pixels.
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
pip() { "$here/venv/bin/pip" install --quiet --disable-pip-version-check "$@"; }
pip onnx==1.22.0 numpy==2.4.0 ncnn==1.0.20261020
pip --no-deps pnnx==20261020 # for its program: its module imports torch, which ONNX files do not need
export PNNX=$(echo "$here"/venv/lib/python3*/site-packages/pnnx/pnnx)
cd "$here"
cat > slice.py <<'PY'
import os
import subprocess
import sys

import ncnn
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

step = int(sys.argv[1])
values = {"starts": [1, 1], "ends": [6, 6], "axes": [2, 3], "steps": [step, step]}
side = -(-5 // step)
graph = helper.make_graph(
    [helper.make_node("Slice", ["x", *values], ["y"])],
    "slice",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 6, 6])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, side, side])],
    [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in values.items()],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.checker.check_model(model)
onnx.save(model, "model.onnx")
done = subprocess.run([os.environ["PNNX"], "model.onnx", "inputshape=[1,2,6,6]"], capture_output=True)
kind = open("model.ncnn.param").read().splitlines()[3].split()[0]
print(done.returncode, kind, ncnn.Net().load_param("model.ncnn.param"))
PY
one=$("$here/venv/bin/python" slice.py 1) two=$("$here/venv/bin/python" slice.py 2)
echo "pnnx's status, its layer, load_param: steps of 1: $one; of 2: $two"
[ "$two" = "0 Tensor.slice -1" ] || { echo "slices with a stride are converted now, or refused" >&2; exit 1; }
[[ "$one" == "0 "*" 0" ]] || { echo "slices without a stride are not converted any more" >&2; exit 1; }
