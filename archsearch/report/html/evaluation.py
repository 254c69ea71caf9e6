"""A page about one network on one split: what `archsearch evaluate --report` writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from archsearch._utils.files import write_text
from archsearch.report import scores as words
from archsearch.report.html.write import environment, style


def write_evaluation(path: Path, scores: Mapping[str, Any]) -> Path:
    """Write the page, whole, of what `scores.for_page` gives. Raises OSError."""
    page = environment().get_template("evaluation.html")
    return write_text(path, page.render(scores=scores, scored=words, style=style()))
