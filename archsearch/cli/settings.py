"""What `run`'s options mean: recipe, rungs, number of workers, names."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archsearch._utils.passwords import hide_url
from archsearch._utils.places import check_name
from archsearch.errors import InputError, SpecError
from archsearch.network.budget import Budget
from archsearch.network.recipe import FIELDS, Recipe, check_values
from archsearch.space.dims import Dim
from archsearch.space.space import SearchSpace
from archsearch.study.config import default_recipe

if TYPE_CHECKING:
    from archsearch.workers.run import RunOptions


_AS_GIVEN = (
    "data_dir", "storage", "trials", "timeout", "sampler", "workers", "device", "references", "resume",
    "data_memory",
)  # fmt: skip


class Workers(click.ParamType[int]):
    """A number of processes; 0 stands for `auto`."""

    name = "workers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """A whole number from 1, or `auto`."""
        text = str(value)
        if text != "auto" and not (text.isdecimal() and int(text) >= 1):
            self.fail(f"{text!r}: use a whole number from 1, or auto", param, ctx)
        return 0 if text == "auto" else int(text)


def recipe_of(space: SearchSpace, dataset: str, options: Mapping[str, Any]) -> Recipe:
    """The recipe of a run: the space's, then `--epochs`, then `--recipe`. Raises InputError."""
    recipe = default_recipe(space, dataset, options["epochs"])
    values = recipe_values(options["recipe"])
    fixed = {name for name, value in space.train.items() if isinstance(value, Dim)} | set(space.pinned)
    if taken := sorted(fixed & values.keys()):
        raise InputError(f"--recipe {taken[0]}: space {space.name!r} sets it for every candidate; change it there")
    try:
        return recipe.with_values(values)
    except SpecError as error:
        raise InputError(f"--recipe {error}") from None


def recipe_values(words: Sequence[str]) -> dict[str, Any]:
    """`KEY=VALUE` words as values of a recipe's types. Raises InputError."""
    values: dict[str, Any] = {}
    for word in words:
        name, separator, text = word.partition("=")
        if not separator or not text:
            raise InputError(f"--recipe {word!r}: write KEY=VALUE, such as lr=0.2")
        values[name] = _typed(text, FIELDS.get(name, str))
    if problems := check_values(values):
        raise InputError(f"--recipe {'; '.join(problems)}")
    return values


def _typed(text: str, kind: type) -> Any:
    """A text as a number where one is wanted and it is one; else as it is, for the check to name it."""
    for parse in (int, float):
        try:
            return parse(text) if kind in (int, float) else text
        except ValueError:
            continue
    return text


def check_study(options: Mapping[str, Any]) -> None:
    """Refuse `--study`, `--out` and `--storage` before anything is loaded. Raises StudyError."""
    from archsearch.workers.run import check_place

    if options["study"] is not None:
        check_name(options["study"])
    check_place(options["out"] / (options["study"] or "any"), options["storage"])


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


def default_name(dataset: str, space: str, budget: Budget) -> str:
    """`<dataset>-<space>-<limits>`, fit for a folder's name."""
    kind, _, place = dataset.partition(":")
    return f"{Path(place).stem if place else kind}-{space}-{budget.slug}"
