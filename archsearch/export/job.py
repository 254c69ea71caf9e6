"""One export: write, verify, put in place."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from archsearch._utils.files import write_with
from archsearch._utils.formats import FORMATS, bytes_of, files_of, format_of
from archsearch._utils.toolchain import DATA, interpreter
from archsearch.data.dataset import Split
from archsearch.data.pixels import Pixels
from archsearch.errors import ExportFailed, InputError
from archsearch.export import converted, write
from archsearch.export.quantize import evenly, quantized, weights_quantized
from archsearch.export.reopen import RESTORED, reopened
from archsearch.export.slim import slim
from archsearch.export.verify import Checks, Parity, check_size, compare
from archsearch.inference import Runner, open_runner
from archsearch.inference.evaluate import require_finite
from archsearch.inference.hosted import Hosted
from archsearch.inference.metadata import attach
from archsearch.inference.onnx import need
from archsearch.inference.pixels import DTYPES, PixelNetwork, normalisation_of
from archsearch.metrics import Metric, metric_in
from archsearch.network.arch import Arch
from archsearch.nn import weights
from archsearch.nn.build import untied


@dataclass(frozen=True)
class Source:
    """A trained network to export, in evaluation mode on the CPU, and what its file says of it."""

    path: Path
    module: nn.Module
    arch: Arch
    info: Mapping[str, Any]

    @classmethod
    def open(cls, path: Path) -> Source:
        """From a weights file, or an ONNX file that archsearch wrote, see `reopened`. Raises InputError."""
        if format_of(path) == "onnx":
            return cls(path, *reopened(path))
        found = weights.read(path)
        weights.require_names(found.info, path)
        normalisation_of(found.info, found.arch.input_shape[0], str(path))
        return cls(path, weights.load_module(path), found.arch, found.info)

    def network(self, dtype: str = "fp32") -> PixelNetwork:
        """Pixels to logits at a precision."""
        normalisation = normalisation_of(self.info, self.arch.input_shape[0], str(self.path))
        return PixelNetwork(untied(self.module), normalisation, DTYPES[dtype])


@dataclass(frozen=True)
class Images:
    """uint8 images: of the train part for calibration, and the validation split with its labels.

    `outputs`: the network's own on all validation images, where several exports share them.
    """

    train: Pixels
    validation: Split
    outputs: Tensor | None = None

    def sample(self, most: int) -> Images:
        """The same with at most so many validation images."""
        return Images(self.train, sampled(self.validation, most))


def metric_of_file(info: Mapping[str, Any], arch: Arch, labels: Tensor) -> Metric | None:
    """By which a file is judged that has these metadata; None for accuracy, and where the labels leave it undefined."""
    return metric_in(info, info.get("classes", tuple(map(str, range(arch.classes)))), labels)


def sampled(split: Split, most: int) -> Split:
    """At most so many images, evenly spaced, with their labels."""
    pixels, labels = split
    chosen = evenly(len(labels), most)
    return pixels.subset(chosen), labels[chosen]


@dataclass(frozen=True)
class Variant:
    """One way to write a format at a precision.

    Args:
        per_channel: int8 weights have a scale for each output channel, not one for the tensor.
    """

    per_channel: bool = False
    words: str = ""


@dataclass(frozen=True)
class Exported:
    """What was written and checked: the file that is named, and the bytes of all that belong to it.

    `parity` is that of its last check; `about` what its runtime says, empty where that runs in this process.
    """

    path: Path
    bytes: int
    parity: Parity
    variant: Variant = Variant()
    about: Mapping[str, Any] = field(default_factory=dict)


def export(
    source: Source,
    target: Path,
    images: Images,
    kind: str,
    dtype: str = "fp32",
    *,
    data_dir: Path = DATA,
    **checks: Any,
) -> Exported:
    """Write a network to `target`, checked; existing files are replaced only by those that passed.

    Where a precision has several variants, the smallest is taken that is not worse than the network beyond chance;
    if none is, the one that passes with the least drop of its score.

    Args:
        kind: one of `FORMATS`. dtype: one that it has.
        data_dir: where `export --setup` put the converters that are not installed here.
        checks: those of `Checks`.

    Raises:
        InputError: no such format, a package for it is missing, or the network's own outputs are not finite.
        ExportFailed: it cannot be exported, does not match the network, or does not fit; or the network was read from
            an ONNX file and answers otherwise than that.
        OSError: the file cannot be written.
    """
    check_kind(kind, dtype, data_dir)
    wanted = Checks(**checks)
    if wanted.weight_bits != 7 and (kind, dtype) != ("onnx", "int8"):
        raise InputError(f"--weight-bits {wanted.weight_bits}: goes with --format onnx --quantize int8 alone")
    if format_of(source.path) == "onnx":
        _require_same(source, sampled(images.validation, wanted.check_images), wanted)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.stem}-") as folder:
        attempt = _Attempt(source, images, kind, dtype, data_dir, wanted)
        found = list[Exported]()
        failures = list[ExportFailed]()
        for number, variant in enumerate(variants(kind, dtype)):
            place = Path(folder) / str(number) / target.name
            place.parent.mkdir()
            try:
                found.append(attempt(place, variant))
            except ExportFailed as error:
                failures.append(error)
                continue
            if _is_good(found[-1]):
                break
        if not found:
            raise failures[-1]
        return _placed(_best(found), source, target, dtype)


def _require_same(source: Source, split: Split, wanted: Checks) -> None:
    """Raises ExportFailed unless the network that was read from an ONNX file answers as that does."""
    pixels, labels = split
    parity = compare(open_runner(source.path)(pixels), outputs(source, pixels), labels, len(labels))
    try:
        parity.require(str(source.info[RESTORED]), wanted.max_drop)
    except ExportFailed as error:
        raise ExportFailed(f"{source.path}: the network that was read from it is another: {error}") from None


def check_kind(kind: str, dtype: str, data_dir: Path = DATA) -> None:
    """Raises InputError where there is no such format, not at this precision, or a package for it is missing."""
    if kind not in FORMATS:
        raise InputError(f"unknown format {kind!r}: use one of {', '.join(FORMATS)}")
    if dtype not in FORMATS[kind].dtypes:
        raise InputError(f"{kind} files are written at {', '.join(FORMATS[kind].dtypes)}, not at {dtype}")
    if kind in ("onnx", *converted.FROM_ONNX):
        for name in ("onnx", "onnxscript", *(["onnxruntime"] if kind == "onnx" else [])):
            need(name)
    if FORMATS[kind].hosted:
        interpreter(kind, data_dir)
        interpreter(kind, data_dir, convert=True)


def variants(kind: str, dtype: str) -> tuple[Variant, ...]:
    """The ways to write a format at a precision, the smallest first."""
    if dtype == "int8" and kind in ("onnx", "litert", "executorch"):
        return Variant(words="one scale a tensor"), Variant(per_channel=True, words="one scale a channel")
    return (Variant(),)


@dataclass(frozen=True)
class Writer:
    """Writes a network to files, unchecked.

    Args:
        train: images from which int8 takes its ranges. kind, dtype, data_dir: as for `export`.
        graph: from a network to its ONNX graph, before it is quantized. convert: to formats that have a converter.
    """

    source: Source
    train: Pixels
    kind: str
    dtype: str
    data_dir: Path
    wanted: Checks = field(default_factory=Checks)
    graph: Callable[[PixelNetwork, Arch], Any] = write.onnx_model
    convert: converted.Convert = converted.once

    def __call__(self, path: Path, variant: Variant) -> None:
        """Raises ExportFailed where the network cannot be written so, InputError where a package is missing."""
        source, kind, dtype = self.source, self.kind, self.dtype
        about = source.info if kind == "safetensors" else write.without_training(source.info)
        arch, info = source.arch, {**about, "dtype": dtype, "weights": weights.digest(source.module)}
        if kind == "safetensors":
            write.write_safetensors(path, source.module, arch, info, dtype)
        elif kind == "pt2":
            write.write_pt2(path, source.network(dtype), arch, info)
        elif kind == "onnx":
            write.write_onnx(path, self._onnx(variant), arch, info)
        else:
            job = converted.Job(kind, dtype, variant.per_channel, path, self.convert)
            images = self._calibration() if dtype == "int8" else None
            with tempfile.TemporaryDirectory() as folder:  # what was opened: the file may be another by now
                opened = weights.save(Path(folder) / "weights.safetensors", source.module, arch, source.info)
                job.do(opened, source.network(), arch, images, interpreter(kind, self.data_dir, convert=True))
            attach(path, weights.describe(arch, info))

    def _onnx(self, variant: Variant) -> Any:
        """The graph at the precision, in few bytes."""
        eight = self.dtype in ("int8", "int8-weights")
        model = self.graph(self.source.network("fp32" if eight else self.dtype), self.source.arch)
        if self.dtype == "int8":
            model = quantized(model, self._calibration(), per_channel=variant.per_channel, bits=self.wanted.weight_bits)
        elif eight:
            model = weights_quantized(model)
        return slim(model)

    def _calibration(self) -> Tensor:
        return self.train[evenly(len(self.train), self.wanted.calibration)]


@dataclass(frozen=True)
class _Attempt:
    """Writes and checks one variant after the other."""

    source: Source
    images: Images
    kind: str
    dtype: str
    data_dir: Path
    wanted: Checks

    def __call__(self, path: Path, variant: Variant) -> Exported:
        """Raises ExportFailed where the file does not pass."""
        wanted = self.wanted
        Writer(self.source, self.images.train, self.kind, self.dtype, self.data_dir, wanted)(path, variant)
        size = bytes_of(path)
        check_size(size, wanted.max_size)
        runner = self._opened(path)
        pixels, labels = self._checked
        parity = compare(self._mine, runner(pixels), labels, wanted.check_images, self._metric)
        parity.require(self.dtype, wanted.max_drop)
        about = runner.predict.about if isinstance(runner.predict, Hosted) else {}
        return Exported(path, size, parity, variant, about)

    def _opened(self, path: Path) -> Runner:
        """Raises ExportFailed where the runtime of a converted file does not take it."""
        try:
            return open_runner(path, trusted=True, data_dir=self.data_dir)
        except InputError as error:
            if not FORMATS[self.kind].hosted:
                raise
            raise ExportFailed(f"this network cannot be shipped as {self.kind}: {error}") from None

    @cached_property
    def _checked(self) -> Split:
        """The validation images on which a file is held against the network."""
        whole = self.images.validation
        few = sampled(whole, self.wanted.check_images) if self.kind == "pt2" and self.dtype != "fp32" else whole
        return few if self._metric is None or self._metric_on(few[1]) else whole

    @cached_property
    def _metric(self) -> Metric | None:
        """By which the score goes; None: accuracy."""
        return self._metric_on(self.images.validation[1])

    def _metric_on(self, labels: Tensor) -> Metric | None:
        asked = {"metric": self.wanted.metric} if self.wanted.metric else {}
        return metric_of_file({**self.source.info, **asked}, self.source.arch, labels)

    @cached_property
    def _mine(self) -> Tensor:
        """The network's own outputs, the same for every variant."""
        checked = self._checked
        if self.images.outputs is not None and len(checked[1]) == len(self.images.outputs):
            return self.images.outputs
        return outputs(self.source, checked[0])


def outputs(source: Source, pixels: Pixels) -> Tensor:
    """The logits of a network itself. Raises InputError where they are not finite."""
    found = Runner(source.arch, {}, source.network())(pixels)
    require_finite(found, source.path)
    return found


def _is_good(one: Exported) -> bool:
    """Whether a file is as good as its network but for chance."""
    return one.parity.least_drop <= 0


def _best(found: Sequence[Exported]) -> Exported:
    """The smallest that is good, else the one with the least drop."""
    good = [one for one in found if _is_good(one)]
    return min(good, key=lambda one: one.bytes) if good else min(found, key=lambda one: one.parity.drop)


def _placed(done: Exported, source: Source, target: Path, dtype: str) -> Exported:
    """The files of an export where they belong, the one that is named last."""
    if format_of(target) == "safetensors":
        weights.save_names(target, source.arch, {**source.info, "dtype": dtype})
    for file, place in reversed(list(zip(files_of(done.path), files_of(target), strict=True))):
        write_with(place, partial(shutil.copyfile, file))
    return replace(done, path=target)
