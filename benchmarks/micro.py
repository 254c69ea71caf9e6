"""An int8 `.tflite` file in TensorFlow Lite for Microcontrollers: `python micro.py FILE PIXELS.npy LOGITS.npy ARENA`.

Runs in an environment of its own that has `pip install tflite-micro numpy`; archsearch need not be there. PIXELS are
float32 (N, C, H, W) in [0, 1]. The last line on standard output is JSON: `version`, and `arena`, the bytes that tensors
and their descriptions take of the ARENA bytes that it may have. `benchmarks/formats.py --micro PYTHON` starts it.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np


def allocated(interpreter: Any) -> int:
    """What it says of its arena on standard error."""
    with tempfile.TemporaryFile() as file:
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            interpreter.print_allocations()
        finally:
            os.dup2(kept, 2)
        file.seek(0)
        found = re.search(rb"Arena allocation total (\d+) bytes", file.read())
    assert found
    return int(found[1])


def steps(details: dict[str, Any]) -> tuple[float, int]:
    """Scale and zero point of an input or output."""
    about = details["quantization_parameters"]
    return float(about["scales"][0]), int(about["zero_points"][0])


def main() -> None:
    """Run the file on every image."""
    from tflite_micro.python.tflite_micro import runtime

    file, pixels, logits, arena = sys.argv[1:]
    interpreter = runtime.Interpreter.from_bytes(Path(file).read_bytes(), arena_size=int(arena))
    scale, zero = steps(interpreter.get_input_details(0))
    out_scale, out_zero = steps(interpreter.get_output_details(0))
    found = []
    for image in np.load(pixels):
        interpreter.set_input(np.clip(np.round(image[None] / scale) + zero, -128, 127).astype(np.int8), 0)
        interpreter.invoke()
        found.append((interpreter.get_output(0)[0].astype(np.float32) - out_zero) * out_scale)
    np.save(logits, np.asarray(found, np.float32))
    print(json.dumps({"version": version("tflite-micro"), "arena": allocated(interpreter)}))


if __name__ == "__main__":
    main()
