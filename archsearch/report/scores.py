"""A judged network in words: rows and sentences for the terminal and for pages, from what `Judgement.plain` gives."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import Any

import numpy as np
from torch import Tensor

from archsearch._utils.scores import WORDS, Score
from archsearch._utils.units import counted, format_count
from archsearch.data.pixels import Pixels
from archsearch.inference.mistakes import Mistake
from archsearch.inference.scores import PER_CLASS, Judgement
from archsearch.metrics.bootstrap import RESAMPLES
from archsearch.metrics.calibration import BINS

SHARES = ("accuracy", "balanced-accuracy", "recall", "precision", "ece", "ece_at_temperature")
"""What is written in percent; the others are no share of images."""
TITLES = {"recall": "recall", "precision": "precision", "f1": "F1", "auroc": "AUROC", "thresholds": "threshold"}
MATRIX_UP_TO, CLASSES_UP_TO, MISTAKES = 20, 100, 10
FOOTNOTE = (
    f"95% intervals: percentile bootstrap over images, {RESAMPLES:,} resamples; Wilson's where none or all are right;"
    " – where unknown"
)
_SIDE = 80


@dataclass(frozen=True)
class Cell:
    """A figure and its interval, as written; both may be an en dash."""

    value: str
    interval: str

    def __str__(self) -> str:
        return f"{self.value} ({self.interval})" if self.interval != "–" else self.value


def for_page(title: str, judgement: Judgement, images: Pixels, mistakes: Sequence[Mistake]) -> dict[str, Any]:
    """Everything that a page shows of a network, as JSON: its figures, and its most certain errors as pictures.

    Args:
        title: which network and which images.
        images: those that were judged, uint8 (N, C, H, W).
    """
    matrix = judgement.confusion
    shown = matrix is not None and len(matrix) <= MATRIX_UP_TO
    return {
        "title": title,
        **judgement.plain(),
        "classes": list(judgement.classes),
        "fitted_on": judgement.temperature.images if judgement.temperature else 0,
        "same_images": bool(judgement.temperature and judgement.temperature.same),
        "confusion": matrix.tolist() if matrix is not None and shown else None,
        "confused": [list(row) for row in confused(judgement, MISTAKES)],
        "mistakes": [{**asdict(one), "picture": thumbnail(images[one.image])} for one in mistakes],
    }


def confused(judgement: Judgement, most: int) -> list[tuple[str, str, int]]:
    """The pairs (class, taken for, images) that are confused most often; none of several labels."""
    from archsearch.inference.evaluate import Scores

    if judgement.confusion is None:
        return []
    return Scores(judgement.classes, judgement.confusion).mistakes(most)


def thumbnail(image: Tensor) -> str:
    """A uint8 image (C, H, W) as a `data:` URI of a PNG, at most 80 pixels a side; but for RGB its first channel."""
    from PIL import Image

    pixels = image.permute(1, 2, 0).contiguous().numpy()
    picture = Image.fromarray(pixels if pixels.shape[2] == 3 else np.ascontiguousarray(pixels[..., 0]))
    picture.thumbnail((_SIDE, _SIDE))
    file = BytesIO()
    picture.save(file, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def shown(name: str, value: float | None) -> str:
    """A figure: `95.33%` of what is a share of images, else `0.953`; metrics as everywhere."""
    if value is None:
        return "–"
    if name in WORDS:
        return Score(name).shown(value)
    return f"{100 * value:.2f}%" if name in SHARES else f"{value:.3f}"


def cell(name: str, value: float | None, span: Sequence[float] | None) -> Cell:
    """A figure with its interval: `95.33% (92.7–97.7)`, `0.953 (0.93–0.98)`."""
    if span is None or value is None:
        return Cell(shown(name, value), "–")
    low, high = (f"{100 * bound:.1f}" if name in SHARES else f"{bound:.2f}" for bound in span)
    return Cell(shown(name, value), f"{low}–{high}")


def metric_rows(scores: Mapping[str, Any]) -> list[tuple[str, Cell]]:
    """Every metric by its words, and the calibration error."""
    spans, rows = scores["intervals"], []
    for name in WORDS:
        if name in scores:
            rows.append((WORDS[name], cell(name, scores[name], spans.get(name))))
    if scores["ece"] is not None:
        rows.append(("calibration error (ECE)", cell("ece", scores["ece"], spans.get("ece"))))
    return rows


def class_columns(scores: Mapping[str, Any]) -> list[str]:
    """Which shares per class there are."""
    shares = [name for name in ("recall", "precision", "f1", "auroc") if name in PER_CLASS and name in scores]
    return [*shares, *(["thresholds"] if "thresholds" in scores else [])]


def class_rows(scores: Mapping[str, Any], most: int | None = None) -> list[tuple[str, str, list[Cell]]]:
    """Per class its name, its images, and its shares; where there are more than `most`, those with the least recall."""
    names = list(scores["classes"])
    if most is not None and len(names) > most:
        recall = scores["recall"]
        names = sorted(names, key=lambda name: 2.0 if recall[name] is None else recall[name])[:most]
    spans, columns = scores["intervals"], class_columns(scores)
    return [
        (
            name,
            format_count(scores["support"][name]),
            [cell(column, scores[column][name], spans.get(column, {}).get(name)) for column in columns],
        )
        for name in names
    ]


def lead(scores: Mapping[str, Any]) -> str:
    """Accuracy and interval in one line: `95.33% of 300 images (95%: 92.7 to 97.7)`; of several labels of answers."""
    if scores["ece"] is None:
        answers = counted(scores["n"] * len(scores["classes"]), "answer")
        share = cell("accuracy", scores["accuracy"], scores["intervals"].get("accuracy"))
        return f"{share} of {answers}, yes or no, for {counted(scores['n'], 'image')}"
    told = f"{shown('accuracy', scores['accuracy'])} of {counted(scores['n'], 'image')}"
    span = scores["intervals"].get("accuracy")
    return told if span is None else f"{told} (95%: {100 * span[0]:.1f} to {100 * span[1]:.1f})"


def calibrated(scores: Mapping[str, Any], why_not: str = "") -> str:
    """What the calibration error is and what a temperature makes of it; empty where several labels are allowed."""
    if scores["ece"] is None:
        return ""
    told = f"calibration: ECE {shown('ece', scores['ece'])} (mean |accuracy - confidence| over {BINS} equal bins)"
    if scores["temperature"] is None:
        return f"{told}; no temperature{': ' if why_not else ''}{why_not}"
    where = "these" if scores["same_images"] else f"{scores['fitted_on']:,} validation"
    after = shown("ece", scores["ece_at_temperature"])
    return f"{told}; {after} at temperature {scores['temperature']:.3f}, fitted on {where} images; labels stay"
