"""A study without any training: real claims and records, made-up accuracies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna

from archsearch import Arch, Budget, search
from archsearch.errors import StopTraining, TrainingFailed
from archsearch.evaluation import Evaluation, Report
from archsearch.network.recipe import Recipe
from archsearch.report.files import CandidateFiles, RunFolder, drop_weights
from archsearch.space.reader import parse_space
from archsearch.study.config import StudyConfig, StudyData
from archsearch.study.observers import Counts
from archsearch.study.records import Record, Retrained
from archsearch.study.storage import add_reference, add_retrained, create_study, open_storage, sqlite_url
from archsearch.workers.measure import proposal

NAME = "made-up <script>alert(1)</script> & 'more'"
SPACE = """[stem]
type = "conv"
width = { int = [2, 9] }
[[stage]]
block = "nin"
width = { int = [2, 40] }
[head]
type = "linear"
"""
BUDGET = Budget(max_params=800, max_size=20_000)
USAGE = {"data_seconds": 0.5, "step_seconds": 2.0, "eval_seconds": 0.25, "overhead_seconds": 0.1}


class Formula:
    """Scores that grow with size; every fourth training is stopped, every ninth fails.

    apart: the accuracy is another, which falls with size.
    """

    def __init__(self, *, apart: bool = False) -> None:
        self.calls = 0
        self.apart = apart

    def __call__(self, arch: Arch, report: Report) -> Evaluation:
        try:
            return Evaluation(self._score(arch, report), USAGE, self._accuracy(arch))
        except (StopTraining, TrainingFailed) as end:
            end.evaluation = Evaluation(math.nan, USAGE)
            raise

    def _accuracy(self, arch: Arch) -> dict[str, float]:
        return {"val_accuracy": accuracy_apart(arch.cost.params)} if self.apart else {}

    def _score(self, arch: Arch, report: Report) -> float:
        self.calls += 1
        best = 1 - 20 / arch.cost.params
        for epoch in (1, 2, 3, 4):
            metrics = {"train_loss": 1 / epoch, "val_loss": 1.1 / epoch, "learning_rate": 0.1 / epoch}
            report(epoch, best * (1 - 0.5**epoch), metrics | self._accuracy(arch))
            if epoch == 2 and self.calls % 4 == 0:
                raise StopTraining(
                    "stopped after 2 of 4 epochs: 3 of 5 others were no larger and no less accurate there"
                )
            if self.calls % 9 == 0:
                raise TrainingFailed("the loss is not finite in epoch 1")
        return best * (1 - 0.5**4)


def accuracy_apart(params: int) -> float:
    """Of a network in a study that maximises something else."""
    return 1 - params / 1000


def config(space: str = NAME, seed: int = 0, metric: str = "accuracy") -> StudyConfig:
    """What a run gives its study."""
    data = StudyData("digits", "0123456789abcdef", validation=0.2)
    return StudyConfig(space, SPACE, BUDGET, data, (1, 8, 8), 4, Recipe(epochs=4), seed, metric=metric)


def save(path: Path, arch: Arch, record: Record) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(arch.id)


class FilesAtTheEnd(RunFolder):
    """Drawing the picture after every candidate takes a second each time."""

    def started(self, history: Sequence[Record], counts: Counts) -> None:
        pass

    def finished(self, record: Record, history: Sequence[Record], counts: Counts) -> None:
        pass

    def ended(self, history: Sequence[Record], counts: Counts) -> None:
        super().started(history, counts)
        drop_weights(self.folder, history)


def retrained(study: optuna.Study, record: Record, accuracies: Sequence[float], score: float | None = None) -> None:
    """Put down what a retraining would have measured."""
    for seed, accuracy in enumerate(accuracies):
        row = Retrained(record.arch, seed, accuracy, None, 9, 1.0, record.params, "cpu", "", {}, score)
        add_retrained(study, row)


def make_study(folder: Path, trials: int = 14, metric: str = "accuracy", **about: Any) -> optuna.Study:
    """A finished study of so many candidates in a folder, with all its files, and one reference."""
    folder.mkdir(parents=True, exist_ok=True)
    apart, settings = metric != "accuracy", config(metric=metric)
    study = create_study(open_storage(sqlite_url(folder / "study.db")), folder.name, settings)
    told = {"command": f"archsearch run --space {NAME!r}", **settings.to_json(), "rungs": [2], **about}
    files = FilesAtTheEnd(folder, told, BUDGET)
    search(parse_space(SPACE, "wide"), evaluate=Formula(apart=apart), input_shape=(1, 8, 8), classes=4,
           budget=BUDGET, trials=trials, sampler="random", study=study,
           observers=[CandidateFiles(folder, save), files])  # fmt: skip
    row = proposal(Arch.load(next((folder / "archs").glob("*.toml"))), BUDGET, 0)
    curve = [[1.0, 0.5], [4.0, 0.93]]
    reference = replace(row, params=500, val_accuracy=0.93, epochs=4, state="reference", reason="lenet5", curve=curve)
    if apart:
        reference = replace(reference, val_score=0.93, val_accuracy=accuracy_apart(500))
    add_reference(study, reference)
    return study
