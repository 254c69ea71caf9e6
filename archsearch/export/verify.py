"""Whether an exported file does what its network does: the same outputs, the same accuracy, few enough bytes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from archsearch._utils.units import format_bytes, format_count
from archsearch.errors import ExportFailed
from archsearch.export.quantize import evenly

TOLERANCE = {"fp32": 1e-4, "fp16": 2e-2, "bf16": 1e-1, "int8": 0.5}
"""The largest difference of an output that is allowed, as a share of the largest output (at least of 1)."""
ACCURACY_DROP = 0.01


@dataclass(frozen=True)
class Parity:
    """How far an exported file is from its network.

    `max_abs_diff` and `scale`, the network's largest output, are over `images`, the accuracies over `labelled` images.
    """

    images: int
    max_abs_diff: float
    scale: float
    accuracy: float
    module_accuracy: float
    labelled: int

    def require(self, dtype: str) -> None:
        """Raises ExportFailed where the outputs differ too much or the accuracy has dropped."""
        allowed = TOLERANCE[dtype] * max(1.0, self.scale)
        if not self.max_abs_diff <= allowed:
            raise ExportFailed(
                f"the exported file does not match: an output differs by {self.max_abs_diff:.3g} on {self.images:,}"
                f" images, allowed at {dtype} are {allowed:.3g}"
            )
        drop = self.module_accuracy - self.accuracy
        if drop > ACCURACY_DROP + 1e-9:
            raise ExportFailed(
                f"at {dtype} the validation accuracy drops from {100 * self.module_accuracy:.2f}% to"
                f" {100 * self.accuracy:.2f}%: more than {100 * ACCURACY_DROP:g} point"
            )


def compare(mine: Tensor, theirs: Tensor, labels: Tensor, images: int) -> Parity:
    """Hold two sets of logits (N, classes) against each other.

    Args:
        mine: the network's. theirs: the exported file's.
        labels: int64 (N,); both accuracies are over all of them.
        images: outputs are compared on so many at most, evenly spaced.
    """
    a, b = evenly(mine, images), evenly(theirs, images)
    difference = (a - b).abs().max()
    return Parity(
        len(a),
        float(difference) if torch.isfinite(b).all() else math.inf,
        float(a.abs().max()),
        _accuracy(theirs, labels),
        _accuracy(mine, labels),
        len(labels),
    )


def _accuracy(logits: Tensor, labels: Tensor) -> float:
    return int((logits.argmax(1) == labels).sum()) / len(labels)


def check_size(size: int, limit: float | None) -> None:
    """Raises ExportFailed where a file is not under its limit."""
    if limit is not None and size >= limit:
        raise ExportFailed(
            f"the exported file does not fit: {format_count(size)} bytes are not under {format_bytes(limit)}"
        )
