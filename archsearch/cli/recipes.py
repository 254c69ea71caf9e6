"""The values of a recipe that options give: `--recipe`, `--class-weights` and `--score-precision`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from archsearch.errors import InputError
from archsearch.network.recipe import BALANCED, FIELDS, OFF, PRECISIONS, PRESETS, check_values

WEIGHTS = "class_weights"
OWN = (WEIGHTS, "score_precision")
"""Values that have an option of their own, of the same name."""
class_weights_option = click.option(
    "--class-weights",
    metavar="none|balanced|FILE",
    help="Of the loss: balanced by images per class, or a .csv file of class,weight.  [default: none, or the recipe's]",
)
score_precision_option = click.option(
    "--score-precision",
    type=click.Choice(PRECISIONS),
    help="Validation scores: of the network as it is, or rounded as its int8 file will be.  [default: fp32, or the"
    " recipe's]",
)


def recipe_values(words: Sequence[str]) -> dict[str, Any]:
    """`KEY=VALUE` words as values of a recipe's types, before which those of presets give way. Raises InputError."""
    values: dict[str, Any] = {name: value for word in words for name, value in PRESETS.get(word, {}).items()}
    for word in (word for word in words if word not in PRESETS):
        name, separator, text = word.partition("=")
        if not separator or not text:
            raise InputError(f"--recipe {word!r}: write KEY=VALUE, such as lr=0.2, or a preset: {', '.join(PRESETS)}")
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


def given_values(options: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    """What `--recipe` and the options for one value say, for a dataset with these classes. Raises InputError."""
    values = recipe_values(options["recipe"])
    for key in OWN:
        if (asked := options.get(key)) is not None:
            if key in values:
                raise InputError(f"{option_of(key)} {asked}: --recipe {key}={values[key]} says it too: give one")
            values[key] = _weights(asked, classes) if key == WEIGHTS else asked
    check_count(str(values.get(WEIGHTS, OFF)), classes)
    return values


def option_of(key: str) -> str:
    """`--class-weights` for `class_weights`."""
    return f"--{key.replace('_', '-')}"


def check_count(weights: str, classes: Sequence[str]) -> None:
    """Raises InputError for a list of another length; what is no list is the recipe's to refuse."""
    given, wanted = weights.count(",") + 1, len(classes)
    if given not in (1, wanted):
        raise InputError(f"{WEIGHTS}={weights}: {given:,} numbers for {wanted:,} classes: give one per class")


def _weights(asked: str, classes: Sequence[str]) -> str:
    """The recipe's value."""
    if asked in (OFF, BALANCED):
        return asked
    if not Path(asked).is_file():
        raise InputError(f"--class-weights {asked!r}: must be {OFF}, {BALANCED}, or a .csv file of class,weight")
    from archsearch.training.weight_table import read_class_weights

    return read_class_weights(Path(asked), classes)
