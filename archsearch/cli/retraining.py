"""The trainings of one `archsearch retrain`, and what it prints of them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archsearch._utils.scores import ACCURACY, Score
from archsearch._utils.units import counted, format_count, format_seconds
from archsearch.cli.screen import columns, say
from archsearch.cli.settings import command_line
from archsearch.errors import InputError, StopTraining, TrainingFailed
from archsearch.network.arch import Arch
from archsearch.network.layers import Shape
from archsearch.network.recipe import Recipe

if TYPE_CHECKING:
    from archsearch.retrain.plan import Plan
    from archsearch.study.config import StudyConfig
    from archsearch.study.records import Retrained

_QUIET = 60.0


@dataclass(frozen=True)
class Target:
    """What to train, in which folder, and what is known of it. `study` is None for a file or a reference."""

    archs: Sequence[Arch]
    folder: Path
    recipe: Recipe
    dataset: str | None
    image_size: int | None = None
    colour: str | None = None
    split_seed: int = 0
    share: float | None = None
    study: Any = None
    config: StudyConfig | None = None


def seeds_of(options: Mapping[str, Any]) -> range:
    """Of the trainings of each network."""
    return range(options["first_seed"], options["first_seed"] + options["seeds"])


def _notes(folder: Path) -> list[Any]:
    """What `retrain.json` says of earlier calls, oldest first. Raises InputError."""
    path = folder / "retrain.json"
    try:
        found = json.loads(path.read_text()) if path.exists() else []
    except ValueError:
        found = None
    if not isinstance(found, list):
        raise InputError(f"{path}: not what `retrain` wrote: remove the file")
    return found


class Retraining:
    """All trainings of one command: every network once, then once more with the next seed."""

    def __init__(
        self, plans: Mapping[Shape, Plan], target: Target, archs: Sequence[Arch], options: Mapping[str, Any]
    ) -> None:
        self.plans, self.target, self.archs = plans, target, archs
        self.plan = next(iter(plans.values()))  # for what all have in common
        self.seeds = seeds_of(options)
        self.overwrite = options["overwrite"]
        self.failed = 0

    def run(self) -> int:
        """Exit status: 0, or 1 if a training failed."""
        from archsearch.retrain.plan import finished, forget

        _notes(self.target.folder)  # before anything is forgotten
        if self.overwrite:
            for arch in self.archs:
                forget(self._plan_of(arch), arch)
                self._forget(arch)
        pairs = [(arch, seed) for seed in self.seeds for arch in self.archs]
        before = range(self.seeds.stop)  # of other commands too: all trainings of a network have one recipe
        done = {(arch.id, seed) for arch in self.archs for seed in before if finished(self._plan_of(arch), arch, seed)}
        left = [pair for pair in pairs if (pair[0].id, pair[1]) not in done]
        self._open(len(pairs) - len(left), len(left))
        for count, (arch, seed) in enumerate(left):
            if not self._train(arch, seed):
                say(
                    f"time is up, {len(left) - count:,} of {counted(len(pairs), 'training')} left:"
                    " the same command goes on"
                )
                break
        self._tables(echo=True)
        self._page()
        return 1 if self.failed else 0

    def _open(self, done: int, left: int) -> None:
        from archsearch.data import describe
        from archsearch.study.suggestion import words
        from archsearch.training.imbalance import advice

        data, folder = self.plan.data, self.target.folder
        more = f", {done:,} {'is' if done == 1 else 'are'} finished" if done else ""
        say(
            f"{counted(len(self.archs), 'network')} on {counted(len(data.train), 'image')} of {data.dataset.name},"
            f" {data.device}: {counted(left, 'training')} of {counted(self.plan.epochs, 'epoch')}{more}"
        )
        recipe = self.plan.recipe_of(self.archs[0])
        name = self.plan.metric.name if self.plan.metric else ACCURACY
        say(
            *describe(data.dataset),
            *words(len(data.dataset.labels), data.dataset.input_shape, recipe),
            *advice(data.dataset.labels, len(data.dataset.classes), recipe, name),
        )
        if not self.target.study:
            for arch in self.archs:
                arch.dump(folder / "archs" / f"{arch.id}.toml")
        if left:
            self._note()
        self._tables()

    def _note(self) -> None:
        """What was asked for, in `retrain.json`, after what was asked for before."""
        from archsearch._utils.files import write_text
        from archsearch.report.files import environment

        dataset = self.plan.data.dataset
        about = {
            "command": command_line(),
            "dataset": {"name": dataset.name, "fingerprint": dataset.fingerprint},
            "images": len(self.plan.data.train),
            **({"metric": self.plan.metric.name} if self.plan.metric else {}),
            "device": str(self.plan.data.device),
            "start": self.plan.start,
            **environment(),
        }
        notes = [*_notes(self.target.folder), about]
        write_text(self.target.folder / "retrain.json", json.dumps(notes, indent=2) + "\n")

    def _train(self, arch: Arch, seed: int) -> bool:
        """One training; False if the time is up."""
        from archsearch.retrain.plan import retrain as train

        label = f"{arch.id} seed {seed}"
        clock = last = time.monotonic()

        def report(epoch: int, accuracy: float, metrics: Mapping[str, float] | None = None) -> None:
            nonlocal last
            epochs, now = self.plan.epochs, time.monotonic()
            if epoch < epochs and now - last > _QUIET:
                last = now
                say(f"{label}: epoch {epoch} of {epochs} after {format_seconds(now - clock)}")
            if epoch < epochs and self._is_over():
                raise StopTraining("time is up")

        if self._is_over():
            return False
        try:
            row = train(self._plan_of(arch), arch, seed, report)
        except StopTraining:
            return False
        except TrainingFailed as error:
            self.failed += 1
            say(f"{label}: failed: {error}")
            return True
        extra = "" if row.mirrored is None else f", with mirror images {100 * row.mirrored:.2f}%"
        accuracy = f"{100 * row.test_accuracy:.2f}%{extra}"
        say(f"{label}: test {self._scored(row)}{accuracy}, {format_seconds(row.train_seconds)}")
        self._tables()
        return True

    @property
    def score(self) -> Score:
        """What is measured on the test split: the accuracy, or the plan's metric too."""
        return Score(self.plan.metric.name if self.plan.metric else ACCURACY)

    def _scored(self, row: Retrained) -> str:
        """`macro F1 0.8123, accuracy `; empty where that is all."""
        if self.score.is_accuracy:
            return ""
        found = "not defined" if row.test_score is None else self.score.shown(row.test_score)
        return f"{self.score.words} {found}, accuracy "

    def _plan_of(self, arch: Arch) -> Plan:
        return self.plans[arch.input_shape]

    def _summary(self, arch: Arch) -> str:
        config = self.target.config
        return config.domain.summary(arch) if config else arch.summary

    def _is_over(self) -> bool:
        return time.monotonic() >= self.plan.until

    def _forget(self, arch: Arch) -> None:
        from archsearch.study.storage import drop_retrained

        if self.target.study:
            drop_retrained(self.target.study, arch.id)

    def _tables(self, echo: bool = False) -> None:
        """`retrain.csv`, the study and its tables, from the weights that are there."""
        from archsearch.report.files import write_csv, write_tables
        from archsearch.report.tables import retrained_table
        from archsearch.retrain.plan import rows_of
        from archsearch.study.storage import add_retrained, records, stored_references, stored_retrained

        rows, study, config = rows_of(self.target.folder), self.target.study, self.target.config
        write_csv(self.target.folder / "retrain.csv", retrained_table(rows))
        if study and config:
            known = stored_retrained(study)
            for row in rows:
                if row not in known:
                    add_retrained(study, row)
            history = [*stored_references(study), *records(study)]
            write_tables(self.target.folder, history, config.budget, stored_retrained(study), config.score)
        if echo:
            self._print(rows)

    def _page(self) -> None:
        study, config = self.target.study, self.target.config
        if study and config:
            from archsearch.report.html import write_page

            write_page(self.target.folder, study, config)

    def _print(self, rows: Sequence[Retrained]) -> None:
        from archsearch.report.html.words import score_words
        from archsearch.report.tables import tested

        found = tested([row for row in rows if row.arch in {arch.id for arch in self.archs}])
        more = () if self.score.is_accuracy else (f"test {self.score.words}",)
        table: list[tuple[str, ...]] = [("network", "params", *more, "test accuracy", "seeds", "")]
        for arch in self.archs:
            if result := found.get(arch.id):
                cells = (*(score_words(result, self.score) for _ in more), score_words(result), str(result.seeds))
                table.append((arch.id, format_count(arch.cost.params), *cells, self._summary(arch)))
        for line in columns(table, left=(0, 4 + len(more)), cut=True) if len(table) > 1 else []:
            say(line)
        say(f"weights, retrain.csv: {self.target.folder}/")
