"""The page from its template."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

import optuna
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from archsearch._utils.files import write_text
from archsearch.report import scores
from archsearch.report.html import charts, words
from archsearch.report.html.contents import PageContents, read_contents
from archsearch.study.config import StudyConfig
from archsearch.study.observers import Counts, Observer
from archsearch.study.records import Record

NAME = "report.html"
_TEMPLATES = Path(__file__).parent / "templates"


def write_page(folder: Path, study: optuna.Study, config: StudyConfig) -> Path:
    """Write `report.html` of a study into its folder, whole; `config` is what the study carries. Raises OSError."""
    return write_text(folder / NAME, render(read_contents(folder, study, config)))


def render(contents: PageContents) -> str:
    """The page as HTML. It asks for nothing but itself; what users named is text in it, never markup."""
    page, script = environment().get_template("page.html"), (_TEMPLATES / "script.js").read_text(encoding="utf-8")
    return page.render(
        contents=contents,
        front=charts.front_chart(contents),
        curves=charts.curve_chart(contents),
        histogram=charts.reject_histogram(contents),
        kinds=charts.KINDS,
        words=words,
        scored=scores,
        style=style(),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def environment() -> Environment:
    """The templates, whose values are text unless they say otherwise."""
    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def style() -> str:
    """The pages' CSS."""
    return (_TEMPLATES / "style.css").read_text(encoding="utf-8")


class StudyPage(Observer):
    """Writes the page when the search ends, however it ends; belongs after whoever writes the folder's tables."""

    def __init__(self, folder: Path, study: optuna.Study, config: StudyConfig) -> None:
        self.folder, self.study, self.config = folder, study, config

    def ended(self, history: Sequence[Record], counts: Counts) -> None:
        """The whole page, importances too."""
        write_page(self.folder, self.study, self.config)
