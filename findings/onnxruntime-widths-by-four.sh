#!/usr/bin/env bash
# Guess: on x86-64 ONNX Runtime computes every convolution of a float network in its blocked layout (NCHWc), with one
# reordering where images come in and one at the end; a width that the block does not divide is filled up with zeros.
# Seen (onnxruntime 1.32.0, onnx 1.22.0, Python 3.11, Linux x86-64 with AVX-512): convolutions from 32 channels to 20,
# depthwise on these, and back to 32 are all blocked, although neither 8 nor 16 divides 20. With 18, 22 or 30 channels
# the depthwise one and the one behind it are plain, and what was blocked is put in order in between. So what counts is
# that 4 divides the channels that a convolution reads; what it writes is filled up.
# Who meets it: who prunes or searches widths: 18 channels may take longer than 20, in fewer multiply-accumulates.
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
[ "$(uname -m)" = x86_64 ] || { echo "needs x86-64: other processors have other layouts" >&2; exit 1; }
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check onnx==1.22.0 onnxruntime==1.32.0 numpy==2.4.0
cd "$here"
cat > layout.py <<'PY'
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

width = int(sys.argv[1])
nodes, kernels = [], []
for number, (ins, outs, groups) in enumerate([(32, width, 1), (width, width, width), (width, 32, 1)]):
    kernel = np.random.default_rng(number).standard_normal((outs, ins // groups, 3, 3)).astype(np.float32)
    kernels.append(numpy_helper.from_array(kernel, f"kernel{number}"))
    names = [f"map{number}", f"kernel{number}"], [f"map{number + 1}"]
    nodes.append(helper.make_node("Conv", *names, pads=[1, 1, 1, 1], group=groups))
ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 32, 16, 16]) for name in ("map0", "map3")]
graph = helper.make_graph(nodes, "block", ends[:1], ends[1:], kernels)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
onnx.checker.check_model(model)
options = onnxruntime.SessionOptions()
options.optimized_model_filepath = "optimised.onnx"
options.log_severity_level = 3
onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
convolutions = [node for node in onnx.load("optimised.onnx").graph.node if node.op_type == "Conv"]
print("-".join("blocked" if node.domain == "com.microsoft.nchwc" else "plain" for node in convolutions))
PY
seen=""
for width in 18 20 22 30; do
    answer=$("$here/venv/bin/python" layout.py "$width")
    echo "$width channels: $answer"
    seen="$seen$answer "
done
plain=blocked-plain-plain
[ "$seen" = "$plain blocked-blocked-blocked $plain $plain " ] || { echo "the layout is chosen otherwise now" >&2; exit 1; }
