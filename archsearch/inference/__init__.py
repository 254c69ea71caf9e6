"""Trained files as functions from pixels to logits: safetensors, ONNX and `torch.export` archives alike.

    runner = open_runner("model.onnx")
    logits = runner(images)         # uint8 (N, C, H, W) to float32 (N, classes)

Nothing in a file is run or unpickled before it was checked: see `inference.pt2` for what that means there.
"""

from archsearch.inference.runner import Runner, format_of, open_runner

__all__ = ["Runner", "format_of", "open_runner"]
