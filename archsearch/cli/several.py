"""What `archsearch evaluate` prints of a file whose images may have several labels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from archsearch._utils.units import counted, format_count
from archsearch.cli.screen import columns, wrapped
from archsearch.errors import InputError

if TYPE_CHECKING:
    from archsearch.data import Dataset
    from archsearch.data.dataset import Split
    from archsearch.inference import Runner
    from archsearch.inference.several import SeveralScores

_NOT_DEFINED = "-"


@dataclass(frozen=True)
class Told:
    """How it is to be said: of which file, whether a confusion matrix was asked for, as JSON, and notes before it."""

    weights: str
    confusion: Path | None
    as_json: bool
    notes: Sequence[str]


def several_text(runner: Runner, images: Split, dataset: Dataset, title: str, told: Told) -> str:
    """Figures per label, at the file's thresholds. Raises InputError."""
    from archsearch.inference.several import score_several
    from archsearch.metrics.thresholds import thresholds_in

    if told.confusion is not None:
        raise InputError(
            f"--confusion: {dataset.name} has several labels per image, which no matrix shows: leave it out"
        )
    pixels, labels = images
    thresholds = thresholds_in(runner.info, runner.arch.classes)
    assert thresholds is not None  # `check_fit` has seen that labels are several
    try:
        found = score_several(runner(pixels), labels, dataset.classes, thresholds)
    except InputError as error:
        raise InputError(f"{told.weights}: {error}") from None
    return json.dumps(found.to_json()) if told.as_json else "\n".join([*wrapped(told.notes), *_lines(title, found)])


def _lines(title: str, found: SeveralScores) -> list[str]:
    head = f"{title}: macro AUROC {_plain(found.metrics['macro-auroc'])}, {counted(found.n, 'image')}"
    means = (
        f"mean average precision {_plain(found.metrics['average-precision'])}; macro F1 {_plain(found.f1)} at these"
        f" thresholds, {_plain(found.metrics['macro-f1'])} at 0.5; right answers, yes or no, at 0.5:"
        f" {100 * found.accuracy:.2f}%"
    )
    rows: list[tuple[str, ...]] = [("label", "images", "AUROC", "AP", "threshold", "precision", "recall", "F1")]
    rows += [
        (
            name,
            format_count(one.support),
            *map(_plain, (one.auroc, one.average_precision)),
            f"{one.threshold:.3g}",
            *map(_plain, (one.precision, one.recall, one.f1)),
        )
        for name, one in found.labels.items()
    ]
    return [*wrapped([head, means]), "", *columns(rows, left=(0,))]


def _plain(value: float | None) -> str:
    return _NOT_DEFINED if value is None else f"{value:.4f}"
