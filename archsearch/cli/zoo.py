"""`archsearch zoo`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import click

from archsearch._utils.certified import PREFIX, Certified, find, local, networks, timed
from archsearch._utils.files import write_with
from archsearch._utils.formats import FORMATS, format_of
from archsearch._utils.units import counted, format_bytes, format_count, format_short
from archsearch.cli.options import data_dir_option, json_option
from archsearch.cli.screen import columns, wrapped
from archsearch.errors import InputError


@click.command()
@click.argument("name", required=False)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Copy the file of NAME here, verified.")
@data_dir_option
@json_option
def zoo(name: str | None, output: Path | None, data_dir: Path, as_json: bool) -> None:
    """List the networks that are ready: trained, exported and tested; or describe NAME and copy its file.

    `archsearch predict zoo:NAME`, `evaluate zoo:NAME` and archsearch.load("zoo:NAME") take them by name. Where their
    files come from: docs/zoo.md.
    """
    if name is None:
        if output:
            raise InputError(f"--output {output}: is for one network: give its NAME, archsearch zoo lists them")
        found = [*networks().values()]
        plain = {"networks": [one.plain() for one in found]}
        click.echo(json.dumps(plain) if as_json else "\n".join(columns(_rows(found), left=(0, 1, 4, 8), cut=True)))
        return
    one = find(name)
    if output:
        _copy(one, output, data_dir)
    written = [f"written        {output}"] if output else []
    click.echo(json.dumps(one.plain()) if as_json else "\n".join(wrapped([*_text(one), *written])))


def _rows(found: list[Certified]) -> list[tuple[str, ...]]:
    head = ("name", "dataset", "parameters", "bytes", "precision", "RAM", "ms", "test accuracy", "layers")
    return [head, *map(_row, found)]


def _row(one: Certified) -> tuple[str, ...]:
    accuracy = f"{100 * one.accuracy:.2f}%"
    return (
        one.name, one.dataset, format_count(one.params), format_bytes(one.bytes), one.precision,
        format_bytes(one.ram_bytes) if one.ram_bytes else "", _milliseconds(one), accuracy, one.summary,
    )  # fmt: skip


def _milliseconds(one: Certified) -> str:
    return "" if one.latency_ms is None else f"{one.latency_ms:.3g}"


def _text(one: Certified) -> list[str]:
    scores = ", ".join(f"{100 * score:.2f}%" for score in one.trainings.values())
    formats = ", ".join(f"{name} {format_count(size)}" for name, size in one.formats.items())
    ram = f"{format_bytes(one.peak_activation_bytes)} of live activations at int8"
    if one.ram_bytes:
        ram = f"{format_bytes(one.ram_bytes)} for TensorFlow Lite Micro at int8, {ram}"
    packed = f", {format_count(one.model_bytes)} without xz" if one.model_bytes != one.bytes else ""
    return [
        f"{PREFIX}{one.name}: {one.summary}",
        f"dataset        {one.dataset}" + (f": {', '.join(one.classes)}" if one.classes else ""),
        f"parameters     {format_count(one.params)}",
        f"MACs           {format_short(one.macs)} for one image",
        f"file           {one.file}",
        f"bytes          {format_count(one.bytes)}{packed}, {one.precision}, {FORMATS[one.format].words}",
        *([f"by format      {formats}"] if len(one.formats) > 1 else []),
        f"RAM            {ram}",
        *([f"milliseconds   {_milliseconds(one)} for one image ({timed()})"] if one.latency_ms is not None else []),
        f"SHA-256        {one.sha256}",
        f"test accuracy  {100 * one.accuracy:.2f}%, {counted(len(one.trainings), 'training')}: {scores}",
        f"network        {one.arch}",
    ]


def _copy(one: Certified, output: Path, data_dir: Path) -> None:
    """Raises InputError for a name that says another format, and where there is no file to copy."""
    suffix = ".onnx.xz" if one.file.endswith(".onnx.xz") else FORMATS[one.format].suffix
    if format_of(output) != one.format or not output.name.endswith(suffix):
        raise InputError(f"--output {output}: must end in {suffix}")
    source = local(one, data_dir)
    write_with(output, lambda temporary: shutil.copyfile(source, temporary))
