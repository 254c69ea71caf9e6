"""`--metric`: the option, and which metric `run`, `retrain` and `evaluate` go by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from archsearch._utils.scores import ACCURACY, NAMES, score_named
from archsearch.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from archsearch.cli.retraining import Target
    from archsearch.data import Dataset
    from archsearch.metrics import Metric
    from archsearch.study.config import StudyConfig

Function = TypeVar("Function", bound=Callable[..., Any])


def metric_option(words: str, default: str) -> Callable[[Function], Function]:
    """`--metric`: one of `NAMES`, None where it is left out; `words`: what it is for."""
    told = f"{words}: {', '.join(NAMES)}.  [default: {default}]"
    return click.option("--metric", metavar="NAME", callback=_known, help=told)


def _known(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """The name as it is; which classes there are is not known yet. Raises InputError."""
    return value if value is None else score_named(value).name


def searched_metric(options: Mapping[str, Any], dataset: Dataset, before: StudyConfig | None = None) -> str:
    """The name of a run's metric: `--metric`, else that of the study that is gone on with, else the dataset's.

    Raises:
        InputError: it is none of these classes, or the validation images leave it undefined.
    """
    from archsearch.training.judging import default_metric, require_judged

    name = str(options["metric"] or (before.metric if before else default_metric(dataset)))
    if before and options["validation"] is None:
        dataset = replace(dataset, share=before.data.validation)
    require_judged(name, dataset, options["seed"])
    return name


def tested_metric(found: Target, dataset: Dataset, options: Mapping[str, Any]) -> Metric | None:
    """A retraining's metric: `--metric`, else the study's, else the dataset's; None for accuracy.

    Raises:
        InputError: it is not the study's, none of these classes, or test labels that are known leave it undefined.
    """
    from archsearch.training.judging import default_metric, metric_for, metric_for_test

    asked, own = options["metric"], found.config.metric if found.config else None
    if asked and own and asked not in (own, ACCURACY):
        raise InputError(
            f"--metric {asked}: study {found.folder.name!r} goes by {own}: leave it out, and ask `evaluate` for others"
        )
    if asked or own:
        return metric_for_test(asked or own or ACCURACY, dataset)
    return metric_for(default_metric(dataset), dataset)


def evaluated_metric(asked: str | None, info: Mapping[str, Any], dataset: Dataset, labels: Tensor) -> Metric | None:
    """`--metric`, or that of a file's training where these labels leave it defined; None for accuracy alone.

    Raises:
        InputError: the one asked for is none of these classes, or not defined on these images.
    """
    from archsearch.metrics import metric_in, require_defined
    from archsearch.training.judging import metric_for

    if asked is None:
        return metric_in(info, dataset.classes, labels)
    metric = metric_for(asked, dataset)
    if metric:
        require_defined(metric, labels, "these images")
    return metric
