#!/usr/bin/env bash
# Guess: a convolution that a module calls twice, each time with another BatchNorm behind it, is converted to what the
# module computes: the exported graph has one weight, and two convolutions that read it.
# Seen (executorch 1.5.1, torch 2.14.1, Python 3.11, Linux x86-64): with the XNNPACK partitioner the .pte file answers
# otherwise, without an error or a warning. Each norm is folded into the one weight in place, so the second convolution
# has both norms' scales. Two convolutions with equal weights of their own are right to 1e-6.
# Who meets it: networks that share kernels between layers and keep norms apart (recurrent residual blocks, heads that
# detectors share over the levels of a pyramid, as EfficientDet's do with a norm for each level).
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check executorch==1.5.1 torch==2.14.1 torchao==0.18.0
cd "$here"
cat > shared.py <<'PY'
import copy

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
from executorch.runtime import Runtime
from torch import nn


class Twice(nn.Module):
    def __init__(self, shared: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(4) for _ in range(2))
        for norm in self.norms:
            norm.weight.data.uniform_(0.5, 2)
        self.second = self.first if shared else copy.deepcopy(self.first)

    def forward(self, x):
        return self.norms[1](self.second(self.norms[0](self.first(x)).relu()))


image = torch.rand(1, 4, 8, 8)
found = []
for shared in (False, True):
    module = Twice(shared).eval()
    program = torch.export.export(module, (image,))
    file = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
    open("twice.pte", "wb").write(file.buffer)
    (answer,) = Runtime.get().load_program("twice.pte").load_method("forward").execute([image])
    wanted = module(image).detach()
    found.append(float((answer - wanted).abs().max() / wanted.abs().max()))
print(*("right" if far < 1e-4 else "wrong" if far > 1e-2 else far for far in found))
PY
seen=$("$here/venv/bin/python" shared.py)
echo "kernels of their own, and a shared one: $seen"
[ "$seen" = "right wrong" ] || { echo "shared kernels are converted otherwise now" >&2; exit 1; }
