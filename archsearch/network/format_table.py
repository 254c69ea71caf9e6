"""Bytes for one of every feature of `format_size`, by format and precision.

`benchmarks/format_sizes.py fit` wrote it.
"""

from __future__ import annotations

FACTORS: dict[str, dict[str, dict[str, float]]] = {
    "onnx": {"fp32": {"file": 1.0}, "fp16": {"file": 1.0}, "int8": {"file": 1.0}},
    "litert": {"fp32": {"file": 1.0}, "int8": {"file": 1.0}},
    "executorch": {"fp32": {"file": 1.0}, "int8": {"file": 1.0}},
    "openvino": {"fp32": {"file": 1.0}, "fp16": {"file": 1.0}, "int8": {"file": 1.0}},
    "ncnn": {"fp32": {"file": 1.0}, "fp16": {"file": 1.0}},
}
