#!/usr/bin/env bash
# Guess: an architecture that is quantised after training becomes one list of operators; weights and calibration images
# decide scales and zero points, not what there is to compute.
# Seen (litert-torch 0.10.0, torch 2.14.1, torchao 0.18.0, ai-edge-litert 2.3.0, Python 3.11, Linux x86-64): of eight
# networks of two blocks of joined branches (as GoogLeNet's), alike but for their random weights, seven files have 14
# operators and one has 13. The joined branches have one observer, and the max pooling that reads them has another. Each
# takes the range that costs least on a histogram of what it saw, and the two may differ. Where they do, there is a
# QUANTIZE before the pooling, while convolutions read the joined tensor as it is, so two tensors of that size live at
# once.
# Who meets it: whoever measures the arena of a network with random weights for a microcontroller, and trains it then.
# A network of 2,084 parameters took 17,504 bytes in tflite-micro with some weights and 19,968 with others.
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check \
    litert-torch==0.10.0 torch==2.14.1 torchao==0.18.0 ai-edge-litert==2.3.0
cd "$here"
cat > joined.py <<'PY'
import litert_torch
import torch
from ai_edge_litert.interpreter import Interpreter
from litert_torch.quantize.pt2e_quantizer import PT2EQuantizer, get_symmetric_quantization_config
from litert_torch.quantize.quant_config import QuantConfig
from torch import nn
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e


def unit(inputs: int, outputs: int, kernel: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), nn.ReLU())


class Joined(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.point, self.wide = unit(inputs, 8, 1), unit(inputs, 8, 3)
        self.pooled = nn.Sequential(nn.MaxPool2d(3, 1, 1), unit(inputs, 8, 1))

    def forward(self, x):
        return torch.cat([self.point(x), self.wide(x), self.pooled(x)], 1)


def operators(seed: int) -> list[str]:
    torch.manual_seed(seed)
    module = nn.Sequential(unit(3, 8, 3), Joined(8), Joined(24), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    images = torch.rand(8, 3, 16, 16)
    quantizer = PT2EQuantizer().set_global(get_symmetric_quantization_config())
    prepared = prepare_pt2e(torch.export.export(module, (images[:1],)).module(), quantizer)
    for image in images.split(1):
        prepared(image)
    quantised = convert_pt2e(prepared, fold_quantize=False)
    config = QuantConfig(pt2e_quantizer=quantizer)
    litert_torch.convert(quantised, (images[:1],), quant_config=config).export("joined.tflite")
    return [one["op_name"] for one in Interpreter("joined.tflite")._get_ops_details()]


found = [operators(seed) for seed in range(8)]
counts = sorted({len(one) for one in found})
others = {tuple(name for name in one if name != "QUANTIZE") for one in found}
print(*counts, "operators; without QUANTIZE", len(others), "list")
PY
seen=$("$here/venv/bin/python" joined.py | tail -1)
echo "eight networks that differ in their weights: $seen"
[ "$seen" = "13 14 operators; without QUANTIZE 1 list" ] || { echo "files no longer depend on weights" >&2; exit 1; }
