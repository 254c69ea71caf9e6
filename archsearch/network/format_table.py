"""Bytes for one of every feature of `format_size`, by format and precision.

`benchmarks/format_sizes.py fit` wrote it.
"""

from __future__ import annotations

# fmt: off
FACTORS: dict[str, dict[str, dict[str, float]]] = {
    "onnx": {
        "fp32": {
            "beyond": 0.0522, "file": 173.0, "values": 4.0, "grouped_values": 0.0091, "linear_values": 0.0002,
            "outs": 4.02, "norm_channels": 0.0, "chars": 0.6751, "weight_digits": 1.6639, "map_digits": 1.2912,
            "conv": 39.8, "grouped": 40.7, "padded": 42.9, "thin": 129.9, "linear": 0.0, "norm": 134.9,
            "linear_norm": 0.0, "relu": 13.0, "relu_conv": 24.2, "relu_sum": 4.2366, "leaky_relu": 0.8777, "tanh": 12.9,
            "silu": 58.7, "hardswish": 19.4, "gelu": 16.5, "sigmoid": 27.1, "hardsigmoid": 17.8, "relu6": 25.3,
            "max": 51.4, "avg": 111.2, "pool_padded": 0.0, "mean": 25.5, "subsample": 241.6, "flatten": 168.6,
            "add": 32.8, "mul": 0.0, "concat": 11.8, "concatenated": 2.9309, "adaptive": 241.6, "custom": 241.6
        },
        "fp16": {
            "beyond": 0.0538, "file": 199.0, "values": 2.0, "grouped_values": 0.0067, "linear_values": 0.0002,
            "outs": 2.0, "norm_channels": 0.0, "chars": 0.725, "weight_digits": 1.3729, "map_digits": 1.4788,
            "conv": 38.9, "grouped": 41.4, "padded": 45.7, "thin": 126.9, "linear": 0.0, "norm": 104.7,
            "linear_norm": 0.0, "relu": 11.5, "relu_conv": 24.6, "relu_sum": 7.6899, "leaky_relu": 4.556, "tanh": 14.0,
            "silu": 57.7, "hardswish": 18.2, "gelu": 16.7, "sigmoid": 30.6, "hardsigmoid": 19.7, "relu6": 26.3,
            "max": 53.9, "avg": 109.0, "pool_padded": 0.0, "mean": 21.7, "subsample": 239.7, "flatten": 193.9,
            "add": 32.3, "mul": 0.0, "concat": 7.9936, "concatenated": 1.9984, "adaptive": 239.7, "custom": 239.7
        },
        "int8": {
            "beyond": 0.0505, "file": 248.0, "values": 1.0, "grouped_values": 0.004, "linear_values": 0.0005,
            "outs": 4.0, "norm_channels": 0.0, "chars": 2.39, "weight_digits": 1.0029, "map_digits": 2.8521,
            "conv": 111.3, "grouped": 164.6, "padded": 45.3, "thin": 258.1, "linear": 121.7, "norm": 267.1,
            "linear_norm": 0.0, "relu": 0.0, "relu_conv": 2.1572, "relu_sum": 0.0, "leaky_relu": 93.9, "tanh": 50.1,
            "silu": 261.3, "hardswish": 110.5, "gelu": 41.3, "sigmoid": 135.1, "hardsigmoid": 83.6, "relu6": 0.0,
            "max": 122.8, "avg": 189.3, "pool_padded": 6.2653, "mean": 104.5, "subsample": 429.5, "flatten": 204.8,
            "add": 122.0, "mul": 60.3, "concat": 37.5, "concatenated": 9.3518, "adaptive": 429.5, "custom": 429.5
        },
    },
    "litert": {
        "fp32": {
            "beyond": 0.0891, "file": 557.0, "values": 4.0, "grouped_values": 0.0125, "linear_values": 0.0037,
            "outs": 4.0, "norm_channels": 1.454, "chars": 2.7982, "weight_digits": 0.0, "map_digits": 0.298,
            "conv": 124.7, "grouped": 195.5, "padded": 191.5, "thin": 603.0, "linear": 97.3, "norm": 730.9,
            "linear_norm": 0.0, "relu": 0.0, "relu_conv": 28.3, "relu_sum": 8.8854, "leaky_relu": 99.6, "tanh": 83.9,
            "silu": 194.3, "hardswish": 68.9, "gelu": 167.3, "sigmoid": 99.0, "hardsigmoid": 0.0, "relu6": 0.0,
            "max": 0.0, "avg": 363.4, "pool_padded": 96.0, "mean": 223.3, "subsample": 952.6, "flatten": 555.9,
            "add": 131.5, "mul": 0.0, "concat": 114.8, "concatenated": 28.7, "adaptive": 952.6, "custom": 952.6
        },
        "int8": {
            "beyond": 0.0787, "file": 709.0, "values": 1.0, "grouped_values": 0.0, "linear_values": 0.002,
            "outs": 4.047, "norm_channels": 1.1991, "chars": 2.5978, "weight_digits": 0.5731, "map_digits": 0.0,
            "conv": 213.5, "grouped": 355.6, "padded": 128.6, "thin": 777.5, "linear": 207.4, "norm": 1000.1,
            "linear_norm": 0.0, "relu": 0.0, "relu_conv": 48.9, "relu_sum": 2.1574, "leaky_relu": 184.3, "tanh": 63.1,
            "silu": 418.1, "hardswish": 141.3, "gelu": 136.4, "sigmoid": 129.7, "hardsigmoid": 602.7, "relu6": 0.0,
            "max": 0.0, "avg": 524.8, "pool_padded": 116.2, "mean": 221.6, "subsample": 1573.9, "flatten": 668.0,
            "add": 278.3, "mul": 111.8, "concat": 197.2, "concatenated": 45.7, "adaptive": 1573.9, "custom": 1573.9
        },
    },
    "ncnn": {
        "fp32": {
            "beyond": 0.0518, "file": 250.0, "values": 4.0, "grouped_values": 0.0, "linear_values": 0.0001, "outs": 4.0,
            "norm_channels": 0.0, "chars": 1.4558, "weight_digits": 1.3068, "map_digits": 1.834, "conv": 52.2,
            "grouped": 55.0, "padded": 40.4, "thin": 69.7, "linear": 10.4, "norm": 186.4, "linear_norm": 0.0,
            "relu": 0.0, "relu_conv": 0.9196, "relu_sum": 36.5, "leaky_relu": 0.0, "tanh": 50.3, "silu": 47.7,
            "hardswish": 75.3, "gelu": 50.3, "sigmoid": 2.556, "hardsigmoid": 51.8, "relu6": 9.7164, "max": 48.4,
            "avg": 113.9, "pool_padded": 25.9, "mean": 64.3, "subsample": 163.3, "flatten": 245.6, "add": 120.7,
            "mul": 136.4, "concat": 54.1, "concatenated": 13.3, "adaptive": 245.6, "custom": 245.6
        },
        "fp16": {
            "beyond": 0.062, "file": 189.0, "values": 2.0, "grouped_values": 0.0, "linear_values": 0.0003,
            "outs": 3.5326, "norm_channels": 0.0, "chars": 0.6247, "weight_digits": 9.2342, "map_digits": 3.0626,
            "conv": 40.6, "grouped": 0.0, "padded": 110.1, "thin": 43.8, "linear": 52.8, "norm": 158.1,
            "linear_norm": 0.0, "relu": 3.1321, "relu_conv": 0.3438, "relu_sum": 135.2, "leaky_relu": 25.9,
            "tanh": 58.1, "silu": 50.5, "hardswish": 103.3, "gelu": 72.9, "sigmoid": 6.4445, "hardsigmoid": 92.9,
            "relu6": 1.4953, "max": 0.0, "avg": 123.0, "pool_padded": 65.2, "mean": 109.2, "subsample": 107.9,
            "flatten": 187.2, "add": 104.8, "mul": 52.9, "concat": 7.7653, "concatenated": 1.9414, "adaptive": 187.2,
            "custom": 187.2
        },
    },
}
# fmt: on
