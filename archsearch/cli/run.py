"""`archsearch run`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archsearch.budget import Budget
from archsearch.cli.options import SECONDS, budget_of, data_dir_option, limits, lower_limits, out_option, storage_option
from archsearch.cli.settings import (
    DIGITS_EPOCHS,
    EPOCHS,
    Plan,
    Workers,
    default_name,
    differences,
    jobs_of,
    plan_of,
    recipe_of,
    rungs_of,
    share_of,
)
from archsearch.config import StudyConfig, StudyData
from archsearch.errors import StudyError
from archsearch.space import DEFAULT_SPACE, SearchSpace, load_space, space_text
from archsearch.units import format_count

if TYPE_CHECKING:
    from archsearch.records import Record
    from archsearch.search import Result


@click.command()
@limits
@lower_limits
@click.option("--space", default=DEFAULT_SPACE, show_default=True, help="A shipped space or a .toml file.")
@click.option(
    "--dataset",
    default="digits",
    show_default=True,
    help="digits, mnist, fashion-mnist, cifar10, cifar100, folder:DIR or npz:FILE.",
)
@data_dir_option
@click.option("--image-size", type=click.IntRange(1), help="Resize images to N x N pixels (folders: 64 by default).")
@click.option(
    "--trials",
    type=click.IntRange(1),
    default=24,
    show_default=True,
    help="Candidates to train, in total over all runs of the study.",
)
@click.option("--timeout", type=SECONDS, help="Start no further candidate after this time: 20m, 90s, 2h.")
@click.option(
    "--epochs", type=click.IntRange(1), help=f"Epochs a candidate.  [default: {EPOCHS}; digits: {DIGITS_EPOCHS}]"
)
@click.option(
    "--sampler",
    type=click.Choice(["pareto", "tpe", "nsga2", "random"]),
    default="pareto",
    show_default=True,
    help="Who proposes candidates: ours, which knows every size, or one of Optuna's.",
)
@click.option(
    "--rungs/--no-rungs", default=True, show_default=True, help="Stop trainings that are weak for their size."
)
@click.option("--grace", type=click.IntRange(1), help="Epochs before the first rung.  [default: a third of --epochs]")
@click.option(
    "--reduction", type=click.FloatRange(1, min_open=True), default=2.0, show_default=True, help="One in N goes on."
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Fixes proposals, validation split and trainings.",
)
@click.option(
    "--validation",
    type=float,
    metavar="SHARE",
    help="Share of the train images that judges candidates.  [default: 0.2, but 10,000 images at most]",
)
@click.option(
    "--device", default="auto", show_default=True, help="auto (CUDA if there is one), cpu, cuda, cuda:1 or mps."
)
@click.option(
    "--workers",
    type=Workers(),
    default="1",
    show_default=True,
    help="Processes that train at the same time: a number, or auto (by memory on a GPU, by cores on the CPU).",
)
@click.option(
    "--recipe",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set a value of the training recipe, such as lr=0.2; repeatable.",
)
@click.option(
    "--deterministic", is_flag=True, help="Bit-equal reruns on one device, where it can be had for less speed."
)
@click.option("--study", help="Name of the study.  [default: dataset-space-limits]")
@storage_option()
@out_option
@click.option(
    "--references",
    is_flag=True,
    help="First train the textbook's networks that fit dataset and budget, to compare with; not in --trials.",
)
@click.option(
    "--track",
    type=click.Choice(["tensorboard", "mlflow", "wandb"]),
    multiple=True,
    help="Tell it of every candidate and epoch too; an extra of the same name, repeatable.",
)
@click.option("--resume", is_flag=True, help="Go on with an existing study, to --trials in total.")
def run(**options: Any) -> int:
    """Search, reject, train, and write the Pareto front of accuracy against size.

    Candidates over a limit are rejected by exact arithmetic before anything is built. The rest are trained on
    the train split and measured on a validation split; the test split is not read. Tables, picture, weights
    and the study are in OUT/STUDY after every finished candidate.
    """
    budget = budget_of(options)
    space = load_space(options["space"])
    return _run(budget, space, options)


def _run(budget: Budget, space: SearchSpace, options: Mapping[str, Any]) -> int:
    from archsearch.forks import prepare

    prepare()  # first: what workers import is imported while this process imports what it needs

    import optuna

    from archsearch.data import load_dataset
    from archsearch.devices import resolve_device
    from archsearch.feasible import check_feasible
    from archsearch.tracking import require

    require(options["track"])
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # of outages we speak ourselves
    device = resolve_device(options["device"])
    dataset = load_dataset(options["dataset"], data_dir=options["data_dir"], image_size=options["image_size"])
    name = options["study"] or default_name(options["dataset"], space.name, budget)
    recipe, share = recipe_of(space, dataset.name, options), share_of(dataset, options["validation"])
    folder = options["out"] / name
    check_feasible(space, dataset.input_shape, len(dataset.classes), budget)
    folder.mkdir(parents=True, exist_ok=True)
    url = options["storage"] or sqlite_url_of(folder)
    config = StudyConfig(
        space_name=space.name,
        space_toml=space_text(options["space"]),
        budget=budget,
        data=StudyData(dataset.name, dataset.fingerprint, options["image_size"], share),
        input_shape=dataset.input_shape,
        classes=len(dataset.classes),
        recipe=recipe,
        seed=options["seed"],
        deterministic=options["deterministic"],
    )
    study, config = open_study(url, name, config, resume=options["resume"], any_share=options["validation"] is None)
    plan = plan_of(replace(dataset, share=config.data.validation), space, budget, recipe, device, options)
    del dataset  # the workers have their own
    return _search(study, url, folder, budget, plan, options, config)


def _search(
    study: Any,
    url: str,
    folder: Path,
    budget: Budget,
    plan: Plan,
    options: Mapping[str, Any],
    config: StudyConfig,
) -> int:
    from archsearch.artifacts import DashboardCurves, DashboardFront
    from archsearch.cli.live import live_view
    from archsearch.page import StudyPage
    from archsearch.records import Terms
    from archsearch.report import ArchFiles, RunFolder, environment, read_counts, read_rejects
    from archsearch.storage import set_terms, stored_references, stored_retrained
    from archsearch.supervise import Supervisor
    from archsearch.worker import Job

    view = live_view(options["trials"], plan.epochs, options["timeout"])
    view.head(plan.head + (f"; {plan.workers} workers" if plan.workers > 1 else ""))
    if config.data.name == "digits":
        view.head("this is the embedded demonstration; add --dataset cifar10 for the real thing (170 MB download)")
    rungs = rungs_of(plan.epochs, options)
    about = {
        "command": _command(),
        **config.to_json(),
        "device": plan.device,
        "workers": plan.workers,
        "rungs": rungs.at if rungs else [],
        **environment(),
        "settled_recipe": plan.settled,
    }
    goes_on = bool(study.get_trials(deepcopy=False))  # else what lies in the folder is of a study that is gone
    rejects = read_rejects(folder) if goes_on else []
    files = RunFolder(folder, about, budget, stored_references(study), stored_retrained(study), rejects)

    def reference(record: Record, every: Sequence[Record]) -> None:
        view.head(view.describe(record))
        files.references = every

    job = Job(
        url=url,
        study=study.study_name,
        folder=folder.absolute(),
        dataset=options["dataset"],
        data_dir=options["data_dir"].absolute(),
        device=plan.device,
        timeout=options["timeout"],
        references=options["references"],
        rejected=tuple(reject.arch for reject in files.rejects),
        shared=options["storage"] is not None,
    )
    set_terms(study, Terms(options["trials"], options["sampler"], rungs, options["dataset"]))
    counts = read_counts(folder) if goes_on else None
    observers = [
        ArchFiles(folder, study, config),
        files,
        view,
        DashboardCurves(study),
        StudyPage(folder, study, config),
        DashboardFront(folder, study),
    ]
    observers += _trackers(options["track"], folder, about, view.head)
    with view:
        result = Supervisor(study, jobs_of(job, plan.workers), observers, counts, reference).run()
    return _close(result, folder, view)


def _trackers(names: Sequence[str], folder: Path, about: Mapping[str, Any], say: Callable[[str], None]) -> list[Any]:
    from archsearch.tracking import Tracking, make_tracker

    config = {**about, "space": about["space"]["name"]}
    return [Tracking(name, make_tracker(name, folder, folder.name, say), config, say) for name in dict.fromkeys(names)]


def _close(result: Result, folder: Path, view: Any) -> int:
    from archsearch.records import front

    rows = front(result.records)
    view.table(rows)
    away = [row.arch for row in rows if not (folder / "weights" / f"{row.arch}.safetensors").exists()]
    if away:
        view.tail(f"weights of {len(away)} of them are where they were trained; `archsearch retrain` makes new ones")
    view.tail(summary_line(result), f"tables, picture, weights: {folder}/")
    done = any(record.state == "complete" for record in result.records)
    return 0 if done and result.reason != "failures" else 1


def summary_line(result: Result) -> str:
    """`checked 4 312, over budget 3 980, duplicates 31, trained 24`, and why it ended if not by --trials."""
    counts = result.counts
    pairs = [
        ("checked", counts.checked),
        ("over budget", counts.over_budget),
        ("duplicates", counts.duplicates),
        ("trained", counts.trained),
        ("failed", counts.failed),
    ]
    line = ", ".join(f"{what} {format_count(n).replace(',', ' ')}" for what, n in pairs if n or what != "failed")
    ends = {
        "timeout": "; time is up",
        "exhausted": "; nothing new is left in this space",
        "failures": "; ten trainings in a row failed, see trials.csv",
    }
    return line + ends.get(result.reason, "")


def sqlite_url_of(folder: Path) -> str:
    """The default storage of a study's folder."""
    from archsearch.storage import sqlite_url

    return sqlite_url(folder / "study.db")


def open_study(url: str, name: str, config: StudyConfig, *, resume: bool, any_share: bool) -> tuple[Any, StudyConfig]:
    """A new study, or with `resume` the existing one if space, budget, data and seed are the same; and its settings.

    Args:
        any_share: the existing study's share of validation images is the one to go on with.

    Raises:
        StudyError: it exists and `resume` is off, or it was made with other settings.
    """
    from archsearch.storage import create_study, is_empty, load_study, open_storage, study_names

    storage = open_storage(url)
    if not resume or name not in study_names(storage) or is_empty(storage, name):
        return create_study(storage, name, config, resume=resume), config
    study, old = load_study(storage, name)
    if any_share:
        config = replace(config, data=replace(config.data, validation=old.data.validation))
    before, now = old.to_json(), config.to_json()
    other = [key for key in now if before[key] != now[key]]
    if other:
        raise StudyError(
            f"study {name!r} was made with another {' and '.join(other)}: choose another --study"
            f" ({'; '.join(differences(before, now))})"
        )
    return study, config


def _command() -> str:
    from archsearch.patience import hide_password

    return hide_password(shlex.join(["archsearch", *sys.argv[1:]]))
