"""`archsearch bench`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archsearch._utils.formats import FORMATS
from archsearch._utils.scores import ACCURACY, Score
from archsearch._utils.units import counted, format_bytes, format_count
from archsearch.cli.export import images_for, order_of
from archsearch.cli.options import SECONDS, data_options, out_option, split_option, storage_option
from archsearch.cli.screen import columns, wrapped
from archsearch.cli.sources import dataset_of, split_seed
from archsearch.errors import InputError

if TYPE_CHECKING:
    from archsearch.data.dataset import Split
    from archsearch.export.bench import Clock, Judge, Row
    from archsearch.inference import Runner

_PRECISIONS = tuple(dict.fromkeys(dtype for one in FORMATS.values() for dtype in one.dtypes))
_HEAD = ("at", "bytes", "ms", "p95", "RAM")


class NamesType(click.ParamType[tuple[str, ...]]):
    """Some of a few names, `onnx,litert`, or `all`."""

    name = "names"

    def __init__(self, known: Iterable[str]) -> None:
        self._known = tuple(known)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """The names, in the order in which they are known."""
        if isinstance(value, tuple):
            return value
        names = {name.strip() for name in str(value).split(",")}
        unknown = sorted(names - {*self._known, "all"})
        if unknown:
            self.fail(f"unknown {unknown[0]!r}: write all, or some of {','.join(self._known)}", param, ctx)
        return tuple(name for name in self._known if name in names or "all" in names)


@click.command()
@click.argument("targets", metavar="FILE... | STUDY ARCH", nargs=-1, required=True)
@click.option("--formats", type=NamesType(FORMATS), help="Of STUDY ARCH: onnx,litert or all.  [default: all]")
@click.option("--precisions", type=NamesType(_PRECISIONS), help="Of STUDY ARCH: fp32,int8 or all.  [default: all]")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Of each runtime.")
@click.option(
    "--seconds", type=click.FloatRange(0, min_open=True), default=2.0, show_default=True,
    help="For the milliseconds of a file, at most; a busy machine takes up to three times as long.",
)  # fmt: skip
@click.option(
    "--check-images", type=click.IntRange(1), default=1000, show_default=True,
    help="Validation images on which the score is measured and outputs are compared.",
)  # fmt: skip
@click.option(
    "--measure-with", metavar="COMMAND",
    help="Milliseconds by a command, 'ssh pi measure.sh {file}', whose last line is '5.3', or '5.3 123456' with RAM.",
)  # fmt: skip
@click.option(
    "--measure-timeout", type=SECONDS, default="60s", show_default=True,
    help="For one of the three tries of --measure-with.",
)  # fmt: skip
@click.option(
    "--weights", type=click.Path(path_type=Path), help="Weights of ARCH.  [default: the retrained, or the run's]"
)
@data_options
@split_option
@storage_option()
@out_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout: rows.")
def bench(targets: tuple[str, ...], as_json: bool, **options: Any) -> int:
    """Hold files of trained networks side by side: a row for each FILE, or for each format of candidate ARCH of STUDY.

    A row has bytes, milliseconds for one image (median and 95th percentile) by the runtime of the file in a process
    of its own, RAM where the runtime tells, the score on validation images, and the largest difference from the
    safetensors file of the same weights. Formats of ARCH that were not exported yet are written to be measured, and
    removed. The exit status is 1 where no file could be timed.
    """
    from archsearch.export.bench import Clock
    from archsearch.inference.elsewhere import Elsewhere

    command = options["measure_with"]
    elsewhere = None if command is None else Elsewhere(command, options["measure_timeout"])
    clock = Clock(options["threads"], options["seconds"], options["data_dir"], elsewhere)
    paths = _files(targets, options)
    found = _watched(_of_files(paths, options, clock) if paths else _of_study(targets, options, clock))
    worked = any(row.median is not None for row in found)
    if as_json:
        click.echo(json.dumps({"rows": [row.plain() for row in found]}))
    else:
        click.echo("\n".join(_text(found, clock)))
    return 0 if worked else 1


def _files(targets: tuple[str, ...], options: Mapping[str, Any]) -> list[Path]:
    """The files that are given; none where it is a study. Raises InputError."""
    paths = [Path(target) for target in targets]
    missing = [path for path in paths if not path.is_file()]
    if missing == paths and len(paths) == 2:
        return []
    if missing:
        of_study = "" if len(paths) > 2 else ", and for a study there are two arguments: STUDY ARCH"
        raise InputError(f"{missing[0]}: there is no such file{of_study}")
    for name in ("formats", "precisions", "weights"):
        if options[name] is not None:
            raise InputError(f"--{name} goes with STUDY ARCH: a file is measured as it is")
    return paths


def _of_files(paths: list[Path], options: Mapping[str, Any], clock: Clock) -> Iterator[Row]:
    from archsearch.export.bench import bench_files

    return bench_files(paths, _judge(options), clock)


def _judge(options: Mapping[str, Any]) -> Judge:
    """Validation images for a file, those of its training unless others are given; each dataset is read once."""
    from archsearch.data import Dataset
    from archsearch.export import sampled
    from archsearch.inference.evaluate import check_fit, part_of

    read = dict[str, Dataset]()

    def judge(path: Path, runner: Runner) -> Split:
        own = {name: runner.info.get(name) for name in ("dataset", "colour", "validation")}
        key = json.dumps([str(path.absolute().parent), runner.arch.input_shape, own])
        if key not in read:
            read[key] = dataset_of(path, runner.arch, runner.info, options)
        check_fit(runner, read[key], str(path))
        return sampled(
            part_of(read[key], "validation", split_seed(options["seed"], runner.info)), options["check_images"]
        )

    return judge


def _of_study(targets: tuple[str, ...], options: Mapping[str, Any], clock: Clock) -> Iterator[Row]:
    from archsearch.export import Source
    from archsearch.export.bench import bench_study

    order = order_of(targets[0], targets[1], {**options, "max_size": None})
    source = Source.open(order.weights)
    if order.arch != source.arch.id:
        raise InputError(f"{order.weights} holds {source.arch.id}, not {order.arch}")
    images = images_for(source, order, options["data_dir"]).sample(options["check_images"])
    precisions = options["precisions"] or _PRECISIONS
    wanted = [(kind, dtype) for kind in options["formats"] or FORMATS for dtype in FORMATS[kind].dtypes]
    wanted = [(kind, dtype) for kind, dtype in wanted if dtype in precisions]
    if not wanted:
        raise InputError(f"--precisions {','.join(precisions)}: no format of --formats is written at it")
    return bench_study(source, order.folder / source.arch.id, images, wanted, clock)


def _watched(rows: Iterator[Row]) -> list[Row]:
    """All rows; on a terminal a line says how many there are by now."""
    found: list[Row] = []
    shown = sys.stderr.isatty()
    for row in rows:
        found.append(row)
        if shown:
            click.echo(f"\r{counted(len(found), 'file')} measured", nl=False, err=True)
    if shown:
        click.echo("\r" + " " * 30 + "\r", nl=False, err=True)
    return found


def _text(rows: list[Row], clock: Clock) -> list[str]:
    names = _names(rows)
    first, others = "file" if all(row.path for row in rows) else "format", _metrics(rows)
    table = [(first, *_HEAD, "score" if others else ACCURACY, "differ"), *map(_cells, rows, names)]
    said = [
        f"{name} {row.precision or ''}".strip() + f": {words}"
        for row, name in zip(rows, names, strict=True)
        for words in (row.error, row.note)
        if words
    ]
    by = [f"score: {', '.join(others)}, as in the training"] if others else []
    return [*columns(table, left=(0, 1)), "", *wrapped([*said, *by, _foot(clock)])]


def _metrics(rows: list[Row]) -> list[str]:
    """By what the rows are judged, in words, where it is not accuracy alone."""
    found = {row.metric for row in rows if row.accuracy is not None}
    return [] if found <= {ACCURACY} else sorted(Score(name).words for name in found)


def _names(rows: list[Row]) -> list[str]:
    """What tells the rows apart beside their precision: names of files, or their formats."""
    paths = [row.path for row in rows if row.path]
    if len(paths) < len(rows):
        return [row.format for row in rows]
    names = [path.name for path in paths]
    return names if len({*names}) == len(names) else [str(path) for path in paths]


def _cells(row: Row, name: str) -> tuple[str, ...]:
    ram = "" if row.ram_bytes is None else format_bytes(row.ram_bytes)
    value = row.accuracy if row.metric == ACCURACY else row.score
    score = "" if value is None else Score(row.metric).shown(value)
    differ = "" if row.max_abs_diff is None else f"{row.max_abs_diff:.2g}"
    size = "" if row.bytes is None else format_count(row.bytes)
    return name, row.precision or "", size, _ms(row.median), _ms(row.p95), ram, score, differ


def _ms(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _foot(clock: Clock) -> str:
    from archsearch.inference.latency_cache import machine

    if clock.elsewhere:
        return f"ms: one image, by {clock.elsewhere.command}"
    where = f"{counted(clock.threads, 'thread')} on {machine()}"
    return f"ms: median of single images, p95: 95 of 100 take less, warm; {where}"
