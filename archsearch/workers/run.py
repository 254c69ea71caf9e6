"""A run: everything that `archsearch run` does, as a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
import torch

from archsearch._utils.places import check_folder, check_name
from archsearch._utils.units import counted, format_count
from archsearch.data import Dataset, describe
from archsearch.data.splits import validation_share
from archsearch.errors import InputError, StudyError
from archsearch.export.timed import settled
from archsearch.network.blocks.imports import loaded
from archsearch.network.budget import Budget
from archsearch.network.recipe import Recipe
from archsearch.nn.devices import resolve_device
from archsearch.report.best import BestScores
from archsearch.report.dashboard import DashboardCurves, DashboardFront
from archsearch.report.files import ArchFiles, RunFolder, environment, read_counts, read_rejects
from archsearch.report.html import StudyPage
from archsearch.sampler.asha import Rungs
from archsearch.space import inputs
from archsearch.space.balance import idle_limit
from archsearch.space.feasibility import check_feasible
from archsearch.space.reader import default_space, load_space, space_text
from archsearch.space.space import SearchSpace
from archsearch.study.config import StudyConfig, StudyData, default_recipe
from archsearch.study.differences import differences
from archsearch.study.observers import Counts, Observer
from archsearch.study.records import Reject, Terms
from archsearch.study.storage import (
    check_storage,
    create_study,
    is_empty,
    load_study,
    open_storage,
    set_terms,
    sqlite_url,
    stored_references,
    stored_retrained,
    study_names,
)
from archsearch.study.suggestion import suggestion
from archsearch.study.suggestion import words as suggested_words
from archsearch.training.data import TrainingData, check_recipe
from archsearch.training.imbalance import advice
from archsearch.training.judging import require_judged
from archsearch.workers.jobs import Job, jobs_of, workers_of
from archsearch.workers.local import Result
from archsearch.workers.supervisor import Supervisor
from archsearch.workers.worker import study_dataset

_ASIDE = ("format", "teacher_places", "init_from_place")
"""Of a study's settings, what says nothing of its own where they differ."""


@dataclass(frozen=True)
class RunOptions:
    """What a run of a study may choose anew each time.

    `folder`: OUT/STUDY, whose name is the study's. `storage`: an Optuna URL; None: SQLite in the folder.
    `trials`: candidates to be trained in total; `timeout`: seconds after which none is started. `rungs`: who goes on
    after which epoch; None: everybody. `workers`: processes; 0: as many as serve. `references`: first train the
    textbook's networks that fit. `resume`: go on with an existing study; `any_share`: with its share of validation
    images, whatever the config's is. `command`: how it was called, for `run.json`. `notes`: lines for observers
    before the first draw. `data_memory`: bytes of images that a worker's device may hold; more are streamed.
    """

    folder: Path
    data_dir: Path = Path("data")
    storage: str | None = None
    trials: int = 24
    timeout: float | None = None
    sampler: str = "pareto"
    rungs: Rungs | None = None
    workers: int = 1
    device: str = "auto"
    references: bool = False
    resume: bool = False
    any_share: bool = False
    command: str = ""
    notes: tuple[str, ...] = ()
    data_memory: float | None = None

    @property
    def url(self) -> str:
        """The study's storage."""
        return self.storage or sqlite_url(self.folder / "study.db")


@dataclass(frozen=True)
class Preparation:
    """What was chosen by looking at the data, before anything is trained.

    `words`: data, space, budget and device in one line; `about`: what `run.json` says.
    """

    words: str
    workers: int
    device: str
    about: Mapping[str, Any]


def configure(
    budget: Budget,
    dataset: Dataset,
    *,
    space: str | tuple[SearchSpace, str] | None = None,
    recipe: Recipe | None = None,
    image_size: int | Sequence[int] | None = None,
    seed: int = 0,
    deterministic: bool = False,
) -> StudyConfig:
    """What a new study carries.

    Args:
        dataset: the images as `data.load_dataset` gives them; its `share` of validation images is the study's.
        space: a shipped space, or a .toml file, or one that was read and its text; None: the one for images of this
            size.
        recipe: of every candidate; None: the space's, with what is suggested for few photos, 20 epochs else, on the
            digits 5.
        image_size: to which images were resized; several are searched, and `dataset` has the largest.

    Raises:
        SpecError: no such space, or one with faults; a recipe that does not go with these labels.
        InputError: the images are not of the largest size and colour; the dataset brings validation images and has a
            share too, or a share outside of (0, 1).
    """
    space = space or default_space(dataset.input_shape)
    loaded, toml = (load_space(space), space_text(space)) if isinstance(space, str) else space
    sizes = (image_size,) if isinstance(image_size, int) else tuple(image_size or ())
    loaded, own = loaded.with_sizes(sizes), "size" in loaded.input
    if dataset.input_shape != (wanted := inputs.shapes(loaded.input, dataset.input_shape)[-1]):
        own_shape, other = inputs.words([dataset.input_shape]), inputs.words([wanted])
        raise InputError(f"{dataset.name} has images of {own_shape}, the study wants {other}: load them so")
    suggested = suggestion(len(dataset.labels), dataset.input_shape)
    recipe = recipe or default_recipe(loaded, dataset.name, suggested=suggested)
    check_recipe(recipe, dataset, loaded)
    return StudyConfig(
        space_name=loaded.name,
        space_toml=toml,
        budget=settled(budget),
        data=StudyData(
            dataset.name,
            dataset.fingerprint,
            inputs.size_of(loaded.input),
            share_of(dataset),
            dataset.skip_broken,
            dataset.nested,
            sizes if own or len(sizes) > 1 else (),
            dataset.several,
        ),
        input_shape=dataset.input_shape,
        classes=len(dataset.classes),
        recipe=recipe,
        seed=seed,
        deterministic=deterministic,
    )


def share_of(dataset: Dataset) -> float | None:
    """The share of the train images that validates; None where the dataset brings others. Raises InputError."""
    asked = dataset.share
    if asked is not None and not 0 < asked < 1:  # nan too
        raise InputError(f"--validation {asked}: must lie between 0 and 1, such as 0.2")
    if dataset.validation is None:
        return asked or validation_share(len(dataset.labels))
    if asked is not None:
        given = format_count(len(dataset.validation[1]))
        raise InputError(f"--validation {asked}: {dataset.name} brings {given} validation images: leave the option out")
    return None


def run(
    config: StudyConfig, options: RunOptions, observers: Sequence[Observer] = (), dataset: Dataset | None = None
) -> Result:
    """Search, reject, train, and write the front: tables, figure, page and weights in `options.folder`.

    Args:
        config: as `configure` makes it.
        observers: told of everything, after the tables are written.
        dataset: where it was loaded already; None: it is loaded here.

    Returns:
        All finished candidates, counts, and why the search ended.

    Raises:
        NothingFeasible: no candidate of the space fits the budget.
        StudyError: the study exists and `resume` is off, or it was made with other settings; its folder's name is no
            plain one, or folder or storage can't be written to.
        DataError: the dataset is missing or broken.
        KeyboardInterrupt: everything finished is saved.
    """
    check_feasible(config.domain, config.budget)
    check_place(options.folder, options.storage)
    study, config = _opened(config, options)
    device = resolve_device(options.device)
    images = dataset or study_dataset(config.data.name, options.data_dir, config)
    preparation = prepare(config, options, replace(images, share=config.data.validation), device)
    return _search(study, config, options, preparation, observers)


def check_place(folder: Path, storage: str | None = None) -> None:
    """Refuse a folder whose name is no study's or that can't be written to, and a storage in a file of something else.

    Raises:
        StudyError: one line that says which.
    """
    check_name(folder.name)
    check_folder(folder)
    if storage is not None:
        check_storage(storage)


def _opened(config: StudyConfig, options: RunOptions) -> tuple[optuna.Study, StudyConfig]:
    """As `open_study`, in a folder that is there; folders made for it go again where it fails."""
    made = [folder for folder in (options.folder, *options.folder.parents) if not folder.exists()]
    options.folder.mkdir(parents=True, exist_ok=True)
    try:
        return open_study(config, options)
    except BaseException:
        with suppress(OSError):  # one that holds something stays, and those above it
            for folder in made:
                folder.rmdir()
        raise


def prepare(config: StudyConfig, options: RunOptions, dataset: Dataset, device: torch.device) -> Preparation:
    """Look at the data, which are not kept. Raises InputError where they leave the metric undefined."""
    require_judged(config.metric, dataset, config.seed)
    data = TrainingData.of(dataset, config.seed, torch.device("cpu"), options.data_memory)
    workers = workers_of(options.workers, config, data, device)
    crew = f"; {workers} workers" if workers > 1 else ""
    idle, shapes = idle_limit(config.domain, config.budget), config.domain.shapes
    about = {
        "command": options.command,
        **config.to_json(),
        **({"inputs": [list(shape) for shape in shapes]} if len(shapes) > 1 else {}),
        "device": str(device),
        "workers": workers,
        "rungs": options.rungs.at if options.rungs else [],
        **environment(),
        "data_notes": [
            *describe(dataset),
            *suggested_words(len(dataset.labels), config.input_shape, config.recipe),
            *advice(dataset.labels, config.classes, config.recipe, config.metric),
        ],
        "limit_notes": [idle.words] if idle else [],
        "settled_recipe": data.settle(config.recipe).to_dict(),
    }
    judged = "" if config.score.is_accuracy else f"; by {config.score.words}"
    words = f"{_images(config, data)}{judged}; space {config.space_name}, {config.budget.words}; {device}{crew}"
    return Preparation(words, workers, str(device), about)


def _images(config: StudyConfig, data: TrainingData) -> str:
    return (
        f"{config.data.name}, {len(data.train):,} train and {len(data.validation):,} validation images"
        f" of {inputs.words(config.domain.shapes)}, {counted(config.classes, 'class')}"
        f"{', several per image' if config.data.several else ''}"
    )


def _search(
    study: optuna.Study,
    config: StudyConfig,
    options: RunOptions,
    preparation: Preparation,
    observers: Sequence[Observer],
) -> Result:
    for observer in observers:
        observer.prepared(preparation.words, preparation.about)
        for line in (*options.notes, *preparation.about["limit_notes"]):
            observer.noted(line)
    folder = options.folder
    counts, rejects = _before(study, folder)
    files = RunFolder(
        folder, preparation.about, config.budget, stored_references(study), stored_retrained(study), rejects
    )
    every = [
        ArchFiles(folder, study, config),
        files,
        *observers,
        DashboardCurves(study),
        BestScores(folder, config, options.data_dir, preparation.device, study_dataset),
        StudyPage(folder, study, config),
        DashboardFront(folder, study),
    ]
    set_terms(study, Terms(options.trials, options.sampler, options.rungs, config.data.name))
    job = _job(study.study_name, config, options, preparation, rejects)
    return Supervisor(study, jobs_of(job, preparation.workers), every, counts).run()


def _before(study: optuna.Study, folder: Path) -> tuple[Counts | None, list[Reject]]:
    """Counts and rejects of earlier runs; what lies in the folder of an empty study is of one that is gone."""
    if not study.get_trials(deepcopy=False):
        return None, []
    return read_counts(folder), read_rejects(folder)


def _job(
    study: str, config: StudyConfig, options: RunOptions, preparation: Preparation, rejects: Sequence[Reject]
) -> Job:
    return Job(
        url=options.url,
        study=study,
        folder=options.folder.absolute(),
        dataset=config.data.name,
        data_dir=options.data_dir.absolute(),
        device=preparation.device,
        timeout=options.timeout,
        references=options.references,
        rejected=tuple(reject.arch for reject in rejects),
        shared=options.storage is not None,
        imports=loaded(),
        known=config.known,
        memory=options.data_memory,
    )


def open_study(config: StudyConfig, options: RunOptions) -> tuple[optuna.Study, StudyConfig]:
    """A new study, or with `resume` the existing one if space, budget, data and seed are the same; and its settings.

    Raises:
        StudyError: it exists and `resume` is off, or it was made with other settings.
    """
    storage, name = open_storage(options.url), options.folder.name
    if not options.resume or name not in study_names(storage) or is_empty(storage, name):
        return create_study(storage, name, config, resume=options.resume), config
    study, old = load_study(storage, name)
    if old.data.fingerprint == config.data.fingerprint:  # the images are the same, however they were asked for
        config = replace(config, data=replace(config.data, skip_broken=old.data.skip_broken, nested=old.data.nested))
    if options.any_share:
        config = replace(config, data=replace(config.data, validation=old.data.validation))
    before, now = ({key: value for key, value in one.to_json().items() if key not in _ASIDE} for one in (old, config))
    other = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if other:
        raise StudyError(
            f"study {name!r} was made with another {' and '.join(other)}: choose another --study"
            f" ({'; '.join(differences(before, now))})"
        )
    return study, config
