"""What `evaluate --corrupt` measures and shows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from archsearch._utils.scores import ACCURACY, Score
from archsearch.cli.screen import columns, wrapped

if TYPE_CHECKING:
    from torch import Tensor

    from archsearch.data.dataset import Split
    from archsearch.inference.corruptions import Corrupted
    from archsearch.metrics import Metric

corrupt_option = click.option(
    "--corrupt", is_flag=True,
    help="Measure on corrupted images too: noise, blur, light, coarse pixels, JPEG, each at five strengths.",
)  # fmt: skip


def measured(classify: Callable[[Tensor], Tensor], part: Split, score: Callable[[Tensor, Tensor], float]) -> Corrupted:
    """Scores on corrupted images; how far it is goes to stderr. Raises InputError."""
    from archsearch.cli.decoding import Decoding
    from archsearch.inference.corruptions import evaluate_corrupted

    with Decoding() as watch:
        return evaluate_corrupted(classify, part, score, partial(watch.step, "corrupted copies"))


def plain(found: Corrupted, metric: Metric | None) -> dict[str, Any]:
    """As `--json` has it; a metric is named where it is another than accuracy."""
    return {**({"metric": metric.name} if metric else {}), **found.to_json()}


def text(found: Corrupted, clean: float, metric: Metric | None = None) -> list[str]:
    """A table, a row per corruption, and what they come to.

    Args:
        clean: the score on the images as they are. metric: whose scores they are; None: accuracy.
    """
    from archsearch.inference.corruptions import STRENGTHS

    score = Score(metric.name if metric else ACCURACY)
    told = f"{score.words} " if metric else ""
    rows: list[tuple[str, ...]] = [("corrupted", *map(str, STRENGTHS), "mean")]
    rows += [(name, *map(score.shown, scores), score.shown(found.means[name])) for name, scores in found.by.items()]
    name, strength, lowest = found.worst
    worst = f"worst {score.shown(lowest)} ({name} at {strength})"
    told = f"{told}mean {score.shown(found.mean)}, {worst}, without corruption {score.shown(clean)}"
    return [*columns(rows, left=(0,)), *wrapped([told])]
