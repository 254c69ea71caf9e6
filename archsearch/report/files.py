"""What a run leaves in its folder, written whole after every finished candidate."""

from __future__ import annotations

import json
import math
import platform
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from archsearch import __version__
from archsearch._utils.files import write_text, write_with
from archsearch._utils.scores import ACCURACY, Score
from archsearch._utils.sharing import names_beside
from archsearch.network.arch import Arch
from archsearch.network.budget import Budget
from archsearch.network.limits import LATENCY
from archsearch.report import tables
from archsearch.report.figure import plot
from archsearch.study.config import StudyConfig
from archsearch.study.observers import Candidate, Counts, Observer
from archsearch.study.records import Record, Reject, Retrained, front
from archsearch.training.checkpoint import Checkpoint

_PACKAGES = ("torch", "torchvision", "optuna", "numpy")
_REJECTS_EVERY = 500
_FREE, _SHARE = 60.0, 0.1
_PICTURE = 20
"""The picture is drawn again after so many times the time that it takes: most of a table's time is its."""
_NO_BUDGET = Budget()
_ACCURACY = Score()


class CandidateFiles(Observer):
    """Writes what must be there before the study has a candidate: its architecture, and weights of the front.

    Checkpoints of trainings are in the folder too, until the study has their result.

    Args:
        folder: OUT/STUDY.
        save: `save(path, arch, record)` writes the weights of the network that was just trained.
    """

    def __init__(self, folder: Path, save: Callable[[Path, Arch, Record], None]) -> None:
        self.folder, self.save = folder, save

    def checkpoint(self, arch: Arch, key: str) -> Checkpoint:
        """Where the state of a network's training is kept."""
        return Checkpoint(self._checkpoint(arch.id), key)

    def _checkpoint(self, arch: str) -> Path:
        return self.folder / "checkpoints" / f"{arch}.checkpoint"

    def started(self, history: Sequence[Record], counts: Counts) -> None:
        """What was begun here and finished elsewhere."""
        for record in history:
            self.forget(record.arch)

    def finished(self, record: Record, history: Sequence[Record], counts: Counts) -> None:
        """Nothing is left to go on with."""
        self.forget(record.arch)

    def forget(self, arch: str) -> None:
        """A training is over."""
        self._checkpoint(arch).unlink(missing_ok=True)

    def measured(self, candidate: Candidate, record: Record, history: Sequence[Record]) -> None:
        """The architecture file, and the weights of what is on the front, before the study names them."""
        candidate.arch.dump(self.folder / "archs" / f"{record.arch}.toml")
        if any(row.arch == record.arch for row in front(history)):
            self.save(self.folder / "weights" / f"{record.arch}.safetensors", candidate.arch, record)


class RunFolder(Observer):
    """Writes tables, picture and `run.json` into one folder, and drops weights that left the front.

    Args:
        folder: OUT/STUDY.
        about: plain values for `run.json`.
        budget: its lines are in the picture.
        references: networks that were trained beside the search, for `trials.csv` and the picture.
        retrained: what an earlier `retrain` measured, for `pareto.csv`.
        rejects: what earlier runs of the study found over budget.
    """

    def __init__(
        self,
        folder: Path,
        about: Mapping[str, Any],
        budget: Budget = _NO_BUDGET,
        references: Sequence[Record] = (),
        retrained: Sequence[Retrained] = (),
        rejects: Sequence[Reject] = (),
    ) -> None:
        self.folder, self.about, self.budget = folder, about, budget
        self.score = Score(about.get("metric", ACCURACY))
        self.references, self.retrained = references, retrained
        self.rejects = list(rejects)
        self._written = -1
        self._shown = references
        self._clock, self._spent, self._late = time.monotonic(), 0.0, False
        self._drawn, self._cost, self._stale = -math.inf, 0.0, True

    def reference(self, record: Record, every: Sequence[Record]) -> None:
        """Written with the next candidate."""
        self.references = every

    def started(self, history: Sequence[Record], counts: Counts) -> None:
        """An empty table is a valid one: a run killed in its first training leaves all tables."""
        self._write(history, counts, picture=False)

    def checked(self, counts: Counts, reject: Reject | None) -> None:
        """Rejects cost no file each: they are written in hundreds, and with every finished candidate."""
        if reject is not None:
            self.rejects.append(reject)
            if len(self.rejects) % _REJECTS_EVERY == 0:
                self._write_rejects()

    def finished(self, record: Record, history: Sequence[Record], counts: Counts) -> None:
        """Everything again, with the new candidate; where that takes minutes, only a tenth of the time.

        The picture is as late as it may be, and whole at the end.
        """
        start = time.monotonic()
        self._late = self._spent > _FREE + _SHARE * (start - self._clock)
        if not self._late:
            is_due = start > self._drawn + _PICTURE * self._cost
            self._write(history, counts, picture=is_due)
            drop_weights(self.folder, history)
            end = time.monotonic()
            self._spent += end - start
            if is_due:
                self._drawn, self._cost = end, end - start

    def ended(self, history: Sequence[Record], counts: Counts) -> None:
        """The last counts, and references after which no candidate was trained."""
        if self._late or self._stale or self._shown is not self.references:
            self._write(history, counts, picture=True)
            drop_weights(self.folder, history)
        self._write_rejects()
        self._write_about(counts)

    def _write(self, history: Sequence[Record], counts: Counts, picture: bool) -> None:
        every = [*self.references, *history]
        write_tables(self.folder, every, self.budget, self.retrained, self.score, picture=picture)
        self._stale = not picture
        self._shown = self.references
        self._write_rejects()
        self._write_about(counts)

    def _write_rejects(self) -> None:
        if len(self.rejects) != self._written:
            write_csv(self.folder / "rejected.csv", tables.rejects_table(self.rejects))
            self._written = len(self.rejects)

    def _write_about(self, counts: Counts) -> None:
        write_text(self.folder / "run.json", json.dumps({**self.about, "counts": asdict(counts)}, indent=2) + "\n")


class FrontWeights(Observer):
    """Drops weights that left the front, and does nothing else: for a folder without tables."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def finished(self, record: Record, history: Sequence[Record], counts: Counts) -> None:
        """What the new candidate beats may go."""
        drop_weights(self.folder, history)


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
        return self.config.domain.arch(trial.params)


def drop_weights(folder: Path, history: Sequence[Record]) -> None:
    """Remove the weights of candidates that are not on the front; other files stay."""
    keep = {record.arch for record in front(history)}
    known = {record.arch for record in history}
    for path in (folder / "weights").glob("*.safetensors"):
        if path.stem in known - keep:
            path.unlink(missing_ok=True)
            names_beside(path).unlink(missing_ok=True)


def write_tables(
    folder: Path,
    history: Sequence[Record],
    budget: Budget,
    retrained: Sequence[Retrained] = (),
    score: Score = _ACCURACY,
    *,
    picture: bool = True,
) -> None:
    """Write `pareto.csv`, `trials.csv` and `pareto.png`, each whole; references may be in `history`. Raises OSError."""
    write_csv(folder / "pareto.csv", tables.front_table(history, retrained))
    write_csv(folder / "trials.csv", tables.trials_table(history))
    if picture:
        plot(folder / "pareto.png", history, budget, folder.name, score)


def write_csv(path: Path, frame: Any) -> None:
    """Write a DataFrame as CSV, whole. Raises OSError."""
    write_with(path, lambda temporary: frame.to_csv(temporary, index=False))


def read_rejects(folder: Path) -> list[Reject]:
    """The candidates over budget that an earlier run of the study wrote."""
    import pandas as pd

    path = folder / "rejected.csv"
    if not path.exists():
        return []
    empty = {name: [""] for name in ("params", "size_bytes", "macs", LATENCY)}
    frame = pd.read_csv(path, dtype={"arch": str}, keep_default_na=False, na_values=empty)
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [Reject(**{str(name): _whole(str(name), value) for name, value in row.items()}) for row in rows]


def _whole(name: str, value: Any) -> Any:
    return int(value) if isinstance(value, float) and name != LATENCY else value


def read_counts(folder: Path) -> Counts | None:
    """The counts in `run.json`, None where there is none."""
    path = folder / "run.json"
    return Counts(**json.loads(path.read_text())["counts"]) if path.exists() else None


def environment() -> dict[str, Any]:
    """Versions, machine and git commit, for `run.json`."""
    return {
        "versions": {
            "python": platform.python_version(),
            "archsearch": __version__,
            **{name: version(name) for name in _PACKAGES},
        },
        "machine": platform.platform(),
        "git_commit": _git_commit(),
    }


def _git_commit() -> str | None:
    try:
        here = Path(__file__).parent
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
