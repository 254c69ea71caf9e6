"""Bytes for one of every feature of `format_size`, by format and precision.

`benchmarks/format_sizes.py fit` wrote it.
"""

from __future__ import annotations

# fmt: off
FACTORS: dict[str, dict[str, dict[str, float]]] = {
    "onnx": {
        "fp32": {
            "beyond": 0.0624, "file": 228.0, "values": 4.0, "grouped_values": 0.0002, "linear_values": 0.0,
            "outs": 4.055, "norm_channels": 0.0222, "chars": 0.0, "weight_digits": 0.0836, "map_digits": 0.827,
            "ragged_values": 0.0149, "conv": 57.7, "grouped": 82.1, "padded": 63.9, "thin": 119.7, "linear": 19.8,
            "norm": 2721.8, "linear_norm": 0.0, "relu": 36.1, "relu_conv": 27.2, "relu_sum": 65.9, "leaky_relu": 34.4,
            "tanh": 16.9, "silu": 52.0, "hardswish": 36.6, "gelu": 11.2, "sigmoid": 0.0, "hardsigmoid": 52.2,
            "relu6": 15.3, "max": 93.5, "avg": 97.6, "pool_padded": 1.132, "mean": 9.7303, "ragged": 3088.8,
            "subsample": 198.2, "take": 44.0, "shuffle": 134.5, "flatten": 176.4, "add": 13.8, "mul": 57.4,
            "concat": 29.2, "concatenated": 7.2818, "adaptive": 3088.8, "custom": 3088.8
        },
        "fp16": {
            "beyond": 0.1845, "file": 196.0, "values": 2.0, "grouped_values": 0.0029, "linear_values": 0.0002,
            "outs": 2.0433, "norm_channels": 0.0, "chars": 0.7962, "weight_digits": 0.5963, "map_digits": 1.2816,
            "ragged_values": 0.0155, "conv": 40.6, "grouped": 59.3, "padded": 40.6, "thin": 129.0, "linear": 0.0,
            "norm": 104.1, "linear_norm": 0.0, "relu": 21.8, "relu_conv": 25.8, "relu_sum": 8.5806,
            "leaky_relu": 7.9779, "tanh": 26.2, "silu": 60.5, "hardswish": 14.8, "gelu": 21.6, "sigmoid": 28.1,
            "hardsigmoid": 22.7, "relu6": 28.4, "max": 53.3, "avg": 97.6, "pool_padded": 0.0, "mean": 29.6,
            "ragged": 3142.8, "subsample": 241.1, "take": 45.9, "shuffle": 96.2, "flatten": 190.5, "add": 29.5,
            "mul": 3.6986, "concat": 14.7, "concatenated": 3.6581, "adaptive": 3142.8, "custom": 3142.8
        },
        "int8": {
            "beyond": 0.3771, "file": 252.0, "values": 1.0, "grouped_values": 0.0, "linear_values": 0.0005, "outs": 4.0,
            "norm_channels": 0.0, "chars": 2.5933, "weight_digits": 2.4892, "map_digits": 0.8557, "ragged_values": 0.0,
            "conv": 125.7, "grouped": 177.6, "padded": 42.5, "thin": 242.3, "linear": 107.3, "norm": 291.7,
            "linear_norm": 0.0, "relu": 0.0, "relu_conv": 0.0, "relu_sum": 12.0, "leaky_relu": 77.5, "tanh": 62.7,
            "silu": 264.4, "hardswish": 123.6, "gelu": 41.4, "sigmoid": 113.6, "hardsigmoid": 69.8, "relu6": 0.0,
            "max": 113.4, "avg": 189.8, "pool_padded": 12.4, "mean": 80.8, "ragged": 4729.8, "subsample": 485.3,
            "take": 108.3, "shuffle": 307.6, "flatten": 216.4, "add": 94.9, "mul": 89.2, "concat": 37.4,
            "concatenated": 9.3361, "adaptive": 4729.8, "custom": 4729.8
        },
    },
    "litert": {
        "fp32": {
            "beyond": 0.3849, "file": 655.0, "values": 4.0, "grouped_values": 0.0046, "linear_values": 0.0028,
            "outs": 4.056, "norm_channels": 0.3065, "chars": 0.7743, "weight_digits": 0.0, "map_digits": 3.4657,
            "ragged_values": 3.7532, "conv": 156.6, "grouped": 178.5, "padded": 254.3, "thin": 604.9, "linear": 155.3,
            "norm": 3330.6, "linear_norm": 6.1456, "relu": 0.0, "relu_conv": 5.7188, "relu_sum": 20.8,
            "leaky_relu": 52.4, "tanh": 104.5, "silu": 152.7, "hardswish": 89.5, "gelu": 78.8, "sigmoid": 27.4,
            "hardsigmoid": 0.0, "relu6": 0.0, "max": 147.1, "avg": 224.3, "pool_padded": 166.8, "mean": 110.1,
            "ragged": 8907.7, "subsample": 833.6, "take": 142.5, "shuffle": 399.4, "flatten": 599.0, "add": 82.1,
            "mul": 142.0, "concat": 0.0, "concatenated": 0.0, "adaptive": 8907.7, "custom": 8907.7
        },
        "int8": {
            "beyond": 0.4, "file": 733.0, "values": 1.0, "grouped_values": 0.0, "linear_values": 0.003, "outs": 4.0274,
            "norm_channels": 1.366, "chars": 3.103, "weight_digits": 0.0, "map_digits": 0.0, "ragged_values": 0.9665,
            "conv": 227.7, "grouped": 366.6, "padded": 159.8, "thin": 687.4, "linear": 215.4, "norm": 1003.5,
            "linear_norm": 0.0, "relu": 0.0, "relu_conv": 18.0, "relu_sum": 0.0, "leaky_relu": 160.3, "tanh": 176.3,
            "silu": 343.9, "hardswish": 154.1, "gelu": 103.1, "sigmoid": 50.6, "hardsigmoid": 540.0, "relu6": 0.0,
            "max": 259.6, "avg": 407.7, "pool_padded": 212.3, "mean": 232.7, "ragged": 6880.7, "subsample": 1571.4,
            "take": 217.4, "shuffle": 390.6, "flatten": 674.8, "add": 157.2, "mul": 143.3, "concat": 0.0,
            "concatenated": 0.0, "adaptive": 6880.7, "custom": 6880.7
        },
    },
    "ncnn": {
        "fp32": {
            "beyond": 0.0937, "file": 231.0, "values": 4.0, "grouped_values": 0.0005, "linear_values": 0.0001,
            "outs": 4.0212, "norm_channels": 0.0, "chars": 1.9283, "weight_digits": 0.0, "map_digits": 1.0569,
            "conv": 60.0, "grouped": 59.3, "padded": 4.6594, "thin": 80.9, "linear": 35.4, "norm": 2780.3,
            "linear_norm": 0.0, "relu": 12.8, "relu_conv": 0.0, "relu_sum": 57.7, "leaky_relu": 9.9883, "tanh": 55.6,
            "silu": 55.1, "hardswish": 80.4, "gelu": 56.2, "sigmoid": 0.0, "hardsigmoid": 84.9, "relu6": 10.5,
            "max": 109.3, "avg": 89.2, "pool_padded": 32.3, "mean": 95.8, "subsample": 186.0, "take": 17.9,
            "shuffle": 53.9, "flatten": 205.6, "add": 102.5, "mul": 105.9, "concat": 25.2, "concatenated": 6.29,
            "adaptive": 2780.3, "ragged": 2780.3, "custom": 2780.3
        },
        "fp16": {
            "beyond": 0.1054, "file": 231.0, "values": 2.0, "grouped_values": 0.0, "linear_values": 0.0003,
            "outs": 3.6162, "norm_channels": 0.0, "chars": 0.9463, "weight_digits": 7.2062, "map_digits": 3.5651,
            "conv": 34.8, "grouped": 0.0, "padded": 105.1, "thin": 32.6, "linear": 18.8, "norm": 128.2,
            "linear_norm": 0.0, "relu": 6.266, "relu_conv": 0.0, "relu_sum": 84.4, "leaky_relu": 12.6, "tanh": 72.5,
            "silu": 56.6, "hardswish": 89.5, "gelu": 80.6, "sigmoid": 0.0, "hardsigmoid": 80.2, "relu6": 13.9,
            "max": 19.9, "avg": 111.1, "pool_padded": 63.6, "mean": 64.8, "subsample": 113.0, "take": 20.9,
            "shuffle": 42.2, "flatten": 218.0, "add": 132.1, "mul": 119.8, "concat": 0.0, "concatenated": 0.0,
            "adaptive": 218.0, "ragged": 218.0, "custom": 218.0
        },
    },
    "executorch": {
        "fp32": {
            "beyond": 0.3505, "file": 1615.0, "values": 4.0, "grouped_values": 0.0016, "linear_values": 0.0,
            "outs": 4.0, "norm_channels": 0.0798, "chars": 8.849, "weight_digits": 0.0, "map_digits": 0.0,
            "ragged_values": 0.0, "conv": 473.8, "grouped": 621.5, "padded": 26.9, "thin": 2392.7, "linear": 289.8,
            "norm": 971.0, "linear_norm": 45.4, "relu": 0.0, "relu_conv": 130.8, "relu_sum": 178.3, "leaky_relu": 141.3,
            "tanh": 161.3, "silu": 278.2, "hardswish": 208.2, "gelu": 74.7, "sigmoid": 82.5, "hardsigmoid": 1310.4,
            "relu6": 30.4, "max": 160.8, "avg": 120.5, "pool_padded": 48.3, "mean": 106.2, "ragged": 1064.9,
            "subsample": 1752.6, "take": 223.5, "shuffle": 470.5, "flatten": 1517.5, "add": 0.0, "mul": 146.1,
            "concat": 149.8, "concatenated": 37.5, "adaptive": 2392.7, "custom": 2392.7
        },
    },
    "openvino": {
        "fp32": {
            "beyond": 0.1836, "file": 1807.0, "values": 4.0, "grouped_values": 0.0135, "linear_values": 0.0001,
            "outs": 4.007, "norm_channels": 0.0, "chars": 22.5, "weight_digits": 16.6, "map_digits": 7.239,
            "ragged_values": 0.0541, "conv": 910.7, "grouped": 952.9, "padded": 115.3, "thin": 1685.8, "linear": 636.1,
            "norm": 1532.8, "linear_norm": 0.0, "relu": 324.0, "relu_conv": 393.1, "relu_sum": 453.3,
            "leaky_relu": 683.6, "tanh": 394.2, "silu": 390.1, "hardswish": 413.7, "gelu": 323.1, "sigmoid": 238.1,
            "hardsigmoid": 959.9, "relu6": 404.2, "max": 643.1, "avg": 525.9, "pool_padded": 0.0, "mean": 674.6,
            "ragged": 21540.3, "subsample": 2980.4, "take": 908.5, "shuffle": 1513.7, "flatten": 1612.0, "add": 368.1,
            "mul": 484.5, "concat": 337.5, "concatenated": 84.4, "adaptive": 21540.3, "custom": 21540.3
        },
    },
}
# fmt: on
