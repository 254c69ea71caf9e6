"""Milliseconds of networks that nobody has trained: written with random weights, as `export` writes them, and run."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from math import inf
from pathlib import Path
from typing import Any

import torch
from torch import nn

from archsearch._utils.formats import file_name, format_of
from archsearch._utils.locking import alone
from archsearch._utils.toolchain import DATA, HERE, interpreter
from archsearch.data.pixels import Pixels
from archsearch.errors import InputError, NotMeasurable
from archsearch.export.converted import Convert, Resident, once
from archsearch.export.graphs import Graphs
from archsearch.export.job import Source, Writer, check_kind, variants
from archsearch.export.write import onnx_model
from archsearch.inference.elsewhere import Elsewhere
from archsearch.inference.hosted import Hosted, host, shape_of
from archsearch.inference.latency import SECONDS, WIDTH, Latency, measure
from archsearch.inference.latency_cache import Key, LatencyCache, layers_of, machine
from archsearch.inference.pixels import PixelNetwork
from archsearch.network import zoo
from archsearch.network.arch import Arch
from archsearch.network.budget import Budget
from archsearch.network.layers import Shape
from archsearch.network.timing import RUNTIMES, Timing
from archsearch.nn import weights
from archsearch.nn.build import build

Again = Callable[[NotMeasurable], bool]
"""Whether to try once more, after a while that it waits for."""
LOCK = Path("cache") / "latency.lock"
"""Below the data folder: who holds it measures."""
_IMAGES = 16
"""From which int8 takes its ranges."""
_FEW = 4
"""From which norms take their statistics."""
_RUNS, _LONGEST = 60, 10.0
"""Of a network whose median is still not known well: so many runs, in so many seconds at most."""


def settled(budget: Budget) -> Budget:
    """The same, with limits in milliseconds that hold on this kind of machine, unless they name one or a command."""
    timing = budget.timing
    if timing is None or timing.machine or timing.command:
        return budget
    limits = dict(budget.limits)
    there = replace(timing, machine=machine())
    return Budget(size_dtype=budget.size_dtype, size_format=budget.size_format, timing=there, **limits)


def require(budget: Budget, data_dir: Path) -> None:
    """Refuse a limit on milliseconds that cannot be measured here. Raises InputError."""
    if budget.timing:
        Stopwatch(budget.timing, data_dir)


class Stopwatch:
    """Measures networks, each once: what was measured before is in the cache of the data folder.

    Args:
        timing: how. data_dir: with cache, lock and the environments of `export --setup`.

    Raises:
        InputError: a package is missing, or the limit holds on another kind of machine.
    """

    def __init__(self, timing: Timing, data_dir: Path = DATA) -> None:
        check_kind(timing.kind, timing.precision, data_dir)
        if timing.machine not in ("", machine()):
            raise InputError(
                f"milliseconds are limited on another machine ({timing.machine}), this is {machine()}: take one of"
                " that kind, or begin another study; --measure-with asks one board from everywhere"
            )
        self.timing, self.data_dir = timing, data_dir
        self._cache = LatencyCache(data_dir)
        self._elsewhere = Elsewhere(timing.command) if timing.command else None
        self._graphs, self._convert = Graphs(), Resident()
        self._held = 0

    def known(self, arch: Arch) -> float | None:
        """Milliseconds of a network that was measured before. Raises InputError where the cache is damaged."""
        found = self._cache.get(self._key(arch))
        return None if found is None else found.median

    def __call__(self, arch: Arch, again: Again = lambda error: False) -> float:
        """Milliseconds of a network, measured while no other process of this data folder measures.

        Raises:
            NotMeasurable: the machine is busy, and `again` has given up.
            ExportFailed: the network cannot be written in the runtime's format.
            InputError: the runtime refuses its file or dies.
        """
        with self.alone():
            found = self.known(arch)
            if found is None:
                measured = self._measured(arch, again)
                self._cache.put(self._key(arch), measured)
                found = measured.median
        return found

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other process measures; within it, nobody else does."""
        if self._held:
            yield
            return
        with alone(self.data_dir / LOCK):
            self._held += 1
            try:
                yield
            finally:
                self._held -= 1

    def _measured(self, arch: Arch, again: Again) -> Latency:
        timing = self.timing
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / file_name(timing.kind, timing.precision)
            write_random(path, arch, timing, self.data_dir, self._graphs, self._convert)
            while True:
                try:
                    return self._of_file(path, arch.input_shape)
                except NotMeasurable as error:
                    if not again(error):
                        raise

    def of_file(self, path: Path) -> float:
        """Milliseconds of a file in the runtime's format. Raises NotMeasurable, InputError."""
        with self.alone():
            return self._of_file(path).median

    def _of_file(self, path: Path, shape: tuple[int, ...] | None = None) -> Latency:
        if self._elsewhere:
            median, _ = self._elsewhere(path)
            return Latency(median, median, 0.0, inf, 1, (0.0, 0.0))
        hosted = host(path, self.timing.threads, self.data_dir)
        try:
            return self._here(hosted, shape or shape_of(hosted))
        finally:
            hosted.close()

    def _here(self, hosted: Hosted, shape: tuple[int, ...]) -> Latency:
        threads = self.timing.threads
        known = self._cache.quiet(hosted.work, threads)
        found = measure(hosted, shape, SECONDS, known)
        if found.width > WIDTH:
            seconds = min(_RUNS * found.median / 1000, _LONGEST)
            found = measure(hosted, shape, max(SECONDS, seconds), known)
        self._cache.keep_quiet(hosted.work, threads, found.work)
        return found

    def _key(self, arch: Arch) -> Key:
        timing = self.timing
        where = timing.command or machine()
        package = RUNTIMES[timing.runtime].package
        return Key(layers_of(arch), package, self._version, timing.precision, timing.threads, where)

    @cached_property
    def _version(self) -> str:
        """Of the runtime, "" where it is on a board."""
        package = RUNTIMES[self.timing.runtime].package
        if self._elsewhere:
            return ""
        python = HERE if self.timing.kind == "onnx" else interpreter(self.timing.kind, self.data_dir)
        if python == HERE:
            try:
                return version(package)
            except PackageNotFoundError:
                return ""
        ask = f"import importlib.metadata; print(importlib.metadata.version({package!r}))"
        done = subprocess.run(
            [*python.command, "-c", ask], env=python.environment, capture_output=True, text=True, check=False
        )
        return done.stdout.strip()


def write_random(
    path: Path,
    arch: Arch,
    timing: Timing,
    data_dir: Path,
    graph: Callable[[PixelNetwork, Arch], Any] = onnx_model,
    convert: Convert = once,
) -> None:
    """A file of a network with random weights, as `export` writes it. Raises ExportFailed.

    graph: from a network to its ONNX graph. convert: to a format that has a converter.
    """
    channels = arch.input_shape[0]
    info = {"normalisation": {"mean": [0.5] * channels, "std": [0.25] * channels}}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = random_network(arch)
        images = Pixels.of(torch.randint(0, 256, (_IMAGES, *arch.input_shape), dtype=torch.uint8))
    source = Source(path, module, arch, info)
    writer = Writer(source, images, timing.kind, timing.precision, data_dir, graph=graph, convert=convert)
    writer(path, variants(timing.kind, timing.precision)[0])


@torch.no_grad()
def random_network(arch: Arch) -> nn.Module:
    """A network in evaluation mode whose norms have the statistics of its random weights.

    Else values die out on their way through it, and arithmetic with the smallest numbers is slow.
    """
    module = build(arch)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.momentum = None
            if part.affine:
                nn.init.ones_(part.weight)
    module.train()(torch.randn(_FEW, *arch.input_shape))
    return module.eval()


def milliseconds_of(target: str, timing: Timing, shape: Shape | None = None, data_dir: Path = DATA) -> float:
    """Milliseconds of a file in the runtime's format, or of an architecture, a textbook's network or their weights.

    shape: of the image, in place of the architecture's own.

    Raises:
        InputError: a target of another kind, or one that the runtime refuses.
        ExportFailed: the network cannot be written in that format.
        NotMeasurable: the machine is busy.
    """
    stopwatch, path, name = Stopwatch(timing, data_dir), Path(target), target.removeprefix("ref:")
    if name != target:
        arch = zoo.load(name).arch
    elif path.is_file() and path.suffix == ".toml":
        arch = Arch.load(path)
    elif path.is_file() and format_of(path) == timing.kind:
        return stopwatch.of_file(path)
    elif path.is_file() and path.suffix == ".safetensors":
        arch = weights.read(path).arch
    else:
        words = RUNTIMES[timing.runtime].words
        raise InputError(
            f"{target}: --max-latency is measured on architectures, on archsearch's weights and on files of {words}"
            " (another --runtime: other files)"
        )
    return stopwatch(arch.adapted(shape, arch.classes) if shape else arch)
