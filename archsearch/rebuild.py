"""What a study's storage alone gives back of its candidates: their architectures, but not their weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

from archsearch.arch import Arch
from archsearch.config import StudyConfig
from archsearch.events import Counts, Observer
from archsearch.records import Record


class ArchFiles(Observer):
    """Writes the architecture files of candidates that were trained elsewhere.

    Args:
        folder: OUT/STUDY.
        study: what the candidates are in.
        config: what the study carries.
    """

    def __init__(self, folder: Path, study: optuna.Study, config: StudyConfig) -> None:
        self.folder, self.study, self.config = folder, study, config

    def started(self, history: Sequence[Record], counts: Counts) -> None:
        """Those of an earlier run."""
        self.write(history)

    def finished(self, record: Record, history: Sequence[Record], counts: Counts) -> None:
        """The new one."""
        self.write([record])

    def write(self, records: Sequence[Record]) -> None:
        """Write the files that are not there. Raises OSError."""
        paths = {record.trial: self.folder / "archs" / f"{record.arch}.toml" for record in records}
        missing = {number: path for number, path in paths.items() if not path.exists()}
        if missing:
            for trial in self.study.get_trials(deepcopy=False):
                if trial.number in missing:
                    self._arch(trial).dump(missing[trial.number])

    def _arch(self, trial: FrozenTrial) -> Arch:
        config = self.config
        return config.space.draw(lambda name, dim: trial.params[name], config.input_shape, config.classes)
