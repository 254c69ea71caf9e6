"""MLPerf Tiny's own ResNet-8 files on all test images: bytes and accuracy.

    git clone https://github.com/mlcommons/tiny
    python benchmarks/mlperf_tiny.py tiny/benchmark/training/image_classification/trained_models cifar10.npz

The files take one image (H, W, C) of values from 0 to 255, by scale and zero point where they take integers. Needs the
extra `litert`. One JSON line a file.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np

FILES = ("pretrainedResnet.tflite", "pretrainedResnet_quant.tflite")


def accuracy(path: Path, images: np.ndarray, labels: np.ndarray) -> float:
    """The share of images (N, H, W, C) whose class has the largest output."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    (source,), (sink,) = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero = source["quantization"]
    right = 0
    for image, label in zip(images, labels, strict=True):
        values = image[None].astype(np.float32)
        if scale:
            values = np.clip(np.round(values / scale) + zero, -128, 127)
        interpreter.set_tensor(source["index"], values.astype(source["dtype"]))
        interpreter.invoke()
        right += int(interpreter.get_tensor(sink["index"])[0].argmax() == label)
    return right / len(labels)


def main() -> None:
    folder, data = sys.argv[1:]
    found = np.load(data)
    for name in FILES:
        path = Path(folder) / name
        score = accuracy(path, found["test_images"], found["test_labels"])
        print(json.dumps({"file": name, "bytes": path.stat().st_size, "accuracy": score,
                          "litert": version("ai-edge-litert")}))  # fmt: skip


if __name__ == "__main__":
    main()
