"""What `run`'s options mean: recipe, rungs, number of workers, names."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archsearch._utils.passwords import hide_url
from archsearch._utils.places import check_name
from archsearch._utils.scores import ACCURACY, Score
from archsearch._utils.specs import Spec, is_pattern, parse_spec
from archsearch.cli.recipes import OWN, check_count, given_values, option_of
from archsearch.errors import InputError, SpecError
from archsearch.network.budget import Budget
from archsearch.network.layers import Shape
from archsearch.network.recipe import Recipe
from archsearch.space.dims import Dim
from archsearch.space.inputs import InputDims
from archsearch.space.reader import (
    PHOTO_SPACE,
    SMALL,
    SMALL_SPACE,
    default_space,
    load_space,
    parse_space,
    space_text,
)
from archsearch.space.space import SearchSpace
from archsearch.study.config import StudyConfig, default_recipe
from archsearch.study.suggestion import kept, suggestion

if TYPE_CHECKING:
    from archsearch.data import Dataset
    from archsearch.workers.run import RunOptions


_AS_GIVEN = (
    "data_dir", "storage", "trials", "timeout", "sampler", "workers", "device", "references", "resume",
    "data_memory",
)  # fmt: skip


_LONGEST = 40
"""Characters of the labels' columns in a study's name; of more nothing is said."""


class Workers(click.ParamType[int]):
    """A number of processes; 0 stands for `auto`."""

    name = "workers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """A whole number from 1, or `auto`."""
        text = str(value)
        if text != "auto" and not (text.isdecimal() and int(text) >= 1):
            self.fail(f"{text!r}: use a whole number from 1, or auto", param, ctx)
        return 0 if text == "auto" else int(text)


def recipe_of(
    space: SearchSpace, dataset: Dataset, options: Mapping[str, Any], before: StudyConfig | None = None
) -> Recipe:
    """The recipe of a run: what is suggested, then the space's, then `--epochs`, then `--recipe`. Raises InputError.

    before: of the study that is gone on with, which was suggested something else, perhaps.
    """
    from archsearch.training.imbalance import treatment

    values = given_values(options, dataset.classes)
    given = {*values, *(["epochs"] if options["epochs"] else [])}
    metric = options["metric"] or (before.metric if before else ACCURACY)
    own = {*values, *space.train, *space.pinned}
    suggested = {
        **suggestion(len(dataset.labels), dataset.input_shape),
        **treatment(dataset.labels, len(dataset.classes), metric, own),
    }
    suggested = kept(suggested, given, before.recipe if before else None)
    recipe = default_recipe(space, dataset.name, options["epochs"], suggested)
    check_count(recipe.class_weights, dataset.classes)
    fixed = {name for name, value in space.train.items() if isinstance(value, Dim)} | set(space.pinned)
    if taken := sorted(fixed & values.keys()):
        key = taken[0]
        name = option_of(key) if key in OWN and options.get(key) else f"--recipe {key}"
        raise InputError(f"{name}: space {space.name!r} sets it for every candidate; change it there")
    try:
        return recipe.with_values(values)
    except SpecError as error:
        raise InputError(f"--recipe {error}") from None


def check_study(options: Mapping[str, Any], budget: Budget) -> None:
    """Refuse `--study`, `--out`, `--storage` and `--max-latency` before anything is loaded.

    Raises:
        StudyError: no place for a study.
        InputError: milliseconds cannot be measured here.
    """
    from archsearch.export.timed import require
    from archsearch.workers.run import check_place

    if options["study"] is not None:
        check_name(options["study"])
    check_place(options["out"] / (options["study"] or "any"), options["storage"])
    require(budget, options["data_dir"])


def run_options(options: Mapping[str, Any], name: str, epochs: int) -> RunOptions:
    """What a run may choose anew each time, from its options; `name` for a study that was given none."""
    from archsearch.sampler.asha import Rungs, default_grace
    from archsearch.workers.run import RunOptions

    rungs = Rungs(epochs, options["grace"] or default_grace(epochs), options["reduction"])
    if options["grace"] and options["rungs"] and not rungs.at:
        raise InputError(
            f"--grace {rungs.grace}: a rung must leave a third of the {epochs} epochs to save:"
            " give a smaller one, or --no-rungs"
        )
    return RunOptions(
        folder=options["out"] / (name if options["study"] is None else options["study"]),
        rungs=rungs if options["rungs"] else None,
        any_share=options["validation"] is None,
        command=command_line(),
        **{key: options[key] for key in _AS_GIVEN},
    )


def command_line() -> str:
    """How this process was called, without passwords."""
    return shlex.join(["archsearch", *map(hide_url, sys.argv[1:])])


def default_name(dataset: str, space: str, budget: Budget, metric: str | None = None) -> str:
    """`<dataset>-<space>-<limits>`, and the metric where it is not accuracy, fit for a folder's name."""
    score = Score(metric or ACCURACY)
    words = [_short_name(parse_spec(dataset)), space, budget.slug, "" if score.is_accuracy else score.slug]
    return "-".join(word for word in words if word)


def _short_name(spec: Spec) -> str:
    """The last name of a place, for a pattern without what it leaves open, and which labels were chosen."""
    if not spec.place:
        return spec.kind
    name = Path(spec.place).stem
    plain = re.sub(r"[*?]+|\[.*?\]|\{.*?\}", "", name).strip("-_. ") if is_pattern(name) else name
    label = re.sub(r"[^\w.-]+", "-", spec.options.get("label", spec.options.get("labels", ""))).strip("-")
    return "-".join(word for word in (plain or spec.kind, label if len(label) <= _LONGEST else "") if word)


@dataclass(frozen=True)
class ChosenSpace:
    """The space of a run and its text, and a line on why where nobody asked for the space.

    `study`: its name; `before`: what it carries where `--resume` goes on with it.
    """

    space: SearchSpace
    toml: str
    study: str
    before: StudyConfig | None = None
    notes: tuple[str, ...] = ()


class Resumed:
    """What the studies carry that `--resume` may go on with, by the space that one would be named after.

    Each is opened once: a database may be far away.
    """

    def __init__(self, options: Mapping[str, Any], budget: Budget) -> None:
        self._options, self._budget = options, budget
        self._opened: dict[str, StudyConfig | None] = {}

    def name(self, space: str) -> str:
        """`--study`, or the name that a study with this space has."""
        options = self._options
        return str(options["study"] or default_name(options["dataset"], space, self._budget, options["metric"]))

    def __call__(self, space: str) -> StudyConfig | None:
        """None without `--resume`, and where there is no such study. Raises StudyError."""
        from archsearch.study.storage import kept_config

        study, options = self.name(space), self._options
        if study not in self._opened:
            found = kept_config(options["out"] / study, options["storage"]) if options["resume"] else None
            self._opened[study] = found
        return self._opened[study]


def said_input(options: Mapping[str, Any], resumed: Resumed) -> InputDims:
    """Size and colour of the images, by `--image-size` or the space that will be taken. Raises StudyError."""
    if options["space"] is not None:
        space = load_space(options["space"])
    else:
        begun = (found for name in (SMALL_SPACE, PHOTO_SPACE) if (found := resumed(name)))
        space = next((own_space(config) for config in begun), load_space(SMALL_SPACE))
    return space.with_sizes(options["image_size"] or ()).input


def choose_space(options: Mapping[str, Any], shape: Shape, resumed: Resumed) -> ChosenSpace:
    """`--space`; else with `--resume` the study's own; else the one for images of this size. Raises StudyError."""
    if options["space"] is not None:
        space = load_space(options["space"])
        return ChosenSpace(space, space_text(options["space"]), resumed.name(space.name), resumed(space.name))
    default = default_space(shape)
    for name in (default, PHOTO_SPACE if default == SMALL_SPACE else SMALL_SPACE):
        if config := resumed(name):
            study = resumed.name(name)
            words = f"space {config.space_name}, as study {study!r} was begun"
            return ChosenSpace(own_space(config), config.space_toml, study, config, (words,))
    side = "up to" if default == SMALL_SPACE else "above"
    words = f"space {default}, the default for images {side} {SMALL} pixels a side; --space takes another"
    return ChosenSpace(load_space(default), space_text(default), resumed.name(default), notes=(words,))


def own_space(config: StudyConfig) -> SearchSpace:
    """The space of a study as its file has it."""
    return parse_space(config.space_toml, config.space_name, "the study's space")
