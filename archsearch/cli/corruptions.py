"""What `evaluate --corrupt` measures and shows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import click

from archsearch.cli.screen import columns, wrapped

if TYPE_CHECKING:
    from torch import Tensor

    from archsearch.data.dataset import Split
    from archsearch.inference.corruptions import Corrupted

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


def text(found: Corrupted, clean: float) -> list[str]:
    """A table, a row per corruption, and what they come to. clean: the score on the images as they are."""
    from archsearch.inference.corruptions import STRENGTHS

    rows: list[tuple[str, ...]] = [("corrupted", *map(str, STRENGTHS), "mean")]
    rows += [(name, *map(_percent, scores), _percent(found.means[name])) for name, scores in found.by.items()]
    name, strength, lowest = found.worst
    worst = f"worst {_percent(lowest)} ({name} at {strength})"
    told = f"mean {_percent(found.mean)}, {worst}, without corruption {_percent(clean)}"
    return [*columns(rows, left=(0,)), *wrapped([told])]


def _percent(score: float) -> str:
    return f"{100 * score:.2f}%"
