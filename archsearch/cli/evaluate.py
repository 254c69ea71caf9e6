"""`archsearch evaluate`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archsearch._utils.certified import named
from archsearch.cli import corruptions
from archsearch.cli.metrics import evaluated_metric, metric_option
from archsearch.cli.options import data_options, split_option
from archsearch.cli.screen import wrapped
from archsearch.cli.sources import dataset_of, device_for, numbered, split_seed
from archsearch.errors import DataError, InputError

ENOUGH = 5_000
"""Validation images for a temperature, at most."""

if TYPE_CHECKING:
    from torch import Tensor

    from archsearch.data import Dataset
    from archsearch.data.dataset import Split
    from archsearch.inference import Runner
    from archsearch.inference.scores import Judgement


@click.command()
@click.argument("weights", type=click.Path(path_type=Path))
@data_options
@split_option
@click.option(
    "--split", "part", type=click.Choice(["test", "validation", "train"]), default="test", show_default=True,
    help="Which images; train and validation as the run divided them.",
)  # fmt: skip
@metric_option("What is measured beside accuracy", "that of the training, if any")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps; auto for ONNX: cpu.")
@click.option("--confusion", type=click.Path(path_type=Path, dir_okay=False), help="Draw the confusion matrix: a .png.")
@click.option(
    "--report", type=click.Path(path_type=Path, dir_okay=False),
    help="Write a page, an .html: all figures, and the most certain errors as pictures.",
)  # fmt: skip
@click.option(
    "--store-temperature", is_flag=True,
    help="Write the temperature fitted on validation images into WEIGHTS; labels stay, probabilities get honest.",
)  # fmt: skip
@corruptions.corrupt_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout: accuracy, n, per_class and the rest.")
def evaluate(weights: Path, part: str, device: str, as_json: bool, **options: Any) -> None:
    """Every metric, per class too, confusion matrix and calibration of WEIGHTS, a file that archsearch wrote.

    Each figure has a 95% interval. FILE is one that archsearch wrote, of any format: architecture and
    classes are in its metadata; or zoo:NAME, a network that is ready: see `zoo`.
    """
    from archsearch.cli.scores import text
    from archsearch.data import unread_test
    from archsearch.inference import evaluate as library
    from archsearch.inference import open_runner
    from archsearch.inference.scores import judge, logits_of
    from archsearch.metrics.thresholds import thresholds_in

    for name, suffix in (("confusion", ".png"), ("report", ".html")):
        if options[name] is not None and options[name].suffix != suffix:
            raise InputError(f"--{name} {options[name]}: must end in {suffix}")
    if options["store_temperature"] and named(weights):
        raise InputError(f"--store-temperature: {weights} stays as it is: make a copy by archsearch zoo --output")
    runner = open_runner(weights, device_for(weights, device), data_dir=options["data_dir"])
    dataset = dataset_of(weights, runner.arch, runner.info, options)
    runner = numbered(runner, dataset) if named(weights) else runner
    library.check_fit(runner, dataset, str(weights))
    seed = split_seed(options["seed"], runner.info)
    images = library.part_of(dataset, part, seed)
    metric = evaluated_metric(options["metric"], runner.info, dataset, images[1])
    try:
        logits = logits_of(runner, images)
        fitting, why_not = _fitting(runner, dataset, seed, (logits, images[1]) if part == "validation" else None)
        damaged = corruptions.measured(runner, images, metric or library.accuracy) if options["corrupt"] else None
    except InputError as error:
        raise InputError(f"{weights}: {error}") from None
    found = judge(logits, images[1], dataset.classes, fitting, thresholds_in(runner.info, len(dataset.classes)))
    if fitting and not found.temperature:
        why_not = "the validation images are all answered rightly, or no better than by chance"
    if options["store_temperature"]:
        _store(weights, runner, found, why_not)
    notes = [*dataset.notes, *(unread_test(dataset, len(images[1])) if part == "test" else [])]
    title = f"{weights.name} on {dataset.name}, {part}"
    _draw(title, found, images, logits, runner, options)
    score = metric(logits, images[1]) if metric else 0.0
    plain = {
        **found.plain(),
        **({"metric": metric.name, metric.name: score} if metric else {}),
        **({"corrupted": corruptions.plain(damaged, metric)} if damaged else {}),
    }
    head = f"{title}: {metric.words} {metric.shown(score)}, accuracy " if metric else f"{title}: "
    more = ["", *corruptions.text(damaged, score if metric else found.accuracy, metric)] if damaged else []
    click.echo(json.dumps(plain) if as_json else "\n".join([*wrapped(notes), *text(head, found, why_not), *more]))


def _fitting(
    runner: Runner, dataset: Dataset, seed: int, known: tuple[Tensor, Tensor] | None
) -> tuple[tuple[Tensor, Tensor] | None, str]:
    """Logits and labels of validation images, which may be known; or none, and why."""
    from archsearch.inference.scores import logits_of, sample, unseen
    from archsearch.metrics import is_multilabel

    if is_multilabel(dataset.labels):
        return None, "images may have several labels"
    try:
        split = unseen(dataset, runner.info, seed)
    except DataError as error:
        return None, str(error)
    if split is None:
        return None, "this network was trained on the validation images too"
    if known:
        return known, ""
    split = sample(split, ENOUGH)
    return (logits_of(runner, split), split[1]), ""


def _store(weights: Path, runner: Runner, found: Judgement, why_not: str) -> None:
    from archsearch.inference.metadata import TEMPERATURE, store

    if found.temperature is None:
        raise InputError(f"--store-temperature: {weights} gets none: {why_not}")
    store(weights, runner.arch, {**runner.info, TEMPERATURE: round(found.temperature.value, 4)})


def _draw(
    title: str, found: Judgement, part: Split, logits: Tensor, runner: Runner, options: Mapping[str, Any]
) -> None:
    """The picture and the page that were asked for."""
    from archsearch.inference.evaluate import Scores, draw_confusion

    if options["confusion"] is not None:
        if found.confusion is None:
            raise InputError("--confusion: images may have several labels, so there is no such matrix: leave it out")
        draw_confusion(options["confusion"], Scores(found.classes, found.confusion), title)
    if options["report"] is not None:
        from archsearch.inference.metadata import temperature_of
        from archsearch.inference.mistakes import confident_mistakes
        from archsearch.report.html.evaluation import write_evaluation
        from archsearch.report.scores import for_page

        images, labels = part
        temperature = temperature_of(runner.info, "this file")
        mistakes = confident_mistakes(logits, labels, found.classes, temperature=temperature)
        write_evaluation(options["report"], for_page(title, found, images, mistakes))
