"""What `run`'s options mean: recipe, rungs, number of workers, names."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import ndiff
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archsearch.budget import Budget
from archsearch.dims import Dim
from archsearch.errors import InputError, SpecError
from archsearch.recipe import FIELDS, Recipe, check_values
from archsearch.space import SearchSpace
from archsearch.units import format_count

if TYPE_CHECKING:
    import torch

    from archsearch.data import Dataset
    from archsearch.training_data import TrainingData
    from archsearch.worker import Job

EPOCHS, DIGITS_EPOCHS = 20, 5
_SHOWN = 4
_LOOKS, _TRIES = 20, 2000
_ON_A_GPU = 4
"""Workers that `auto` gives a GPU at most: more were not measured, and each proposes without the others' results."""


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
    recipe = space.recipe(Recipe(epochs=EPOCHS))
    if options["epochs"] or dataset == "digits":
        recipe = recipe.with_values({"epochs": options["epochs"] or DIGITS_EPOCHS})
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


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between a study's settings and those of a run, a few words each."""
    found = []
    for key in [key for key in new if old.get(key) != new[key]]:
        if key == "space":
            found.append(f"space: {_lines(old[key]['toml'], new[key]['toml'])}")
        elif isinstance(new[key], Mapping) and isinstance(old.get(key), Mapping):
            found += [f"{key}: {words}" for words in differences(old[key], new[key])]
        else:
            found.append(f"{key} was {old.get(key)!r}, is {new[key]!r}")
    return found


def _lines(old: str, new: str) -> str:
    """The first lines of a file that differ, and how many more."""
    words = [line for line in ndiff(old.splitlines(), new.splitlines()) if line[0] in "+-"]
    shown = ", ".join(f"{line[0]} {line[2:].strip()!r}" for line in words[:_SHOWN])
    return shown + (f" and {len(words) - _SHOWN} more lines" if len(words) > _SHOWN else "")


def share_of(dataset: Dataset, asked: float | None) -> float | None:
    """The share of the train images that validates; None where the dataset brings others. Raises InputError."""
    from archsearch.data.splits import validation_share

    if asked is not None and not 0 < asked < 1:  # nan too
        raise InputError(f"--validation {asked}: must lie between 0 and 1, such as 0.2")
    if dataset.validation is None:
        return asked or validation_share(len(dataset.labels))
    if asked is not None:
        given = format_count(len(dataset.validation[1]))
        raise InputError(f"--validation {asked}: {dataset.name} brings {given} validation images: leave the option out")
    return None


def rungs_of(epochs: int, options: Mapping[str, Any]) -> Any:
    """The rungs that the options ask for, None for none."""
    from archsearch.rungs import Rungs

    if not options["rungs"]:
        return None
    return Rungs(epochs, options["grace"] or max(1, round(epochs / 3)), options["reduction"])


def default_name(dataset: str, space: str, budget: Budget) -> str:
    """`<dataset>-<space>-<limits>`, fit for a folder's name."""
    kind, _, place = dataset.partition(":")
    return f"{Path(place).stem if place else kind}-{space}-{budget.slug}"


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def workers_of(
    asked: int, space: SearchSpace, budget: Budget, data: TrainingData, recipe: Recipe, device: torch.device
) -> int:
    """The number of workers; 0 asks for as many as serve: by memory on a GPU, one for two cores without."""
    if asked:
        return asked
    if device.type != "cuda":
        return max(1, cores() // 2)
    import torch

    from archsearch.memory import workers_that_fit
    from archsearch.worker import predictor

    predict, rng, most = predictor(data, recipe), random.Random(0), min(_ON_A_GPU, cores())
    drawn = (space.random(rng, data.dataset.input_shape, len(data.dataset.classes)) for _ in range(_TRIES))
    found = [predict(arch) for arch in islice((arch for arch in drawn if _fits(arch, budget)), _LOOKS)]
    return workers_that_fit(found, torch.cuda.mem_get_info(device)[0], most) if found else 1


def _fits(arch: Any, budget: Budget) -> bool:
    try:
        return budget.check(arch.cost).ok
    except SpecError:
        return False


@dataclass(frozen=True)
class Plan:
    """What was chosen by looking at the data."""

    head: str
    device: str
    epochs: int
    settled: dict[str, Any]
    workers: int


def plan_of(
    dataset: Dataset,
    space: SearchSpace,
    budget: Budget,
    recipe: Recipe,
    device: torch.device,
    options: Mapping[str, Any],
) -> Plan:
    """Look at the data, which are not kept."""
    import torch

    from archsearch.training_data import TrainingData

    data = TrainingData.of(dataset, options["seed"], torch.device("cpu"))
    head = f"archsearch: {_what(options['dataset'], data)}; space {space.name}, {budget.words}; {device}"
    workers = workers_of(options["workers"], space, budget, data, recipe, device)
    return Plan(head, str(device), recipe.epochs, data.settle(recipe).to_dict(), workers)


def jobs_of(job: Job, count: int) -> list[Job]:
    """One job a worker; the first trains the references too, and several share the cores."""
    threads = max(1, cores() // count) if count > 1 else None
    return [
        replace(
            job,
            index=job.index + i,
            threads=threads,
            shared=job.shared or count > 1,
            references=job.references and not i,
        )
        for i in range(count)
    ]


def _what(spec: str, data: Any) -> str:
    channels, height, width = data.dataset.input_shape
    return (
        f"{spec}, {len(data.train):,} train and {len(data.validation):,} validation images"
        f" of {channels}x{height}x{width}, {len(data.dataset.classes)} classes"
    )
