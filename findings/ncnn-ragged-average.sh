#!/usr/bin/env bash
# Guess: average pooling with ceil_mode and count_include_pad is the same in ncnn as in ONNX Runtime and torch, as
# ncnn's Pooling has a parameter for each of the two (pad_mode, avgpool_count_include_pad).
# Seen (pnnx 20261020, ncnn 1.0.20261020, onnxruntime 1.27.0, onnx 1.22.0, Python 3.11, Linux x86-64): AveragePool of
# 3x3, stride 2, padding 1, ceil_mode 1, count_include_pad 1 over 6x6 pixels. The last row and column of windows hang
# over the padded edge. ONNX Runtime divides by the pixels and padding that are there (4 in the corner), as torch
# does; ncnn divides by 9 everywhere: 0.39 for 0.88. So without any padding, too. With count_include_pad 0 both agree.
# Who meets it: nn.AvgPool2d(..., ceil_mode=True), whose count_include_pad is True by default, converted for phones.
# The file loads, and errs at the edge only.
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
pip() { "$here/venv/bin/pip" install --quiet --disable-pip-version-check "$@"; }
pip onnx==1.22.0 numpy==2.4.0 onnxruntime==1.27.0 ncnn==1.0.20261020
pip --no-deps pnnx==20261020 # for its program: its module imports torch, which ONNX files do not need
export PNNX=$(echo "$here"/venv/lib/python3*/site-packages/pnnx/pnnx)
cd "$here"
cat > pool.py <<'PY'
import os
import subprocess

import ncnn
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper


def largest(side, pad, counts):
    out = -(-(side + 2 * pad - 3) // 2) + 1
    node = helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[3, 3], strides=[2, 2], pads=[pad] * 4,
                            ceil_mode=1, count_include_pad=counts)
    ends = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, n, n])] for name, n in (("x", side), ("y", out))]
    model = helper.make_model(helper.make_graph([node], "pool", *ends), opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, "model.onnx")
    pixels = np.arange(side * side, dtype=np.float32).reshape(1, 1, side, side) / 10
    wanted = onnxruntime.InferenceSession("model.onnx").run(None, {"x": pixels})[0][0]
    subprocess.run([os.environ["PNNX"], "model.onnx", f"inputshape=[1,1,{side},{side}]", "fp16=0"], capture_output=True, check=True)
    net = ncnn.Net()
    assert net.load_param("model.ncnn.param") == 0 and net.load_model("model.ncnn.bin") == 0
    extractor = net.create_extractor()
    extractor.input(net.input_names()[0], ncnn.Mat(pixels[0]).clone())
    found = np.array(extractor.extract(net.output_names()[0])[1])
    assert found.shape == wanted.shape, (found.shape, wanted.shape)
    return np.abs(found - wanted).max(), found[0, -1, -1], wanted[0, -1, -1]


counted, mine, theirs = largest(6, 1, 1)
print(f"counted padding: ncnn {mine:.2f}, ONNX Runtime {theirs:.2f} in the corner")
print(f"largest difference: {counted:.2g}, without padding {largest(6, 0, 1)[0]:.2g}, not counted {largest(6, 1, 0)[0]:.1g}")
assert counted > 0.1 and largest(6, 0, 1)[0] > 0.1, "they agree now"
assert largest(6, 1, 0)[0] < 1e-5, "they differ elsewhere, too"
PY
"$here/venv/bin/python" pool.py || { echo "average pooling at a ragged edge has changed" >&2; exit 1; }
