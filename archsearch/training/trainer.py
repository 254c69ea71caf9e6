"""Candidates trained one after the other, as a search wants them evaluated."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from archsearch._utils.seeds import seed_of
from archsearch.errors import DataError, InputError, SpecError, StopTraining, TrainingFailed, one_line
from archsearch.evaluation import Evaluation, Relay, Report
from archsearch.network.arch import Arch
from archsearch.nn import weights
from archsearch.nn.devices import Stopwatch, peak_memory, reset_peak
from archsearch.training import several
from archsearch.training.checkpoint import Checkpoint
from archsearch.training.fit import Trained, fit
from archsearch.training.setup import Birth, Births, TrainingSetup
from archsearch.training.thread_tuner import ThreadTuner


class Trainer:
    """Evaluates candidates for a search, and keeps the last trained module so that it can be saved.

    The seed of a candidate's training comes from the setup's seed and the candidate's id alone, so that it
    does not depend on what was trained before.

    Args:
        checkpoint: gives each network's, of a training that an earlier process may have begun; None: none is kept.
        births: says how a candidate begins with another's weights. Its epochs are the last ones of those that it would
            train from scratch: of 20 a candidate that trains 12 reports 9 to 20, beside others that stand there.

    Attributes:
        birth: of the last candidate, None where it began from scratch.
        evaluation: of the last training, also if it was stopped or failed. Its usage is that of the part in this
            process: images_per_second (training, with data), data_seconds, step_seconds, eval_seconds,
            overhead_seconds (the rest), peak_memory_bytes; where the setup has a start that tells, init_share.
    """

    def __init__(
        self,
        setup: TrainingSetup,
        checkpoint: Callable[[Arch], Checkpoint] | None = None,
        births: Births | None = None,
    ) -> None:
        self.setup = replace(setup, tuner=setup.tuner or ThreadTuner(setup.threads))
        self.checkpoint = checkpoint
        self.births = births
        self.birth: Birth | None = None
        self.module: nn.Module | None = None
        self.evaluation = Evaluation(math.nan)
        self._taken: float | None = None

    def __call__(self, arch: Arch, report: Report) -> Evaluation:
        """Train `arch`; its score is the setup's metric on the validation images after the last epoch, or accuracy.

        Raises TrainingFailed.
        """
        device = self.setup.of(arch).data.device  # loaded first: the time is none of the training's parts
        watch = Stopwatch(device)
        reset_peak(device)
        self.module, self.evaluation, self._taken = None, Evaluation(math.nan), None
        checkpoint = self.checkpoint(arch) if self.checkpoint else None
        self.birth = self._born(arch)
        if self.birth and checkpoint:
            checkpoint.key = f"{checkpoint.key} {self.birth.parent} {self.birth.epochs}"
        try:
            trained = self._fit(arch, report, watch, checkpoint)
        except Exception as error:
            self.evaluation = self._measured(watch, checkpoint)
            if isinstance(error, StopTraining | TrainingFailed):
                error.evaluation = self.evaluation
            raise
        self.module = trained.module
        measured = self._measured(watch, checkpoint)
        self.evaluation = replace(measured, score=trained.score, metrics=trained.metrics)
        return self.evaluation

    def _fit(self, arch: Arch, report: Report, watch: Stopwatch, checkpoint: Checkpoint | None) -> Trained:
        own, told = replace(self._own, seed=seed_of(self.setup.seed, arch.id)), Relay(report)
        if own.start:
            own = replace(own, start=self._start)
        try:
            skipped = self.setup.recipe_of(arch).epochs - self.birth.epochs if self.birth else 0
            return fit(arch, own, _later(told, skipped), watch=watch, checkpoint=checkpoint)
        except (InputError, RuntimeError) as error:
            if error is told.error or isinstance(error, DataError):  # images that are gone are no network's fault
                raise
            # A recipe that is none, or a searched crop or cutout larger than the images.
            if isinstance(error, InputError):
                raise TrainingFailed(str(error)) from None
            # torch raises nothing more specific for a layer that breaks or memory that the CPU lacks.
            raise TrainingFailed(one_line(error)) from error

    def _born(self, arch: Arch) -> Birth | None:
        try:
            return self.births(arch, self.setup.recipe_of(arch).epochs) if self.births else None
        except SpecError:  # no recipe: its training says so
            return None

    @property
    def _own(self) -> TrainingSetup:
        """The setup with what the last candidate begins with, for fewer epochs."""
        if not self.birth:
            return self.setup
        overrides = {**self.setup.overrides, "epochs": self.birth.epochs}
        return replace(self.setup, start=self.birth.start, overrides=overrides)

    def _start(self, module: nn.Module) -> None:
        """What the start does; keeps what it tells."""
        if start := self._own.start:
            self._taken = start(module)

    def _measured(self, watch: Stopwatch, checkpoint: Checkpoint | None) -> Evaluation:
        """What is known of a training without its end."""
        wall, data = watch.elapsed, self.setup.data
        seconds = {"data": 0.0, "step": 0.0, "eval": 0.0, **watch.seconds()}
        training = seconds["data"] + seconds["step"]
        images = watch.laps["eval"] * len(data.train)
        usage = {
            "images_per_second": round(images / training, 1) if images and training else 0.0,
            **{f"{name}_seconds": round(value, 3) for name, value in seconds.items()},
            "overhead_seconds": round(wall - sum(seconds.values()), 3),
            "peak_memory_bytes": peak_memory(data.device),
            **({} if self._taken is None else {"init_share": round(self._taken, 4)}),
            **(self.birth.usage if self.birth else {}),
        }
        return Evaluation(math.nan, usage, before=checkpoint.before if checkpoint else 0.0)

    @property
    def trained(self) -> nn.Module:
        """The last trained module. Raises RuntimeError where there is none."""
        if self.module is None:
            raise RuntimeError("nothing was trained yet")
        return self.module

    def save(self, path: Path, arch: Arch, **info: Any) -> None:
        """Write the last trained module as a weights file. Raises OSError."""
        dataset = self.setup.of(arch).data.dataset
        mean, std = dataset.normalisation
        weights.save(
            path,
            self.trained,
            arch,
            {
                "dataset": dataset.name,
                "seed": self.setup.seed,
                "validation": dataset.share,
                "recipe": self._own.recipe_of(arch).to_dict(),
                "normalisation": {"mean": list(mean), "std": list(std)},
                "classes": list(dataset.classes),
                **({"range": list(dataset.range)} if dataset.range else {}),
                **({"colour": dataset.colour} if dataset.colour else {}),
                **(several.about(self.trained, self.setup.of(arch).data.validation) if dataset.several else {}),
                **info,
            },
        )


def _later(report: Report, skipped: int) -> Report:
    """A report of epochs that come behind so many others."""

    def told(epoch: int, accuracy: float, metrics: Mapping[str, float] | None = None, /) -> None:
        report(epoch + skipped, accuracy, metrics)

    return told if skipped else report
