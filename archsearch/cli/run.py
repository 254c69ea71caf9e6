"""`archsearch run`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archsearch._utils.units import format_count
from archsearch.cli.imports import opened_space
from archsearch.cli.known import inherit_option, init_from_option, known_of, teacher_option
from archsearch.cli.metrics import metric_option, searched_metric
from archsearch.cli.options import (
    SIZES,
    budget_of,
    data_dir_option,
    data_memory_option,
    device_option,
    folder_options,
    limits,
    lower_limits,
    measured_limits,
    out_option,
    reading,
    storage_option,
    timeout_option,
)
from archsearch.cli.recipes import class_weights_option, score_precision_option
from archsearch.cli.settings import (
    ChosenSpace,
    Resumed,
    Workers,
    check_study,
    choose_space,
    recipe_of,
    run_options,
    said_input,
)
from archsearch.space.inputs import colour_of, size_of
from archsearch.space.reader import PHOTO_SPACE, SMALL, SMALL_SPACE
from archsearch.study.config import DIGITS_EPOCHS, EPOCHS

if TYPE_CHECKING:
    from archsearch.data import Dataset
    from archsearch.study.config import StudyConfig
    from archsearch.workers.local import Result


@click.command()
@limits
@lower_limits
@measured_limits
@click.option(
    "--space",
    help=f"A shipped space or a .toml file.  [default: {SMALL_SPACE} up to {SMALL} pixels a side, {PHOTO_SPACE} above]",
)
@click.option(
    "--dataset",
    default="digits",
    show_default=True,
    help="digits, mnist, fashion-mnist, cifar10, cifar100, folder:DIR, npz:FILE, parquet:PATH, csv:FILE, "
    "wds:PATTERN or cifar:DIR.",
)
@data_dir_option
@click.option(
    "--image-size",
    type=SIZES,
    help="Resize images to N x N pixels; several sizes are searched: 64,96,128.  [default: the space's; folders: 64]",
)
@folder_options
@click.option(
    "--trials",
    type=click.IntRange(1),
    default=24,
    show_default=True,
    help="Candidates to train, in total over all runs of the study.",
)
@timeout_option
@click.option(
    "--epochs",
    type=click.IntRange(1),
    help=f"Epochs a candidate.  [default: {EPOCHS}; digits: {DIGITS_EPOCHS}; few photos: up to 40]",
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
@click.option(
    "--grace", type=click.IntRange(1), help="Epochs before the first rung.  [default: a third of --epochs, at least 2]"
)
@click.option(
    "--reduction",
    type=click.FloatRange(1, min_open=True),
    default=2.0,
    show_default=True,
    help="One in N goes on, and what nothing beats in size and accuracy.",
)
@metric_option("What is maximised on the validation images", "accuracy; several labels: macro-auroc")
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
@device_option
@data_memory_option
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
    help="Set a value of the training recipe, such as lr=0.2, or a preset of values: robust; repeatable.",
)
@class_weights_option
@score_precision_option
@teacher_option
@init_from_option
@inherit_option
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
    """Search, reject, train, and write the Pareto front of accuracy, or of --metric, against size.

    Candidates over a limit are rejected by exact arithmetic before anything is built. The rest are trained on
    the train split and measured on a validation split; the test split is not read. Tables, picture, weights
    and the study are in OUT/STUDY after every finished candidate.
    """
    budget = budget_of(options)
    if options["space"] is not None:
        opened_space(options["space"])
    from archsearch.workers.processes import prepare

    prepare()  # first: what workers import is imported while this process imports what it needs

    import optuna

    from archsearch.cli.decoding import Decoding
    from archsearch.cli.live import live_view
    from archsearch.data import load_dataset
    from archsearch.nn.devices import resolve_device
    from archsearch.tracking import require
    from archsearch.workers.run import configure
    from archsearch.workers.run import run as run_study

    require(options["track"])
    check_study(options, budget)
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # of outages we speak ourselves
    resolve_device(options["device"])  # before anything is loaded or downloaded
    spec, sizes = options["dataset"], options["image_size"] or ()
    resumed = Resumed(options, budget)
    shown = said_input(options, resumed)
    with Decoding() as watch:
        dataset = load_dataset(
            spec,
            data_dir=options["data_dir"],
            image_size=size_of(shown),
            colour=colour_of(shown),
            watch=watch,
            **reading(options),
        )
    dataset = replace(dataset, share=options["validation"])
    choice = choose_space(options, dataset.input_shape, resumed)
    config = configure(
        budget,
        dataset,
        space=(choice.space, choice.toml),
        recipe=recipe_of(choice.space, dataset, options, choice.before),
        image_size=sizes,
        seed=options["seed"],
        deterministic=options["deterministic"],
    )
    config = _completed(config, options, dataset, choice.before)
    chosen = replace(run_options(options, choice.study, config.recipe.epochs), notes=_notes(choice, config))
    view = live_view(chosen.trials, config.recipe.epochs, chosen.timeout, config.score)
    if sizes and "size" in choice.space.input:
        view.head(f"--image-size {','.join(map(str, sizes))} goes before the sizes of space {choice.space.name!r}")
    with view:
        result = run_study(config, chosen, [view, *_trackers(options["track"], chosen.folder, view.head)], dataset)
    return _close(result, chosen.folder, view)


def _completed(
    config: StudyConfig, options: Mapping[str, Any], dataset: Dataset, before: StudyConfig | None
) -> StudyConfig:
    """With what trainings learn from beside labels, and what is maximised. Raises InputError."""
    known = known_of(options, dataset, config.domain.shapes)
    metric = searched_metric(options, dataset, before)
    return replace(config, known=known, metric=metric, inherit=options["inherit"])


def _notes(choice: ChosenSpace, config: StudyConfig) -> tuple[str, ...]:
    """What is said before the first candidate: of the space, and of scores that are not the networks' own."""
    if config.recipe.score_precision == "fp32":
        return choice.notes
    return (*choice.notes, "scores: of each network rounded as its int8 file will be")


def _trackers(names: Sequence[str], folder: Path, say: Callable[[str], None]) -> list[Any]:
    from archsearch.tracking import Tracking, make_tracker

    return [Tracking(name, make_tracker(name, folder, folder.name, say), {}, say) for name in dict.fromkeys(names)]


def _close(result: Result, folder: Path, view: Any) -> int:
    from archsearch.study.records import front

    rows = front(result.records)
    view.table(rows)
    away = [row.arch for row in rows if not (folder / "weights" / f"{row.arch}.safetensors").exists()]
    if away:
        view.tail(f"weights of {len(away)} of them are where they were trained; `archsearch retrain` makes new ones")
    view.tail(summary_line(result), f"report.html, tables, weights: {folder}/")
    done = any(record.state == "complete" for record in result.records)
    return 0 if done and result.reason != "failures" else 1


def summary_line(result: Result) -> str:
    """`checked 4,312, over budget 3,980, duplicates 31, trained 24`, and why it ended if not by --trials."""
    counts = result.counts
    pairs = [
        ("checked", counts.checked),
        ("over budget", counts.over_budget),
        ("duplicates", counts.duplicates),
        ("trained", counts.trained),
        ("failed", counts.failed),
    ]
    line = ", ".join(f"{what} {format_count(n)}" for what, n in pairs if n or what != "failed")
    ends = {
        "timeout": "; time is up",
        "exhausted": "; nothing new is left in this space",
        "failures": "; ten trainings in a row failed, see trials.csv",
    }
    return line + ends.get(result.reason, "")
