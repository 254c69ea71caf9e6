"""`--target`: a device's limits, as defaults of the options that are not given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from archsearch.errors import InputError
from archsearch.network.targets import Target, load

Function = TypeVar("Function", bound=Callable[..., Any])
_KEY = "archsearch.target"


def target_option(function: Function) -> Function:
    """`--target`: the command sees the limits alone."""
    option = click.option(
        "--target",
        "device_limits",
        metavar="NAME|FILE.toml:NAME",
        callback=_take,
        is_eager=True,
        expose_value=False,
        help="Limits of a device: cortex-m4-256k, pi-zero-2w, ... (docs/reference/targets.md). Given options win.",
    )
    return option(function)


def _take(context: click.Context, parameter: click.Parameter, spec: str | None) -> None:
    """The target's limits become the command's defaults. Raises click's error for bad input."""
    if spec is None:
        return
    try:
        target = load(spec)
    except InputError as error:
        raise click.BadParameter(str(error), context, parameter) from None
    context.default_map = {**(context.default_map or {}), **target.limits}
    context.meta[_KEY] = target


def say_target() -> None:
    """One line on stderr, where the command has a target: what it sets, and what was given in its place."""
    context = click.get_current_context(silent=True)
    target: Target | None = context.meta.get(_KEY) if context else None
    if context is None or target is None:
        return
    default = click.core.ParameterSource.DEFAULT_MAP
    taken = [name for name in target.given if context.get_parameter_source(name) in (default, None)]
    given = [_option(name) for name in target.given if name not in taken]
    words = " ".join(f"{_option(name)} {target.given[name]}" for name in taken)
    instead = f"; given instead: {', '.join(given)}" if given else ""
    click.echo(f"target {target.name}: {words or 'nothing'}{instead}", err=True)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
