"""`archsearch spaces`."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import click

from archsearch._utils.units import counted, format_bytes, format_count, format_short
from archsearch.cli.imports import opened_space
from archsearch.cli.options import SHAPE, budget_of, json_option, limits, lower_limits
from archsearch.cli.screen import columns, wrapped
from archsearch.network.arch import Arch
from archsearch.network.budget import Budget
from archsearch.network.file_size import Written
from archsearch.network.layers import Shape
from archsearch.network.limits import measures
from archsearch.space import inputs, statistics
from archsearch.space.balance import idle_limit
from archsearch.space.dims import Choice, Dim, Int
from archsearch.space.domain import Domain
from archsearch.space.reader import load_space, shipped
from archsearch.space.space import SearchSpace

_SHAPE = (3, 32, 32)


@click.command()
@click.argument("space", required=False, metavar="[NAME|FILE]")
@limits
@lower_limits
@click.option(
    "--input-shape",
    type=SHAPE,
    help="Channels, height, width of the images.  [default: the space's, else 3,32,32]",
)
@click.option("--classes", type=click.IntRange(1), default=10, show_default=True, help="Number of classes.")
@click.option(
    "--draws",
    type=click.IntRange(1, 10_000_000),
    default=2000,
    show_default=True,
    help="Uniform draws behind the share inside the limits.",
)
@json_option
def spaces(
    space: str | None, input_shape: Shape | None, classes: int, draws: int, as_json: bool, **options: Any
) -> None:
    """List the shipped search spaces, or describe one: dims, number of networks, smallest, largest.

    With limits (--max-params ...): also the share of uniform draws that is inside all of them, and whether one of
    them lies idle.
    """
    budget = budget_of(options)
    if space is None:
        found = [_line(load_space(name)) for name in shipped()]
        click.echo(json.dumps({"spaces": found}) if as_json else "\n".join(_list(found)))
        return
    facts = describe(_for(opened_space(space), input_shape), budget, input_shape or _SHAPE, classes, draws)
    click.echo(json.dumps(facts) if as_json else "\n".join(_text(facts, budget)))


def _for(space: SearchSpace, input_shape: Shape | None) -> SearchSpace:
    """The space for images of that shape alone, if one is given."""
    return space if input_shape is None else replace(space, input={})


def _line(space: SearchSpace) -> dict[str, Any]:
    return {
        "name": space.name,
        "dims": len(space.dims),
        "descriptions": statistics.descriptions(space),
        "summary": space.summary,
    }


def _list(found: list[dict[str, Any]]) -> list[str]:
    rows: list[tuple[str, ...]] = [("space", "dims", "descriptions", "summary")]
    rows += [(line["name"], str(line["dims"]), _number(line["descriptions"]), line["summary"]) for line in found]
    return columns(rows, left=(0, 3))


def _number(count: int | None) -> str:
    return "infinite" if count is None else f"{count:,}"


def describe(space: SearchSpace, budget: Budget, input_shape: Shape, classes: int, draws: int) -> dict[str, Any]:
    """Everything that is known of a space, as plain values. Raises SpecError where it makes no network."""
    active, seen = statistics.conditions(space), inputs.shapes(space.input, input_shape)
    domain = Domain(space, seen[-1], classes)
    smallest, largest = statistics.extremes(space, input_shape, classes)
    limited = budget.slug != "unlimited"
    found = statistics.share(space, budget, input_shape, classes, draws) if limited else None
    idle = idle_limit(Domain(space, input_shape, classes), budget)
    return {
        "name": space.name,
        "summary": space.summary,
        "input": list(seen[-1]),
        **({"inputs": [list(shape) for shape in seen]} if len(seen) > 1 else {}),
        "classes": classes,
        "dims": [{"name": name, **_dim(dim), "active": active[name]} for name, dim in space.dims.items()],
        "descriptions": statistics.descriptions(space),
        "architectures": statistics.architectures(space),
        "recipes": statistics.recipes(space),
        "smallest": _network(smallest, domain, budget.written),
        "largest": _network(largest, domain, budget.written),
        "share": {**asdict(found), "share": found.share} if found else None,
        "note": idle.words if idle else "",
    }


def _dim(dim: Dim) -> dict[str, Any]:
    if isinstance(dim, Choice):
        return {"choice": list(dim.options)}
    plain: dict[str, Any] = {"int" if isinstance(dim, Int) else "float": [dim.low, dim.high]}
    if isinstance(dim, Int) and dim.step != 1:
        plain["step"] = dim.step
    return plain | ({"log": True} if dim.log else {})


def _network(arch: Arch, domain: Domain, written: Written) -> dict[str, Any]:
    cost = arch.cost
    return {
        "arch": arch.id,
        "summary": domain.summary(arch),
        **measures(cost, written),
    }


def _text(facts: dict[str, Any], budget: Budget) -> list[str]:
    by = inputs.words(facts.get("inputs", [facts["input"]]))
    rows: list[tuple[str, ...]] = [("dim", "range", "exists where")]
    rows += [(dim["name"], _range(dim), dim["active"]) for dim in facts["dims"]]
    about = [f"{facts['name']}: {facts['summary']}", f"for {by} images, {counted(facts['classes'], 'class')}", ""]
    extremes = [_extreme(which, facts[which], budget.written) for which in ("smallest", "largest")]
    share = ["", _share(facts["share"], budget)] if facts["share"] else []
    note = [facts["note"]] if facts["note"] else []
    return [
        *wrapped(about),
        *columns(rows, left=(0, 1, 2)),
        *wrapped(["", *_counts(facts), ""]),
        *columns(extremes, left=(0, 4)),
        *wrapped([*share, *note]),
    ]


def _range(dim: dict[str, Any]) -> str:
    if "choice" in dim:
        return ", ".join(map(str, dim["choice"]))
    low, high = dim.get("int") or dim["float"]
    step = f" step {dim['step']}" if "step" in dim else ""
    return f"{low} .. {high}{step}" + (" log" if dim.get("log") else "")


def _counts(facts: dict[str, Any]) -> list[str]:
    """The numbers, and what each counts."""
    lines = [f"descriptions   {_number(facts['descriptions'])}  (different answers to the dims)"]
    if facts["architectures"] is None:
        lines.append("architectures  infinite: a float dim")
    else:
        most = _number(facts["architectures"])
        lines.append(f"architectures  at most {most}  (several may be the same layers, or make no network here)")
    if facts["recipes"] != 1:
        lines.append(f"recipes        {_number(facts['recipes'])}  (searched values of [train])")
    return lines


def _extreme(which: str, network: dict[str, Any], written: Written) -> tuple[str, ...]:
    return (
        which,
        f"{format_count(network['params'])} params",
        f"{format_bytes(network['size_bytes'])} ({written.words})",
        f"{format_short(network['macs'])} MACs",
        network["summary"],
    )


def _share(share: dict[str, Any], budget: Budget) -> str:
    broken = f"; {share['broken']:,} made no network" if share["broken"] else ""
    return (
        f"{100 * share['share']:.1f}% of draws are {budget.words}"
        f" ({share['inside']:,} of {share['draws']:,} uniform draws{broken})"
    )
