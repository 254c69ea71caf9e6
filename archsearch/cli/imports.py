"""`--import`, and spaces that import: blocks of a user's own without a package."""

from __future__ import annotations

from collections.abc import Sequence

import click

from archsearch.network.blocks.imports import file_of, load
from archsearch.space.reader import imports_of, load_space
from archsearch.space.space import SearchSpace

COMMANDS = ("run", "check", "spaces", "pareto", "show", "retrain", "evaluate", "predict", "export", "bench",
            "worker")  # fmt: skip
"""Those that read spaces or architectures."""


def with_import(command: click.Command) -> click.Command:
    """The command with `--import`, which runs before everything else of it."""
    if not any(parameter.name == "import" for parameter in command.params):
        command.params.append(
            click.Option(
                ["--import"],
                multiple=True,
                metavar="FILE",
                is_eager=True,
                expose_value=False,
                callback=_import,
                help="Own blocks: a Python file or module, which is run. May be repeated.",
            )
        )
    return command


def _import(context: click.Context, parameter: click.Parameter, values: Sequence[str]) -> None:
    for value in values:
        click.echo(f"archsearch: runs the code of {file_of(value) or value} for its blocks", err=True)
        load(value)


def opened_space(name: str) -> SearchSpace:
    """A space as `load_space` reads it, with a line on stderr for every file whose code it runs."""
    for path in imports_of(name):
        click.echo(f"archsearch: runs the code of {path}, which {name} imports", err=True)
    return load_space(name)
