#!/usr/bin/env bash
# Guess: torch trains a dilated depthwise convolution in bfloat16 on a CPU as it trains any other: slower, maybe.
# Seen (torch 2.14.1, Python 3.11, Linux x86-64 with AVX-512; 2.15.0 with oneDNN 3.13.3 and 2.11.0 with 3.10.2 as well):
# in channels-last memory, from maps of 29 pixels a side on, the gradient of the kernel is garbage: 1.3 times its own norm
# away from that in float64, or 1e17 and more, infinite or not a number, another one each time. No error, no warning.
# The output and the input's gradient are right. At 28 pixels, or without dilation, or in float32, or with
# ONEDNN_MAX_CPU_ISA=AVX2, the kernel's is right as well. Groups of few channels have it too.
# Who meets it: trainings under autocast on server CPUs of networks with dilated depthwise kernels (segmentation heads,
# large kernels made of dilated ones), whose loss "explodes" at no learning rate in particular, or which learn nothing in
# those layers.
# Needs a CPU with AVX-512.
set -euo pipefail
grep -q avx512bw /proc/cpuinfo || { echo "this CPU has no AVX-512: nothing to see here"; exit 2; }
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1
cd "$here"
cat > gradient.py <<'PY'
import sys

import torch
from torch.nn.functional import conv2d

torch.set_num_threads(1)


def distance(side: int, dilation: int, dtype: torch.dtype) -> float:
    """Of the kernel's gradient from that in float64, by the latter's norm."""
    torch.manual_seed(0)
    image = torch.randn(32, 16, side, side).to(dtype).contiguous(memory_format=torch.channels_last)
    kernel = torch.randn(16, 1, 3, 3).to(dtype).requires_grad_()
    exact = kernel.detach().double().requires_grad_()
    out = conv2d(image, kernel, padding=dilation, dilation=dilation, groups=16)
    grad = torch.randn_like(out)
    out.backward(grad)
    conv2d(image.double(), exact, padding=dilation, dilation=dilation, groups=16).backward(grad.double())
    return float((kernel.grad.double() - exact.grad).norm() / exact.grad.norm())


half, full = torch.bfloat16, torch.float32
cases = [(28, 2, half), (32, 1, half), (32, 2, full), (29, 2, half), (32, 2, half), (32, 3, half), (64, 2, half)]
fars = [distance(*case) for case in cases]
print(*(f"{far:.2g}" for far in fars), file=sys.stderr)
print(*("right" if far < 0.05 else "garbage" for far in fars))  # nan is garbage
PY
seen=$(ONEDNN_MAX_CPU_ISA=AVX2 venv/bin/python gradient.py)
echo "with AVX2: $seen"
[ "$seen" = "right right right right right right right" ] || { echo "AVX2 is wrong now as well" >&2; exit 1; }
seen=$(ONEDNN_MAX_CPU_ISA=AVX512_CORE venv/bin/python gradient.py)
echo "with AVX-512: $seen"
[ "$seen" = "right right right garbage garbage garbage garbage" ] || { echo "AVX-512 is another now" >&2; exit 1; }
