"""What `archsearch evaluate` prints of a judged network."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from archsearch._utils.units import format_count
from archsearch.cli.screen import columns, terminal_width, wrapped

if TYPE_CHECKING:
    from archsearch.inference.scores import Judgement


def text(begin: str, judged: Judgement, why_not: str = "") -> list[str]:
    """Metrics, shares per class, confusion matrix, and what is confused most often.

    Args:
        begin: of the first line: which network and which images.
        why_not: why no temperature was fitted.
    """
    from archsearch.report import scores as words

    plain: dict[str, Any] = {**judged.plain(), "classes": judged.classes}
    fitted = judged.temperature
    plain |= {"fitted_on": fitted.images if fitted else 0, "same_images": bool(fitted and fitted.same)}
    lines = [*wrapped([f"{begin}{words.lead(plain)}"]), ""]
    names = words.class_columns(plain)
    rows: list[tuple[str, ...]] = [("class", "images", *(words.TITLES[name] for name in names))]
    rows += [(name, images, *map(str, cells)) for name, images, cells in words.class_rows(plain)]
    lines += [*columns(rows, left=(0,)), ""]
    lines += columns([(name, str(cell)) for name, cell in words.metric_rows(plain)[1:]], left=(0,))
    lines += ["", *wrapped([line for line in (words.calibrated(plain, why_not), words.FOOTNOTE) if line])]
    if judged.confusion is not None and len(judged.classes) <= words.MATRIX_UP_TO:
        lines += ["", *_matrix(judged.classes, judged.confusion.tolist())]
    mistakes = words.confused(judged, words.MISTAKES)
    if mistakes:
        pairs = "; ".join(f"{a} as {b}, {format_count(n)}" for a, b, n in mistakes)
        lines += ["", *wrapped([f"most often confused: {pairs}"])]
    return lines


def _matrix(classes: tuple[str, ...], confusion: list[list[int]]) -> list[str]:
    """The confusion matrix, or where it stands if the terminal is too narrow for it: its rows can't be broken."""
    rows: list[tuple[str, ...]] = [("", *(name[:6] for name in classes))]
    for name, counts in zip(classes, confusion, strict=True):
        rows.append((name, *(format_count(n) if n else "." for n in counts)))
    lines = columns(rows, left=(0,), width=sys.maxsize)
    wide, width = max(map(len, lines)), terminal_width()
    if width and wide > width:
        told = f"confusion: takes {wide} columns and this terminal has {width}; --confusion FILE.png draws it"
        return wrapped([told])
    return [*wrapped(["confusion: one row per class, one column for what it was taken for"]), *lines]
