"""What a page tells, read from the study and its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna

from archsearch import pareto
from archsearch._utils.scores import ACCURACY, Score
from archsearch._utils.sharing import shared
from archsearch.network.budget import Budget
from archsearch.network.limits import LATENCY
from archsearch.report.best import scores_of
from archsearch.report.files import read_rejects
from archsearch.report.html.importance import Importance, importance
from archsearch.report.tables import Tested, tested
from archsearch.study.config import StudyConfig
from archsearch.study.records import Record, Reject, front
from archsearch.study.storage import records, stored_references, stored_retrained


@dataclass(frozen=True)
class PageContents:
    """A study for people. `about` holds the study's config and what `run.json` adds; `tests` go by architecture.

    `scores`: what `scores.json` says of the most accurate network.
    """

    name: str
    about: Mapping[str, Any]
    history: Sequence[Record]
    references: Sequence[Record] = ()
    rejects: Sequence[Reject] = ()
    tests: Mapping[str, Tested] = field(default_factory=dict)
    importance: Importance = field(default_factory=Importance)
    files: Sequence[str] = ()
    scores: Mapping[str, Any] = field(default_factory=dict)

    @property
    def front(self) -> list[Record]:
        """The front, smallest first."""
        return front(self.history)

    @property
    def fast_front(self) -> list[Record]:
        """The front of the score against milliseconds, the fastest first; empty where none were measured."""
        rows = [r for r in self.history if r.state == "complete" and r.score is not None and LATENCY in r.more]
        if not rows:
            return []
        kept = pareto.front([(r.more[LATENCY], -(r.score or 0.0)) for r in rows])
        return sorted((r for r, keep in zip(rows, kept, strict=True) if keep), key=lambda r: r.more[LATENCY])

    @property
    def score(self) -> Score:
        """What the search maximised."""
        return Score(self.about.get("metric", ACCURACY))

    @property
    def budget(self) -> Budget:
        """The limits of the search."""
        return Budget(**self.about.get("budget", {}))

    @property
    def counts(self) -> Mapping[str, Any]:
        """What was checked, rejected, trained; empty where no run has written it."""
        return dict(self.about.get("counts", {}))


_FILES = (
    "pareto.csv",
    "trials.csv",
    "rejected.csv",
    "retrain.csv",
    "pareto.png",
    "run.json",
    "scores.json",
    "study.db",
)


def read_contents(folder: Path, study: optuna.Study, config: StudyConfig) -> PageContents:
    """Everything that a page tells of a study: its records, and the tables and `run.json` in its folder."""
    history = records(study)
    best = front(history)
    weights = [f"weights/{record.arch}.safetensors" for record in best]
    return PageContents(
        name=folder.name,
        about=shared({**config.to_json(), **_run_json(folder)}),
        history=history,
        references=stored_references(study),
        rejects=read_rejects(folder),
        tests=tested(stored_retrained(study)),
        importance=importance(study),
        files=[name for name in (*_FILES, *weights) if (folder / name).exists()],
        scores=scores_of(folder, best[-1].arch) if best else {},
    )


def _run_json(folder: Path) -> dict[str, Any]:
    path = folder / "run.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}
