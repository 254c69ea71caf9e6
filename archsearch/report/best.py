"""The most accurate network of a study, judged on the validation images when the search ends: `scores.json`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from archsearch._utils.files import write_text
from archsearch.data import Dataset
from archsearch.errors import ArchsearchError, one_line
from archsearch.inference import open_runner
from archsearch.inference.mistakes import confident_mistakes
from archsearch.inference.scores import judge, logits_of, sample
from archsearch.metrics.thresholds import thresholds_in
from archsearch.network.layers import Shape
from archsearch.report.scores import for_page
from archsearch.study.config import StudyConfig
from archsearch.study.observers import Counts, Observer
from archsearch.study.records import Record, front

Load = Callable[[str, Path, StudyConfig, Shape], Dataset]
NAME = "scores.json"
_MACS = {"cpu": 1e10}
_MACS_ELSEWHERE = 1e12
_LEAST, _CELLS = 200, 200_000
"""Images that are judged at least; multiply-accumulates, and images x classes, that a second or two are enough for."""


class BestScores(Observer):
    """Writes `scores.json` when the search ends; belongs before whoever writes the page.

    Args:
        folder: OUT/STUDY.
        config: what the study carries.
        data_dir: where its images lie.
        device: where the network runs.
        load: the images that a study wants, of a shape, as `workers.worker.study_dataset`.
    """

    def __init__(self, folder: Path, config: StudyConfig, data_dir: Path, device: str, load: Load) -> None:
        self.folder, self.config, self.data_dir, self.device, self.load = folder, config, data_dir, device, load

    def ended(self, history: Sequence[Record], counts: Counts) -> None:
        """Only where there is another network than the last time; a dataset that is gone ends no search."""
        best = front(history)[-1:]
        for record in best:
            path = self.folder / "weights" / f"{record.arch}.safetensors"
            if not path.exists() or "accuracy" in scores_of(self.folder, record.arch):
                return
            try:
                found = self._judged(path)
            except (ArchsearchError, OSError, RuntimeError) as error:
                found = {"missing": str(error) if isinstance(error, ArchsearchError) else one_line(error)}
            write_text(self.folder / NAME, json.dumps({"arch": record.arch, **found}) + "\n")

    def _judged(self, path: Path) -> dict[str, Any]:
        runner = open_runner(path, torch.device(self.device))
        dataset = self.load(self.config.data.name, self.data_dir, self.config, runner.arch.input_shape)
        _, validation = dataset.parts(self.config.seed)
        few = _MACS.get(torch.device(self.device).type, _MACS_ELSEWHERE) / max(1, runner.arch.cost.macs)
        part = sample(validation, max(_LEAST, int(min(few, _CELLS / runner.arch.classes))))
        logits, (images, labels) = logits_of(runner, part), part
        thresholds = thresholds_in(runner.info, len(dataset.classes))
        of = f" {len(labels):,} of {len(validation[1]):,}" if len(labels) < len(validation[1]) else ""
        return for_page(
            f"{path.name} on the{of} validation images",
            judge(logits, labels, dataset.classes, (logits, labels), thresholds),
            images,
            confident_mistakes(logits, labels, dataset.classes),
        )


def scores_of(folder: Path, arch: str) -> Mapping[str, Any]:
    """What `scores.json` says of a network; nothing where it is of another one, broken, or not there."""
    path = folder / NAME
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) and found.get("arch") == arch else {}
