"""Trained files as functions from pixels to logits: whatever their format.

    network = load("model.onnx")    # the same for every format: archsearch.load
    logits = network(network.preprocess("picture.jpg"))
    runner = open_runner("model.onnx")
    logits = runner(images)         # whole splits: bytes (N, C, H, W) to float32 (N, classes), batch by batch

Nothing in a file is run or unpickled before it was checked: see `inference.pt2` for what that means there.
"""

from archsearch._utils.formats import format_of
from archsearch.inference.classifier import Classifier, load
from archsearch.inference.runner import Runner, open_runner

__all__ = ["Classifier", "Runner", "format_of", "load", "open_runner"]
