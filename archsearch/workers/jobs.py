"""How many workers serve a study here, and what each of them is told."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import torch

from archsearch.errors import SpecError
from archsearch.network.arch import Arch
from archsearch.network.budget import Budget
from archsearch.study.config import Known, StudyConfig
from archsearch.training.data import TrainingData
from archsearch.training.memory import predictor, workers_that_fit

_LOOKS, _TRIES = 20, 2000
_ON_A_GPU = 4
"""Workers that are chosen for a GPU at most: more were not measured, and each proposes without the others' results."""


@dataclass(frozen=True)
class Job:
    """What a worker process needs beside the study, which carries all that its workers have in common.

    `threads` is a number of CPU threads, None for all; `timeout` in seconds; `rejected` are ids that were counted.
    `index` sets the study's workers apart. `shared`: others train on the same device, so its memory is looked after.
    `estimates`: measures first how long a candidate takes here. `before` are the numbers of the trials of earlier runs.
    `imports` are what registers the user's own blocks. `known` says where teachers and networks to begin with lie here.
    `memory`: bytes of images from which on they are streamed.
    """

    url: str
    study: str
    folder: Path
    dataset: str
    data_dir: Path
    device: str
    timeout: float | None = None
    threads: int | None = None
    references: bool = False
    rejected: tuple[str, ...] = ()
    index: int = 0
    shared: bool = False
    before: frozenset[int] = frozenset()
    estimates: bool = False
    imports: tuple[str, ...] = ()
    known: Known = field(default_factory=Known)
    memory: float | None = None


def jobs_of(job: Job, count: int) -> list[Job]:
    """One job a worker; the first makes the estimate and trains the references, and several share the cores."""
    threads = max(1, cores() // count) if count > 1 else None
    return [
        replace(
            job,
            index=job.index + i,
            threads=threads,
            shared=job.shared or count > 1,
            references=job.references and not i,
            estimates=not i,
        )
        for i in range(count)
    ]


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def workers_of(asked: int, config: StudyConfig, data: TrainingData, device: torch.device) -> int:
    """The number of workers; 0 asks for as many as serve: by memory on a GPU, one for two cores without."""
    if asked:
        return asked
    if device.type != "cuda":
        return max(1, cores() // 2)
    predict = predictor(data, config.recipe, device, config.domain.shapes)
    found = [predict(arch) for arch in islice(_candidates(config), _LOOKS)]
    most = min(_ON_A_GPU, cores())
    return workers_that_fit(found, torch.cuda.mem_get_info(device)[0], most) if found else 1


def median_candidate(config: StudyConfig) -> Arch | None:
    """Of some random candidates inside the budget the one with the median of MACs; None where none was drawn."""
    found = sorted(islice(_candidates(config), _LOOKS), key=lambda arch: arch.cost.macs)
    return found[len(found) // 2] if found else None


def _candidates(config: StudyConfig) -> Iterator[Arch]:
    """Random candidates inside the budget."""
    rng = random.Random(0)
    drawn = (config.domain.random(rng) for _ in range(_TRIES))
    return (arch for arch in drawn if _fits(arch, config.budget))


def _fits(arch: Arch, budget: Budget) -> bool:
    try:
        return budget.check(arch.cost).ok
    except SpecError:
        return False
