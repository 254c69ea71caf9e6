"""`archsearch show`."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from archsearch._utils.scores import Score
from archsearch._utils.units import format_bytes, format_count
from archsearch.cli.options import json_option, one_record, opened_study, out_option, storage_option
from archsearch.cli.screen import say, terminal_width
from archsearch.network.arch import Arch

_NUMBERS = ("trial", "seed")
"""Names rather than quantities."""
_SIZES = ((4, 25), (4, 18), (3, 18), (2, 18), (2, 14), (1, 14))
"""Levels of modules and characters per column, best first."""


@click.command()
@click.argument("study")
@click.argument("arch")
@json_option
@storage_option()
@out_option
def show(study: str, arch: str, as_json: bool, storage: str | None, out: Path) -> None:
    """One candidate ARCH (the first digits of its id are enough) of STUDY: torchinfo's table, cost, curve."""
    from archsearch.report.files import ArchFiles

    folder, opened, config = opened_study(study, out, storage)
    record = one_record(opened, arch, folder)
    values = asdict(record)
    values |= values.pop("more")
    values = {name: value for name, value in values.items() if name != "val_score" or value is not None}
    if as_json:
        click.echo(json.dumps(values))
        return
    ArchFiles(folder, opened, config).write([record])
    network = Arch.load(folder / "archs" / f"{record.arch}.toml")
    click.echo(_layers(network))
    curve, usage = values.pop("curve"), values.pop("usage")
    points = "  ".join(f"{int(epoch)}: {config.score.shown(value)}" for epoch, value in curve)
    facts = {name: _shown(name, value, config.score) for name, value in {**values, **usage}.items()}
    facts |= {"curve": points}
    say(*(f"{name:>22}: {text}" for name, text in facts.items() if text or name == "curve"))


def _shown(name: str, value: Any, score: Score) -> str:
    """A value for people; `--json` has every digit."""
    if name == "val_accuracy" and value is not None:
        return f"{100 * value:.2f}%"
    if name == "val_score":
        return score.named(value)
    if isinstance(value, (int, float)) and name not in _NUMBERS:
        shown = format_count(value) if float(value).is_integer() else f"{value:,.6g}"
        return f"{shown} = {format_bytes(value)}" if name.endswith("_bytes") else shown
    return str(value)


def _layers(network: Arch) -> str:
    """torchinfo's table, with less of it where the terminal is narrow: narrower columns, then fewer levels."""
    import torchinfo

    from archsearch.nn.build import build

    module, width = build(network), terminal_width()
    table = ""
    for depth, room in _SIZES:
        found = torchinfo.summary(
            module,
            input_size=(1, *network.input_shape),
            verbose=0,
            depth=depth,
            col_width=room,
            col_names=("output_size", "num_params"),
        )
        table = str(found)
        if width and max(map(len, table.splitlines())) > width:
            table = _narrowed(found)
        if not width or max(map(len, table.splitlines())) <= width:
            break
    return re.sub(r"Units\.(\w)\w*", r"\1", table)  # torchinfo 1.8 prints the name of its enum


def _narrowed(found: Any) -> str:
    """The table without what its first column leaves empty."""
    name = found.formatting.layer_name_width
    layers = str(found).split("=\n")[1:3]
    used = max(len(line[:name].rstrip()) for part in layers for line in part.splitlines() if line.strip("="))
    found.formatting.layer_name_width = used + 1
    return str(found)
