"""What the trainings of a search are given: who teaches, and what networks begin with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from archsearch.data import Dataset
from archsearch.errors import StudyError
from archsearch.retrain.answers import Answers
from archsearch.retrain.distillation import Teachers, teachers_of
from archsearch.retrain.inherited import Inherited, inherited
from archsearch.study.config import Known
from archsearch.training.setup import TrainingSetup


@dataclass(frozen=True)
class Given:
    """Teachers and a network to begin with, as far as they were asked for."""

    known: Known
    teachers: Teachers | Answers | None = None
    start: Inherited | None = None

    def given_to(self, setup: TrainingSetup) -> TrainingSetup:
        """The setup with them; itself where there are none."""
        if self.teachers:
            setup = self.teachers.given_to(setup)
        return replace(setup, start=self.start) if self.start else setup

    @property
    def words(self) -> str:
        """As `start` in a weights file's metadata says it, "" for none."""
        parts = [self.known.started] if self.start else []
        return "; ".join([*parts, *([f"taught by {self.known.taught}"] if self.teachers else [])])

    @property
    def notes(self) -> tuple[str, ...]:
        """What is used, a line each."""
        begun = (
            (f"blocks that agree begin with those of {self.start.source}: {self.start.summary}",) if self.start else ()
        )
        return (*(self.teachers.notes if self.teachers else ()), *begun)


def given(teachers: Sequence[str], init_from: str, dataset: Dataset) -> Given:
    """Read what `--teacher` and `--init-from` name.

    Raises:
        InputError: as `teachers_of` and `inherited`.
    """
    found = teachers_of(teachers, dataset) if teachers else None
    start = inherited(init_from) if init_from else None
    known = Known(tuple(teachers), init_from, found.source if found else "", start.name if start else "")
    return Given(known, found, start)


def given_again(here: Known, study: Known, dataset: Dataset) -> Given:
    """Read what a study's trainings are given, from the places of this machine.

    Raises:
        InputError: as `given`.
        StudyError: what lies there is not what the study was made with.
    """
    found = given(here.teachers, here.init_from, dataset)
    pairs = {"--teacher": (found.known.taught, study.taught), "--init-from": (found.known.started, study.started)}
    for option, (mine, wanted) in pairs.items():
        if mine != wanted:
            raise StudyError(f"{option}: here is {mine or 'none'}, the study was made with {wanted or 'none'}")
    return found
