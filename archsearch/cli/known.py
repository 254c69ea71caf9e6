"""`--teacher` and `--init-from`: what trainings learn from and begin with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from archsearch.cli.screen import say
from archsearch.errors import InputError
from archsearch.network.layers import Shape
from archsearch.space.inputs import words

if TYPE_CHECKING:
    from archsearch.data import Dataset
    from archsearch.study.config import Known

teacher_option = click.option(
    "--teacher",
    "teachers",
    multiple=True,
    metavar="SOURCE",
    help="Distillation: learn what this network answers, in place of the labels: a weights file, torchvision:NAME=FILE,"
    " timm:NAME=FILE, or logits:FILE; repeatable.",
)
init_from_option = click.option(
    "--init-from",
    metavar="FILE",
    help="Candidates start from the network of this weights file, block by block where they agree.",
)

inherit_option = click.option(
    "--inherit/--no-inherit",
    help="Experimental: a candidate starts from its nearest trained relative in the study, for fewer epochs."
    "  [default: no-inherit]",
)


def known_of(options: Mapping[str, Any], dataset: Dataset, shapes: Sequence[Shape]) -> Known:
    """What a new study's trainings learn from and begin with; says what is used.

    Raises:
        InputError: it cannot be used for these images and classes, or teachers where candidates take several shapes.
    """
    from archsearch.retrain.given import given
    from archsearch.study.config import Known

    if not options["teachers"] and options["init_from"] is None:
        return Known()
    if options["teachers"] and len(shapes) > 1:
        raise InputError(
            f"--teacher: candidates take {words(shapes)}, and teachers answer for one size and colour: leave one out"
        )
    if options["init_from"] == "":
        raise InputError("--init-from '': give a weights file")
    found = given(options["teachers"], options["init_from"] or "", dataset)
    if found.notes:
        say(*found.notes)
    return found.known
