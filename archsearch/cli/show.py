"""`archsearch show`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from archsearch.cli.options import json_option, one_record, opened_study, out_option, storage_option
from archsearch.network.arch import Arch


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
    if as_json:
        click.echo(json.dumps(values))
        return
    ArchFiles(folder, opened, config).write([record])
    network = Arch.load(folder / "archs" / f"{record.arch}.toml")
    click.echo(_layers(network))
    curve, usage = values.pop("curve"), values.pop("usage")
    for name, value in {**values, **usage}.items():
        if value != "":
            click.echo(f"{name:>22}: {value}")
    points = "  ".join(f"{int(epoch)}: {100 * accuracy:.2f}%" for epoch, accuracy in curve)
    click.echo(f"{'curve':>22}: {points}")


def _layers(network: Arch) -> str:
    import torchinfo

    from archsearch.nn.build import build

    table = torchinfo.summary(
        build(network),
        input_size=(1, *network.input_shape),
        verbose=0,
        depth=4,
        col_names=("output_size", "num_params"),
    )
    return str(table)
