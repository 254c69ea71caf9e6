"""Candidates trained one after the other, as a search wants them evaluated."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from archsearch import weights
from archsearch.arch import Arch
from archsearch.checkpoint import Checkpoint
from archsearch.devices import Stopwatch, peak_memory, reset_peak
from archsearch.errors import InputError, TrainingFailed, one_line
from archsearch.setup import TrainingSetup
from archsearch.train import Report, fit


class Trainer:
    """Evaluates candidates for a search, and keeps the last trained module so that it can be saved.

    The seed of a candidate's training comes from the setup's seed and the candidate's id alone, so that it
    does not depend on what was trained before.

    Args:
        checkpoint: gives each network's, of a training that an earlier process may have begun; None: none is kept.

    Attributes:
        usage: of the last training's part in this process, also if it was stopped or failed: images_per_second
            (training, with data), data_seconds, step_seconds, eval_seconds, overhead_seconds (the rest),
            peak_memory_bytes.
        before: seconds of the last training that an earlier process has spent.
        metrics: of the last epoch that was reported, as `fit` gives them.
    """

    def __init__(self, setup: TrainingSetup, checkpoint: Callable[[Arch], Checkpoint] | None = None) -> None:
        self.setup = setup
        self.checkpoint = checkpoint
        self.module: nn.Module | None = None
        self.usage: dict[str, float] = {}
        self.metrics: dict[str, float] = {}
        self.before = 0.0

    def __call__(self, arch: Arch, report: Report) -> float:
        """Train `arch`; returns its validation accuracy after the last epoch. Raises TrainingFailed."""
        curve: list[float] = []
        device = self.setup.data.device
        clock, watch = time.perf_counter(), Stopwatch(device)
        reset_peak(device)
        self.module, self.usage, self.metrics, self.before = None, {}, {}, 0.0

        def note(number: int, value: float) -> None:
            curve.append(value)
            report(number, value)

        checkpoint = self.checkpoint(arch) if self.checkpoint else None
        try:
            self.module = self._fit(arch, note, watch, checkpoint)
        finally:
            self.before = checkpoint.before if checkpoint else 0.0
            epochs = len(curve) - (checkpoint.epochs if checkpoint else 0)
            self.usage = self._used(watch, time.perf_counter() - clock, max(0, epochs))
        return curve[-1] if curve else math.nan

    def _fit(self, arch: Arch, report: Report, watch: Stopwatch, checkpoint: Checkpoint | None) -> nn.Module:
        setup = replace(self.setup, seed=self._seed(arch))
        try:
            return fit(arch, setup, report, watch=watch, checkpoint=checkpoint, metrics=self.metrics)
        except InputError as error:  # a recipe that is none, or a searched crop or cutout larger than the images
            raise TrainingFailed(str(error)) from None
        except RuntimeError as error:
            # torch raises nothing more specific for a layer that breaks or memory that the CPU lacks.
            raise TrainingFailed(one_line(error)) from error

    def _used(self, watch: Stopwatch, wall: float, epochs: int) -> dict[str, float]:
        seconds = {"data": 0.0, "step": 0.0, "eval": 0.0, **watch.seconds()}
        training = seconds["data"] + seconds["step"]
        return {
            "images_per_second": round(epochs * len(self.setup.data.train) / training, 1)
            if epochs and training
            else 0.0,
            **{f"{name}_seconds": round(value, 3) for name, value in seconds.items()},
            "overhead_seconds": round(wall - sum(seconds.values()), 3),
            "peak_memory_bytes": peak_memory(self.setup.data.device),
        }

    def _seed(self, arch: Arch) -> int:
        return int.from_bytes(hashlib.sha256(f"{self.setup.seed}/{arch.id}".encode()).digest()[:4], "big")

    @property
    def trained(self) -> nn.Module:
        """The last trained module. Raises RuntimeError where there is none."""
        if self.module is None:
            raise RuntimeError("nothing was trained yet")
        return self.module

    def save(self, path: Path, arch: Arch, **info: Any) -> None:
        """Write the last trained module as a weights file. Raises OSError."""
        dataset = self.setup.data.dataset
        mean, std = dataset.normalisation
        weights.save(
            path,
            self.trained,
            arch,
            {
                "dataset": dataset.name,
                "seed": self.setup.seed,
                "validation": dataset.share,
                "recipe": self.setup.recipe_of(arch).to_dict(),
                "normalisation": {"mean": list(mean), "std": list(std)},
                "classes": list(dataset.classes),
                **info,
            },
        )
