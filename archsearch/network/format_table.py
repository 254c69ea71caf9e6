"""Bytes for one of every feature of `format_size`, by format and precision.

`benchmarks/format_sizes.py fit` wrote it.
"""

from __future__ import annotations

# fmt: off
FACTORS: dict[str, dict[str, dict[str, float]]] = {
    "onnx": {
        "fp32": {
            "file": 651.0, "values": 4.0, "grouped_values": 0.043, "linear_values": 0.0001, "outs": 4.1794,
            "norm_channels": 0.0, "chars": 0.2152, "weight_digits": 0.988, "map_digits": 0.5639, "conv": 33.7,
            "grouped": 19.4, "padded": 36.1, "thin": 92.0, "linear": 14.2, "norm": 169.9, "linear_norm": 0.0,
            "relu": 0.2465, "relu_conv": 32.8, "relu_sum": 54.8, "leaky_relu": 0.0, "tanh": 0.0, "silu": 82.1,
            "hardswish": 38.1, "gelu": 0.0, "sigmoid": 14.1, "hardsigmoid": 0.0, "relu6": 0.0, "max": 16.4, "avg": 68.9,
            "pool_padded": 19.4, "mean": 16.7, "subsample": 132.0, "flatten": 239.5, "add": 22.7, "mul": 55.8,
            "concat": 105.1, "concatenated": 4.8221, "adaptive": 239.5, "custom": 239.5
        },
        "fp16": {
            "file": 661.0, "values": 2.0, "grouped_values": 0.0429, "linear_values": 0.0001, "outs": 2.0693,
            "norm_channels": 0.0, "chars": 0.236, "weight_digits": 1.0821, "map_digits": 0.6056, "conv": 49.7,
            "grouped": 18.8, "padded": 52.1, "thin": 46.4, "linear": 19.9, "norm": 114.4, "linear_norm": 0.0,
            "relu": 3.4002, "relu_conv": 16.3, "relu_sum": 32.0, "leaky_relu": 0.0628, "tanh": 3.2921, "silu": 62.1,
            "hardswish": 23.7, "gelu": 0.0, "sigmoid": 15.4, "hardsigmoid": 0.0, "relu6": 0.0, "max": 15.4, "avg": 64.8,
            "pool_padded": 18.8, "mean": 17.8, "subsample": 134.4, "flatten": 258.0, "add": 24.9, "mul": 40.0,
            "concat": 105.7, "concatenated": 4.6355, "adaptive": 258.0, "custom": 258.0
        },
        "int8": {
            "file": 2566.0, "values": 1.0, "grouped_values": 0.0989, "linear_values": 0.0004, "outs": 4.3073,
            "norm_channels": 0.0, "chars": 0.7173, "weight_digits": 3.247, "map_digits": 1.9261, "conv": 41.0,
            "grouped": 61.7, "padded": 142.8, "thin": 12.7, "linear": 61.0, "norm": 310.8, "linear_norm": 0.0,
            "relu": 10.3, "relu_conv": 39.8, "relu_sum": 175.0, "leaky_relu": 4.0559, "tanh": 92.8, "silu": 381.8,
            "hardswish": 183.2, "gelu": 0.0, "sigmoid": 67.7, "hardsigmoid": 0.0, "relu6": 0.0, "max": 22.9,
            "avg": 0.6608, "pool_padded": 29.8, "mean": 64.9, "subsample": 8.66, "flatten": 521.8, "add": 105.7,
            "mul": 291.6, "concat": 449.1, "concatenated": 7.3429, "adaptive": 521.8, "custom": 521.8
        },
    },
    "litert": {
        "fp32": {
            "file": 1523.0, "values": 4.0, "grouped_values": 0.0453, "linear_values": 0.001, "outs": 4.2292,
            "norm_channels": 0.0, "chars": 0.6063, "weight_digits": 2.7714, "map_digits": 1.5731, "conv": 69.5,
            "grouped": 171.7, "padded": 312.8, "thin": 309.0, "linear": 59.9, "norm": 638.4, "linear_norm": 0.0,
            "relu": 2.9944, "relu_conv": 74.2, "relu_sum": 88.2, "leaky_relu": 31.6, "tanh": 0.8847, "silu": 240.3,
            "hardswish": 64.0, "gelu": 49.2, "sigmoid": 46.5, "hardsigmoid": 0.0, "relu6": 0.0, "max": 36.0,
            "avg": 378.4, "pool_padded": 44.2, "mean": 52.2, "subsample": 430.0, "flatten": 758.1, "add": 273.7,
            "mul": 412.4, "concat": 266.6, "concatenated": 11.0, "adaptive": 758.1, "custom": 758.1
        },
        "int8": {
            "file": 3275.0, "values": 1.0, "grouped_values": 0.0798, "linear_values": 0.0009, "outs": 4.2131,
            "norm_channels": 1.0766, "chars": 1.0963, "weight_digits": 4.9629, "map_digits": 7.2142, "conv": 85.1,
            "grouped": 162.3, "padded": 219.4, "thin": 485.2, "linear": 122.5, "norm": 823.5, "linear_norm": 0.0,
            "relu": 40.5, "relu_conv": 14.5, "relu_sum": 14.2, "leaky_relu": 7.1093, "tanh": 0.0, "silu": 485.8,
            "hardswish": 124.6, "gelu": 0.0, "sigmoid": 92.0, "hardsigmoid": 196.0, "relu6": 0.0, "max": 43.3,
            "avg": 342.0, "pool_padded": 118.5, "mean": 93.2, "subsample": 994.5, "flatten": 1056.7, "add": 317.0,
            "mul": 465.7, "concat": 622.3, "concatenated": 13.5, "adaptive": 1056.7, "custom": 1056.7
        },
    },
    "executorch": {
        "fp32": {
            "file": 1902.0, "values": 4.0, "grouped_values": 0.1663, "linear_values": 0.0121, "outs": 4.0663,
            "norm_channels": 0.0, "chars": 1.5676, "weight_digits": 7.4353, "map_digits": 3.7198, "conv": 333.2,
            "grouped": 109.8, "padded": 809.7, "thin": 1021.7, "linear": 98.6, "norm": 7.952, "linear_norm": 0.0,
            "relu": 0.3379, "relu_conv": 266.6, "relu_sum": 644.4, "leaky_relu": 0.0, "tanh": 0.0, "silu": 159.5,
            "hardswish": 518.3, "gelu": 0.0, "sigmoid": 118.4, "hardsigmoid": 1044.3, "relu6": 0.0359, "max": 104.8,
            "avg": 478.4, "pool_padded": 129.9, "mean": 133.2, "subsample": 101.9, "flatten": 1900.8, "add": 165.5,
            "mul": 118.9, "concat": 128.7, "concatenated": 32.2, "adaptive": 1900.8, "custom": 1900.8
        },
        "int8": {
            "file": 2327.0, "values": 1.0, "grouped_values": 0.2006, "linear_values": 0.0009, "outs": 4.0863,
            "norm_channels": 0.0, "chars": 1.9275, "weight_digits": 9.1432, "map_digits": 4.5517, "conv": 549.9,
            "grouped": 143.3, "padded": 985.3, "thin": 2062.6, "linear": 174.8, "norm": 584.1, "linear_norm": 0.0,
            "relu": 43.4, "relu_conv": 40.0, "relu_sum": 390.5, "leaky_relu": 0.0, "tanh": 0.0, "silu": 0.0,
            "hardswish": 561.8, "gelu": 0.0, "sigmoid": 158.5, "hardsigmoid": 619.2, "relu6": 0.0, "max": 111.0,
            "avg": 700.4, "pool_padded": 1501.5, "mean": 165.9, "subsample": 1757.6, "flatten": 2325.3, "add": 45.4,
            "mul": 159.6, "concat": 137.9, "concatenated": 34.5, "adaptive": 2325.3, "custom": 2325.3
        },
    },
    "openvino": {
        "fp32": {
            "file": 11353.0, "values": 4.0, "grouped_values": 0.8592, "linear_values": 0.0002, "outs": 4.1758,
            "norm_channels": 0.0, "chars": 4.1, "weight_digits": 19.4, "map_digits": 97.1, "conv": 119.2,
            "grouped": 304.2, "padded": 2161.0, "thin": 357.6, "linear": 201.8, "norm": 663.6, "linear_norm": 0.0,
            "relu": 0.0, "relu_conv": 627.8, "relu_sum": 1368.9, "leaky_relu": 0.0, "tanh": 114.9, "silu": 0.0,
            "hardswish": 542.5, "gelu": 0.0, "sigmoid": 325.9, "hardsigmoid": 0.0, "relu6": 0.0, "max": 260.6,
            "avg": 41.4, "pool_padded": 319.5, "mean": 358.2, "subsample": 266.4, "flatten": 4605.1, "add": 466.1,
            "mul": 1522.9, "concat": 1606.4, "concatenated": 79.3, "adaptive": 4605.1, "custom": 4605.1
        },
        "fp16": {
            "file": 16678.0, "values": 2.0, "grouped_values": 1.5257, "linear_values": 0.0012, "outs": 2.2827,
            "norm_channels": 0.0, "chars": 6.5223, "weight_digits": 31.2, "map_digits": 128.2, "conv": 190.0,
            "grouped": 457.9, "padded": 3363.0, "thin": 405.7, "linear": 375.1, "norm": 799.0, "linear_norm": 0.0,
            "relu": 51.5, "relu_conv": 912.3, "relu_sum": 1963.2, "leaky_relu": 0.0, "tanh": 0.0, "silu": 0.0,
            "hardswish": 702.8, "gelu": 0.0, "sigmoid": 501.2, "hardsigmoid": 0.0, "relu6": 0.0, "max": 451.2,
            "avg": 37.0, "pool_padded": 562.6, "mean": 530.6, "subsample": 253.6, "flatten": 6507.5, "add": 726.7,
            "mul": 1788.3, "concat": 1588.4, "concatenated": 138.6, "adaptive": 6507.5, "custom": 6507.5
        },
        "int8": {
            "file": 17119.0, "values": 1.0, "grouped_values": 5.1124, "linear_values": 0.0045, "outs": 4.3961,
            "norm_channels": 0.0, "chars": 9.2604, "weight_digits": 44.0, "map_digits": 231.4, "conv": 271.3,
            "grouped": 621.6, "padded": 4983.0, "thin": 823.3, "linear": 656.9, "norm": 1826.3, "linear_norm": 0.0,
            "relu": 286.6, "relu_conv": 1016.0, "relu_sum": 3738.9, "leaky_relu": 0.0, "tanh": 0.0, "silu": 0.0,
            "hardswish": 1410.4, "gelu": 0.0, "sigmoid": 653.6, "hardsigmoid": 0.0, "relu6": 0.0, "max": 606.4,
            "avg": 217.2, "pool_padded": 785.6, "mean": 713.9, "subsample": 464.5, "flatten": 10102.6, "add": 1336.2,
            "mul": 3176.6, "concat": 2669.9, "concatenated": 189.0, "adaptive": 10102.6, "custom": 10102.6
        },
    },
    "ncnn": {
        "fp32": {
            "file": 822.0, "values": 4.0, "grouped_values": 0.0303, "linear_values": 0.0001, "outs": 4.0578,
            "norm_channels": 0.0, "chars": 0.3461, "weight_digits": 1.5863, "map_digits": 2.3707, "conv": 40.9,
            "grouped": 38.6, "padded": 55.6, "thin": 21.1, "linear": 23.6, "norm": 239.8, "linear_norm": 0.0,
            "relu": 0.0063, "relu_conv": 4.6611, "relu_sum": 153.5, "leaky_relu": 0.0, "tanh": 25.9, "silu": 70.9,
            "hardswish": 111.4, "gelu": 0.0, "sigmoid": 30.4, "hardsigmoid": 0.0, "relu6": 0.0, "max": 17.7,
            "avg": 63.8, "pool_padded": 21.8, "mean": 31.8, "subsample": 16.7, "flatten": 355.1, "add": 65.1,
            "mul": 163.4, "concat": 250.4, "concatenated": 5.414, "adaptive": 355.1, "custom": 355.1
        },
        "fp16": {
            "file": 781.0, "values": 2.0, "grouped_values": 0.0439, "linear_values": 0.0003, "outs": 4.2126,
            "norm_channels": 0.0, "chars": 0.4987, "weight_digits": 2.2957, "map_digits": 1.2603, "conv": 25.9,
            "grouped": 51.8, "padded": 89.4, "thin": 9.822, "linear": 47.4, "norm": 236.0, "linear_norm": 0.0,
            "relu": 4.5471, "relu_conv": 5.6968, "relu_sum": 190.2, "leaky_relu": 0.0, "tanh": 3.3863, "silu": 58.4,
            "hardswish": 102.8, "gelu": 0.0, "sigmoid": 45.2, "hardsigmoid": 0.0, "relu6": 0.0, "max": 17.4,
            "avg": 7.2764, "pool_padded": 21.8, "mean": 43.8, "subsample": 5.9319, "flatten": 409.7, "add": 34.4,
            "mul": 177.3, "concat": 316.3, "concatenated": 5.3881, "adaptive": 409.7, "custom": 409.7
        },
    },
}
# fmt: on
