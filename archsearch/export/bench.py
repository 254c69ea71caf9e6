"""Files of networks side by side: bytes, milliseconds, RAM, accuracy, and how far they are from their network.

clock = Clock(threads=1, seconds=2)
rows = [*bench_study(source, folder, images, wanted, clock)]    # what is not written yet is, and removed again
rows = [*bench_files(paths, judge, clock)]
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from archsearch._utils.formats import bytes_of, file_name, files_of, format_of
from archsearch._utils.scores import ACCURACY
from archsearch._utils.toolchain import DATA
from archsearch.data.dataset import Split
from archsearch.errors import ArchsearchError, InputError
from archsearch.export.job import Images, Source, export, metric_of_file, outputs
from archsearch.export.verify import Parity, compare
from archsearch.inference import Runner, open_runner
from archsearch.inference.elsewhere import Elsewhere
from archsearch.inference.evaluate import accuracy
from archsearch.inference.hosted import Hosted, host, shape_of
from archsearch.inference.latency import SECONDS, UNKNOWN, WIDTH, Latency, measure
from archsearch.inference.latency_cache import Key, LatencyCache, layers_of, machine
from archsearch.inference.pixels import PixelNetwork
from archsearch.network.arch import Arch
from archsearch.nn import weights

Judge = Callable[[Path, Runner], Split]
"""The images for a file and their labels. Raises InputError where there are none."""


@dataclass(frozen=True)
class Row:
    """A file. What is not known is None.

    Args:
        path: None for a file that was written to be measured.
        median, p95: milliseconds. ram_bytes: see `docs/reference/bench.md`.
        metric, score: what the training went by, where that is not accuracy and these images define it.
        max_abs_diff: of an output from that of the safetensors file of the same weights.
        error: why something is missing. note: how far a figure can be trusted.
    """

    format: str
    precision: str | None = None
    path: Path | None = None
    bytes: int | None = None
    median: float | None = None
    p95: float | None = None
    ram_bytes: int | None = None
    accuracy: float | None = None
    max_abs_diff: float | None = None
    error: str | None = None
    note: str | None = None
    metric: str = ACCURACY
    score: float | None = None

    def judged(self, parity: Parity) -> Row:
        """The same with the scores and the largest difference of a file."""
        row = replace(self, accuracy=parity.accuracy, max_abs_diff=parity.max_abs_diff)
        by = parity.judged
        return replace(row, metric=by.metric.name, score=by.after) if by else row

    def failed(self, error: Exception) -> Row:
        """The same with one more reason why something is missing."""
        return replace(self, error="; ".join([*([self.error] if self.error else []), str(error)]))

    def plain(self) -> dict[str, Any]:
        """As `--json` has it."""
        latency = None if self.median is None else {"median": self.median, "p95": self.p95}
        return {
            "format": self.format, "precision": self.precision, "path": None if self.path is None else str(self.path),
            "bytes": self.bytes, "latency_ms": latency, "ram_bytes": self.ram_bytes, "accuracy": self.accuracy,
            "metric": self.metric, "score": self.accuracy if self.metric == ACCURACY else self.score,
            "max_abs_diff": self.max_abs_diff, "error": self.error, "note": self.note,
        }  # fmt: skip


@dataclass(frozen=True)
class Clock:
    """How files are timed: here, with so many threads for about so many seconds a file, or elsewhere."""

    threads: int = 1
    seconds: float = SECONDS
    data_dir: Path = DATA
    elsewhere: Elsewhere | None = None

    def __call__(self, row: Row, path: Path, arch: Arch | None) -> Row:
        """A row with milliseconds and RAM, or with the reason why not."""
        try:
            if self.elsewhere:
                median, ram = self.elsewhere(path)
                return replace(row, median=median, ram_bytes=ram)
            hosted = host(path, self.threads, self.data_dir)
            try:
                return self._here(row, hosted, arch)
            finally:
                hosted.close()
        except ArchsearchError as error:
            return row.failed(error)

    def _here(self, row: Row, hosted: Hosted, arch: Arch | None) -> Row:
        shape = arch.input_shape if arch else shape_of(hosted)
        try:
            row = replace(row, ram_bytes=hosted.ram(shape))
        except InputError as error:
            row = row.failed(error)
        kept, known, notes = LatencyCache(self.data_dir), UNKNOWN, list[str]()
        try:
            known = kept.quiet(hosted.work, self.threads)
        except InputError as error:
            notes.append(str(error))
        try:
            found = measure(hosted, shape, self.seconds, known)
        except ArchsearchError as error:
            return row.failed(error)
        if found.width > WIDTH:
            notes.append(self._loose(found))
        if not notes:
            kept.keep_quiet(hosted.work, self.threads, found.work)
            if arch and row.precision:
                about = hosted.about["runtime"], hosted.about["version"], row.precision
                kept.put(Key(layers_of(arch), *about, self.threads, machine()), found)
        return replace(row, median=found.median, p95=found.p95, note="; ".join(notes) or None)

    def _loose(self, found: Latency) -> str:
        known = f"to {100 * found.width:.0f}%" if found.width < 1 else "roughly"
        return f"the median is known {known} only, after {found.runs} runs: give more --seconds than {self.seconds:g}"


def bench_files(paths: Sequence[Path], judge: Judge, clock: Clock) -> Iterator[Row]:
    """A row for each file, in order."""
    opened = [_opened(path, judge, clock.data_dir) for path in paths]
    networks = {one.weights: one.logits for one in reversed(opened) if one.is_network}
    for one in opened:
        row, mine = one.row, networks.get(one.weights)
        if mine is not None and one.logits is not None and mine.shape == one.logits.shape:
            row = replace(row, max_abs_diff=float((mine - one.logits).abs().max()))
        yield clock(row, one.path, one.arch)


@dataclass(frozen=True)
class _Opened:
    """A file that was run on its images. `weights`: equal for files of the same weights, "" where nobody knows."""

    path: Path
    row: Row
    arch: Arch | None = None
    weights: str = ""
    logits: Tensor | None = None

    @property
    def is_network(self) -> bool:
        """Whether the others are compared with this one."""
        return self.logits is not None and (self.row.format, self.row.precision) == ("safetensors", "fp32")


def _opened(path: Path, judge: Judge, data_dir: Path) -> _Opened:
    row = Row(format_of(path), path=path)
    try:
        row = replace(row, bytes=bytes_of(path))
        runner = open_runner(path, data_dir=data_dir)
    except OSError as error:
        return _Opened(path, row.failed(InputError(f"{error.filename}: {error.strerror}")))
    except InputError as error:
        return _Opened(path, row.failed(error))
    row = replace(row, precision=str(runner.info.get("dtype", "fp32")))
    try:
        images, labels = judge(path, runner)
        logits = runner(images)
        row, metric = replace(row, accuracy=accuracy(logits, labels)), metric_of_file(runner.info, runner.arch, labels)
        if metric:
            row = replace(row, metric=metric.name, score=metric(logits, labels))
    except InputError as error:
        return _Opened(path, row.failed(error), runner.arch)
    finally:
        if isinstance(runner.predict, Hosted):
            runner.predict.close()
    return _Opened(path, row, runner.arch, _weights(runner), logits)


def _weights(runner: Runner) -> str:
    """Of which weights a file was made: what `export` wrote into it, or those that it holds itself."""
    if isinstance(said := runner.info.get("weights"), str):
        return said
    return weights.digest(runner.predict.network) if isinstance(runner.predict, PixelNetwork) else ""


def bench_study(
    source: Source, folder: Path, images: Images, wanted: Sequence[tuple[str, str]], clock: Clock
) -> Iterator[Row]:
    """A row for each format and precision of a network.

    Args:
        folder: where `export` puts its files. Those of these weights are taken as they are; others are written into
            a temporary folder, and removed.
        images: outputs are compared and accuracy is measured on all of its validation images.
        wanted: formats and precisions.
    """
    network = _Network(source, images, clock)
    for kind, dtype in wanted:
        with tempfile.TemporaryDirectory() as temporary:
            yield network.row(kind, dtype, folder, Path(temporary))


@dataclass(frozen=True)
class _Network:
    """A network that is written in one format after the other; its own outputs are the same for all."""

    source: Source
    images: Images
    clock: Clock

    @cached_property
    def outputs(self) -> Tensor:
        """On all validation images. Raises InputError where they are not finite."""
        return outputs(self.source, self.images.validation[0])

    def row(self, kind: str, dtype: str, folder: Path, temporary: Path) -> Row:
        """Of a file that is in `folder`, or else is written into `temporary`."""
        source, data_dir, row = self.source, self.clock.data_dir, Row(kind, dtype)
        there, place = (one / file_name(kind, dtype) for one in (folder, temporary))
        checked = len(self.images.validation[1])
        try:
            found = self._written_before(there)
            if found is None:
                images = replace(self.images, outputs=self.outputs)
                done = export(source, place, images, kind, dtype, data_dir=data_dir, check_images=checked)
                row = row.judged(done.parity)
            else:
                place = there
                row = replace(row, path=there).judged(found)
            row = replace(row, bytes=bytes_of(place))
        except ArchsearchError as error:
            return row.failed(error)
        return self.clock(row, place, source.arch)

    def _written_before(self, path: Path) -> Parity | None:
        """How far a file is that `export` left; None where it is none of these weights."""
        if not all(file.is_file() for file in files_of(path)):
            return None
        runner = open_runner(path, data_dir=self.clock.data_dir)
        try:
            if _weights(runner) != weights.digest(self.source.module):
                return None
            pixels, labels = self.images.validation
            metric = metric_of_file(self.source.info, self.source.arch, labels)
            return compare(self.outputs, runner(pixels), labels, len(labels), metric)
        finally:
            if isinstance(runner.predict, Hosted):
                runner.predict.close()
