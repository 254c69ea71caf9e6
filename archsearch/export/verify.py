"""Whether an exported file does what its network does: the same outputs, as good a score, few enough bytes.

The score is the metric by which the network was trained, accuracy where there is no other. Chance has its share of a
drop: accuracy has a closed bound from the paired counts, any other metric a paired bootstrap over the images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from archsearch._utils.scores import ACCURACY, Score
from archsearch._utils.units import format_bytes, format_count
from archsearch.errors import ExportFailed
from archsearch.export.quantize import CALIBRATION, evenly
from archsearch.inference.evaluate import correct
from archsearch.metrics import Metric, is_multilabel
from archsearch.metrics.paired import Pair, paired

TOLERANCE = {"fp32": 1e-4, "fp16": 2e-2, "bf16": 1e-1, "int8": 0.5, "int8-weights": 0.1}
"""The largest difference of an output that is allowed, as a share of the largest output (at least of 1)."""
_HELPS = {
    "int8": "--calibration-images, training for it (`retrain --quantize int8`), --quantize int8-weights, --dtype fp16",
    "int8-weights": "--dtype fp16",
}
"""What helps where a precision loses too much."""
ACCURACY_DROP = 0.01
_ONE_SIDED_95 = 1.645
"""Standard deviations below which a twentieth of a normal distribution lies."""


@dataclass(frozen=True)
class Checks:
    """What an exported file has to pass.

    Args:
        max_size: it must have fewer bytes than this.
        check_images: outputs are compared on so many validation images at most. So is the accuracy of a .pt2 file at
            fp16 or bf16, which many CPUs compute some 35 times as slowly as fp32; otherwise it is over the whole split.
        max_drop: the score may be lower by so much, of accuracy a share of the images, or by as much more as is left to
            chance.
        calibration: train images, at most, from which int8 takes the ranges of activations.
        weight_bits: of int8 weights in ONNX files: 7, or 8 for targets that multiply bytes without saturation.
        metric: by whose name the score goes; None: that of the network's training. It is accuracy where the validation
            images leave the metric undefined.
    """

    max_size: float | None = None
    check_images: int = 1000
    max_drop: float = ACCURACY_DROP
    calibration: int = CALIBRATION
    weight_bits: int = 7
    metric: str | None = None


@dataclass(frozen=True)
class Parity:
    """How far an exported file is from its network.

    `max_abs_diff` and `scale`, the network's largest output, are over `images`; what follows is over `labelled` images.
    `lost`: of these, those that only the network labels correctly. `won`: those that only the file does.
    `what`: "images", or "answers" where an image may have several labels and each is an answer, yes or no.
    `judged`: by a metric other than accuracy, whose drop counts then; None: accuracy's does.
    """

    images: int
    max_abs_diff: float
    scale: float
    accuracy: float
    module_accuracy: float
    labelled: int
    lost: int
    won: int
    what: str = "images"
    judged: Pair | None = None

    @property
    def score(self) -> Score:
        """What drops."""
        return Score(self.judged.metric.name if self.judged else ACCURACY)

    @property
    def before(self) -> float:
        """The network's score."""
        return self.judged.before if self.judged else self.module_accuracy

    @property
    def after(self) -> float:
        """The file's score."""
        return self.judged.after if self.judged else self.accuracy

    @property
    def drop(self) -> float:
        """Of the score, as a share."""
        if self.judged:
            return self.judged.drop
        return (self.lost - self.won) / self.labelled

    @property
    def least_drop(self) -> float:
        """What the drop is at least, with 95% confidence, on images like these.

        One-sided, from the paired counts: Bonett and Price 2012, "Adjusted Wald confidence interval for a difference
        of binomial proportions based on paired data". Of a metric other than accuracy: see `metrics.paired`.
        """
        if self.judged:
            return self.judged.least_drop
        n = self.labelled + 2
        down, up = (self.lost + 1) / n, (self.won + 1) / n
        return down - up - _ONE_SIDED_95 * math.sqrt((down + up - (down - up) ** 2) / n)

    def by_chance(self, max_drop: float) -> bool:
        """Whether the drop is larger than allowed, but no more so than chance makes it on so few images."""
        return self.drop > max_drop + 1e-9 and self.least_drop <= max_drop

    def fall(self) -> str:
        """The drop in words; a point is 0.01."""
        if self.judged:
            return f"{100 * self.drop:.2f} points on {format_count(self.judged.n)} images"
        count, of = format_count(self.lost - self.won), format_count(self.labelled)
        return f"{count} of {of} {self.what}, {100 * self.drop:.2f} points"

    def require(self, dtype: str, max_drop: float = ACCURACY_DROP) -> None:
        """Raises ExportFailed where the outputs differ too much or the score has dropped."""
        allowed = TOLERANCE[dtype] * max(1.0, self.scale)
        if not self.max_abs_diff <= allowed:
            by = f"by {self.max_abs_diff:.3g}" if math.isfinite(self.max_abs_diff) else "by inf: it is not finite"
            raise ExportFailed(
                f"the exported file does not match: an output differs {by} on {self.images:,}"
                f" images, allowed at {dtype} are {allowed:.3g}"
                + (f"; what helps: {_HELPS[dtype]}" if dtype in _HELPS else "")
            )
        if self.drop > max_drop + 1e-9 and not self.by_chance(max_drop):
            raise ExportFailed(
                f"at {dtype} the validation {self.score.words} drops from {self.score.shown(self.before)} to"
                f" {self.score.shown(self.after)}, {self.fall()}: more than --max-drop {points(max_drop)}, beyond"
                f" chance; what helps: {_ways_on(dtype)}"
            )


def points(share: float) -> str:
    """A share of images as points of accuracy, 0.01 of any metric as a point."""
    return f"{100 * share:g} point{'' if share == 0.01 else 's'}"


def _ways_on(dtype: str) -> str:
    return f"{_HELPS.get(dtype, '--dtype fp32')}, a larger --max-drop, longer training (`retrain`), or a wider network"


def compare(mine: Tensor, theirs: Tensor, labels: Tensor, images: int, metric: Metric | None = None) -> Parity:
    """Hold two sets of logits (N, classes) against each other.

    Args:
        mine: the network's. theirs: the exported file's.
        labels: int64 (N,), or bool (N, classes); both accuracies are over all of them.
        images: outputs are compared on so many at most, evenly spaced.
        metric: by which the score goes, defined on these labels; None: accuracy.
    """
    compared = evenly(len(mine), images)
    a, b = mine[compared], theirs[compared]
    finite = bool(torch.isfinite(theirs).all())
    before, after = correct(mine, labels), correct(theirs, labels)
    return Parity(
        len(a),
        float((a - b).abs().max()) if finite else math.inf,
        float(a.abs().max()),
        float(after.sum()) / labels.numel(),
        float(before.sum()) / labels.numel(),
        labels.numel(),
        int((before & ~after).sum()),
        int((after & ~before).sum()),
        "answers" if is_multilabel(labels) else "images",
        paired(metric, mine, theirs, labels) if metric and finite else None,
    )


def check_size(size: int, limit: float | None) -> None:
    """Raises ExportFailed where a file is not under its limit."""
    if limit is not None and size >= limit:
        raise ExportFailed(
            f"the exported file does not fit: {format_count(size)} bytes are not under {format_bytes(limit)}"
        )
