"""One export: write, verify, put in place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from archsearch._utils.files import write_with
from archsearch.data.dataset import Split
from archsearch.data.pixels import Pixels
from archsearch.errors import InputError
from archsearch.export import write
from archsearch.export.quantize import evenly, quantized
from archsearch.export.verify import Checks, Parity, check_size, compare
from archsearch.inference import Runner, open_runner
from archsearch.inference.evaluate import require_finite
from archsearch.inference.onnx import need
from archsearch.inference.pixels import DTYPES, PixelNetwork, normalisation_of
from archsearch.network.arch import Arch
from archsearch.nn import weights

DTYPES_OF = {
    "safetensors": ("fp32", "fp16", "bf16"),
    "pt2": ("fp32", "fp16", "bf16"),
    "onnx": ("fp32", "fp16", "int8"),
}
"""ONNX Runtime computes in no bf16; int8 is ONNX Runtime's."""


@dataclass(frozen=True)
class Source:
    """A trained network to export, in evaluation mode on the CPU, and what its file says of it."""

    path: Path
    module: nn.Module
    arch: Arch
    info: Mapping[str, Any]

    @classmethod
    def open(cls, path: Path) -> Source:
        """From a weights file. Raises InputError."""
        found = weights.read(path)
        weights.require_names(found.info, path)
        normalisation_of(found.info, found.arch.input_shape[0], str(path))
        return cls(path, weights.load_module(path), found.arch, found.info)

    def network(self, dtype: str = "fp32") -> PixelNetwork:
        """Pixels to logits at a precision."""
        normalisation = normalisation_of(self.info, self.arch.input_shape[0], str(self.path))
        return PixelNetwork(self.module, normalisation, DTYPES[dtype])


@dataclass(frozen=True)
class Images:
    """uint8 images: of the train part for calibration, and the validation split with its labels."""

    train: Pixels
    validation: Split

    def sample(self, most: int) -> Images:
        """The same with at most so many validation images."""
        pixels, labels = self.validation
        chosen = evenly(len(labels), most)
        return Images(self.train, (pixels.subset(chosen), labels[chosen]))


@dataclass(frozen=True)
class Exported:
    """A file that was written and checked; `parity` is that of its last check."""

    path: Path
    bytes: int
    parity: Parity


def export(
    source: Source,
    target: Path,
    images: Images,
    kind: str,
    dtype: str = "fp32",
    **checks: Any,
) -> Exported:
    """Write a network to `target`, checked; an existing file is replaced only by one that passed.

    Args:
        kind: safetensors, onnx or pt2. dtype: one of `DTYPES_OF[kind]`.
        checks: those of `Checks`.

    Raises:
        InputError: no such format, a package for it is missing, or the network's own outputs are not finite.
        ExportFailed: it cannot be exported, does not match the network, or does not fit.
        OSError: the file cannot be written.
    """
    check_kind(kind, dtype)
    wanted = Checks(**checks)
    parities: list[Parity] = []

    def fill(path: Path) -> None:
        few = kind == "pt2" and dtype != "fp32"
        _write(path, source, images.train[evenly(len(images.train), wanted.calibration)], kind, dtype)
        check_size(path.stat().st_size, wanted.max_size)
        shown = images.sample(wanted.check_images) if few else images
        parities.append(_verify(path, source, shown, wanted.check_images))
        parities[-1].require(dtype, wanted.max_drop)

    if kind == "safetensors":
        weights.save_names(target, source.arch, {**source.info, "dtype": dtype})
    write_with(target, fill)
    return Exported(target, target.stat().st_size, parities[-1])


def check_kind(kind: str, dtype: str) -> None:
    """Raises InputError where there is no such format, not at this precision, or a package for it is missing."""
    if kind not in DTYPES_OF:
        raise InputError(f"unknown format {kind!r}: use one of {', '.join(DTYPES_OF)}")
    if dtype not in DTYPES_OF[kind]:
        raise InputError(f"{kind} files are written at {', '.join(DTYPES_OF[kind])}, not at {dtype}")
    if kind == "onnx":
        for name in ("onnx", "onnxscript", "onnxruntime"):
            need(name)


def _write(path: Path, source: Source, calibration: Tensor, kind: str, dtype: str) -> None:
    arch, info = source.arch, {**source.info, "dtype": dtype}
    if kind == "safetensors":
        write.write_safetensors(path, source.module, arch, info, dtype)
    elif kind == "pt2":
        write.write_pt2(path, source.network(dtype), arch, info)
    else:
        model = write.onnx_model(source.network("fp32" if dtype == "int8" else dtype), arch)
        write.write_onnx(path, quantized(model, calibration) if dtype == "int8" else model, arch, info)


def _verify(path: Path, source: Source, images: Images, check_images: int) -> Parity:
    """The file through its own runtime against the network, on the validation split."""
    pixels, labels = images.validation
    runner = open_runner(path, trusted=True)
    network = source.network()
    mine = Runner(source.arch, {}, network)(pixels)
    require_finite(mine, source.path)
    return compare(mine, runner(pixels), labels, check_images)
