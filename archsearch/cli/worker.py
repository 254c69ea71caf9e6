"""`archsearch worker`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from archsearch._utils.places import check_folder, check_name
from archsearch._utils.seeds import seed_of
from archsearch._utils.units import counted
from archsearch.cli.known import init_from_option, teacher_option
from archsearch.cli.options import (
    data_dir_option,
    data_memory_option,
    device_option,
    out_option,
    storage_option,
    timeout_option,
)
from archsearch.cli.settings import Workers
from archsearch.errors import DataError

if TYPE_CHECKING:
    import optuna

    from archsearch.study.config import Known, StudyConfig
    from archsearch.workers.jobs import Job


@click.command()
@storage_option(required=True)
@click.option("--study", required=True, help="Name of the study, which `archsearch run` has made.")
@click.option("--dataset", help="Where the study's images are on this machine.  [default: as `run` was told]")
@data_dir_option
@teacher_option
@init_from_option
@device_option
@data_memory_option
@click.option(
    "--workers", type=Workers(), default="1", show_default=True, help="Processes that train at the same time, or auto."
)
@timeout_option
@out_option
def worker(**options: Any) -> int:
    """Join a study from any machine that reaches its storage, and train for it until it has its total.

    The study says what to train and how; only the images must be here, the same as there. Architectures and weights
    of what is trained here are in OUT/STUDY; tables are written by `archsearch run`, on one machine.
    """
    check_name(options["study"])
    check_folder(options["out"] / options["study"])
    from archsearch.workers.processes import prepare

    prepare()  # first: what workers import is imported while this process imports what it needs

    import optuna

    from archsearch.export.timed import require
    from archsearch.study.storage import load_study, open_storage

    optuna.logging.set_verbosity(optuna.logging.ERROR)  # of outages we speak ourselves
    study, config = load_study(open_storage(options["storage"]), options["study"])
    require(config.budget, options["data_dir"])
    return _join(study, config, options)


def _join(study: optuna.Study, config: StudyConfig, options: Mapping[str, Any]) -> int:
    from archsearch.cli.live import Lines
    from archsearch.report.files import FrontWeights
    from archsearch.study.storage import terms_of
    from archsearch.workers.supervisor import Supervisor

    terms = terms_of(study)
    job = _job(study.study_name, options["dataset"] or terms.dataset, _places(config.known, options), options)
    try:
        jobs = _jobs(job, config, options["workers"])
    except DataError as error:
        raise DataError(f"{error}; where the study's images lie on this machine: --dataset") from None
    view = Lines(terms.trials, config.recipe.epochs, score=config.score)
    view.head(f"archsearch: joins study {study.study_name!r} on {jobs[0].device}, {counted(len(jobs), 'worker')}")
    with view:
        result = Supervisor(study, jobs, [FrontWeights(job.folder), view], others=False).run()
    view.tail(f"{view.done} trained here; the study has {result.counts.trained} of {terms_of(study).trials}")
    return 1 if result.reason == "failures" else 0


def _places(known: Known, options: Mapping[str, Any]) -> Known:
    """Where teachers and networks to begin with are on this machine: as `run` was told, unless it is said."""
    teachers = options["teachers"] or known.teachers
    return replace(known, teachers=tuple(teachers), init_from=options["init_from"] or known.init_from)


def _job(study: str, dataset: str, known: Known, options: Mapping[str, Any]) -> Job:
    from archsearch.network.blocks.imports import loaded
    from archsearch.study.leases import worker_name
    from archsearch.workers.jobs import Job

    # Workers of one seed and one index would draw the same: each machine and process has numbers of its own.
    mine = seed_of(worker_name(os.getpid()))
    return Job(
        url=options["storage"],
        study=study,
        folder=(options["out"] / study).absolute(),
        dataset=dataset,
        data_dir=options["data_dir"].absolute(),
        device=options["device"],
        timeout=options["timeout"],
        index=mine,
        shared=True,
        imports=loaded(),
        known=known,
        memory=options["data_memory"],
    )


def _jobs(job: Job, config: StudyConfig, asked: int) -> list[Job]:
    """One job a worker, once this machine's images are seen to be the study's. Raises StudyError."""
    from archsearch.cli.decoding import Decoding
    from archsearch.nn.devices import resolve_device
    from archsearch.retrain.given import given_again
    from archsearch.training.data import TrainingData
    from archsearch.workers.jobs import jobs_of, workers_of
    from archsearch.workers.worker import check_dataset, study_dataset

    device = resolve_device(job.device)
    with Decoding() as watch:
        dataset = study_dataset(job.dataset, job.data_dir, config, watch=watch)
    check_dataset(dataset, job.dataset, job.study, config)
    given_again(job.known, config.known, dataset)
    if asked:
        return jobs_of(replace(job, device=str(device)), asked)
    data = TrainingData.of(dataset, config.seed, device, job.memory)
    count = workers_of(0, config, data, device)
    return jobs_of(replace(job, device=str(device)), count)
