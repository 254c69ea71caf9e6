"""One network in every format and precision that is installed: the table of docs/evidence/formats-shipped.md.

    python benchmarks/formats.py npz:cifar10.npz results/cifar10-78k/weights/208a62b17a5b-seed0.safetensors --write

Each file is exported through the gates of `archsearch export`, then scored on test images. `--keep litert:int8` copies
such a file of less than 200 kB into the folder `export/ARCH` beside the weights, with what it scored.

WEIGHTS may be an ONNX file, where that alone was kept: then each file is held against it, and it is a row itself.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from archsearch._utils.formats import FORMATS, files_of, format_of
from archsearch._utils.toolchain import DATA
from archsearch._utils.units import format_count
from archsearch.data import load_dataset
from archsearch.data.pixels import Pixels
from archsearch.errors import ArchsearchError
from archsearch.export import Images, Source, export
from archsearch.export.quantize import evenly
from archsearch.export.reopen import RESTORED
from archsearch.inference import open_runner
from archsearch.inference.evaluate import correct, part_of
from archsearch.inference.onnx import content

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "evidence" / "formats-shipped.md"
BEGIN, END = "<!-- table of {} -->", "<!-- end of the table -->"
SCORES = "formats.json"
MICRO_IMAGES, ARENA = 1000, 4_000_000
SMALL = 200_000
"""Bytes of a file that is kept, at most."""
_HEAD = "| format | precision | bytes | accuracy | right ones lost, won | largest difference | seconds | by |"


@dataclass(frozen=True)
class Row:
    """A file. right: bool (N,), whether each test image is; `refused`: why there is none."""

    kind: str
    dtype: str
    refused: str = ""
    bytes: int = 0
    right: Tensor | None = None
    most: float = 0.0
    seconds: float = 0.0
    by: str = ""

    def cells(self, network: Tensor) -> tuple[str, ...]:
        """As the table has them. network: bool (N,), whether the network itself is right."""
        if self.right is None:
            return (FORMATS[self.kind].words, self.dtype, "", "", "", "", "", self.refused)
        lost, won = int((network & ~self.right).sum()), int((self.right & ~network).sum())
        share = f"{100 * self.right.float().mean():.2f}%"
        return (
            FORMATS[self.kind].words, self.dtype, format_count(self.bytes), share, f"{lost}, {won}",
            f"{self.most:.2g}", f"{self.seconds:.0f}" if self.seconds else "", self.by,
        )  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """A network, the images that its files are checked on, and those that they are scored on."""

    source: Source
    images: Images
    test: tuple[Pixels, Tensor]
    data_dir: Path
    folder: Path
    micro: str | None = None

    def place(self, kind: str, dtype: str) -> Path:
        """Where a file is written."""
        return self.folder / f"model{'' if dtype == 'fp32' else f'.{dtype}'}{FORMATS[kind].suffix}"

    def row(self, kind: str, dtype: str) -> Row:
        """Export and score one file."""
        clock = time.perf_counter()
        try:
            done = export(self.source, self.place(kind, dtype), self.images, kind, dtype, data_dir=self.data_dir)
        except ArchsearchError as error:
            return Row(kind, dtype, str(error))
        seconds = time.perf_counter() - clock
        pixels, labels = self.test
        found, mine = open_runner(done.path, data_dir=self.data_dir)(pixels), self.logits
        by = ", ".join(filter(None, (_runtime(kind, done.about), done.variant.words)))
        if self.micro and (kind, dtype) == ("litert", "int8"):
            by += f"; {micro(self.micro, done.path, pixels, found)}"
        return Row(kind, dtype, "", done.bytes, correct(found, labels), float((found - mine).abs().max()), seconds, by)

    def given(self) -> list[Row]:
        """The row of the file itself, where it is an ONNX file."""
        path = self.source.path
        if format_of(path) != "onnx":
            return []
        right = correct(self.logits, self.test[1])
        by = f"{_runtime('onnx', {})}, the file in `results/`"
        return [Row("onnx", self.source.info[RESTORED], "", len(content(path)), right, by=by)]

    @cached_property
    def logits(self) -> Tensor:
        """Those of the weights, or of the ONNX file, on the test images."""
        return open_runner(self.source.path)(self.test[0])


def _runtime(kind: str, about: Mapping[str, Any]) -> str:
    """The runtime that checked a file, with its version."""
    if about:
        return f"{about['runtime']} {about['version']}"
    package = "onnxruntime" if kind == "onnx" else "torch"
    return f"{package} {version(package)}"


def micro(python: str, path: Path, pixels: Pixels, logits: Tensor) -> str:
    """The file in tflite-micro, in words: its arena, and how many labels are those of LiteRT.

    Args:
        python: the interpreter that has it.
        logits: those of LiteRT.
    """
    few = evenly(len(logits), MICRO_IMAGES)
    with tempfile.TemporaryDirectory() as folder:
        images, answers = Path(folder) / "images.npy", Path(folder) / "logits.npy"
        np.save(images, (pixels.subset(few)[:].float() / 255).numpy())
        words = [python, Path(__file__).with_name("micro.py"), path, images, answers, str(ARENA)]
        done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
        said, found = json.loads(done.stdout.splitlines()[-1]), torch.from_numpy(np.load(answers))
    same = int((found.argmax(1) == logits[few].argmax(1)).sum())
    return (
        f"tflite-micro {said['version']}: arena {format_count(said['arena'])} bytes,"
        f" {format_count(same)} of {format_count(len(few))} labels as in LiteRT"
    )


def table(bench: Bench, rows: Sequence[Row]) -> list[str]:
    """A network's rows in Markdown, smallest file first, those that were refused last."""
    right = correct(bench.logits, bench.test[1])
    best = sorted([*bench.given(), *rows], key=lambda row: (bool(row.refused), row.bytes))
    return [_HEAD, "|---" * _HEAD.count(" | ") + "|---|", *(f"| {' | '.join(row.cells(right))} |" for row in best)]


def written(text: str, name: str, lines: Sequence[str]) -> str:
    """A page with a network's table in place of the one that it had. Raises ValueError where it has none."""
    head, begin, rest = text.partition(BEGIN.format(name))
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"no line {BEGIN.format(name)!r} with {END!r} behind it")
    return "\n".join([head + begin, *lines, end + tail])


def keep(bench: Bench, row: Row, path: Path) -> None:
    """Copy a file to where `export` puts those of a study, and what it scored into `formats.json` there."""
    place = bench.source.path.parent.parent / "export" / bench.source.arch.id
    place.mkdir(parents=True, exist_ok=True)
    for file in files_of(path):
        shutil.copyfile(file, place / file.name)
    assert row.right is not None
    notes = place / SCORES
    said = json.loads(notes.read_text()) if notes.exists() else {}
    score = {"bytes": row.bytes, "accuracy": int(row.right.sum()) / len(row.right), "n": len(row.right), "by": row.by}
    notes.write_text(json.dumps({**said, path.name: score}, indent=1) + "\n")


def opened(weights: Path, options: argparse.Namespace, folder: Path) -> Bench:
    """A weights file with the images of its training's split."""
    source = Source.open(weights)
    dataset = load_dataset(options.dataset, data_dir=options.data_dir)
    seed = int(source.info.get("seed", 0))
    images = Images(part_of(dataset, "train", seed)[0], part_of(dataset, "validation", seed)).sample(options.checked)
    pixels, labels = dataset.test()
    chosen = evenly(len(labels), options.images)
    return Bench(source, images, (pixels.subset(chosen), labels[chosen]), options.data_dir, folder, options.micro)


def wanted(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Formats and precisions, all where none is named."""
    for kind, form in FORMATS.items():
        if kind in (options.formats or FORMATS):
            dtypes = (dtype for dtype in form.dtypes if dtype in (options.dtypes or form.dtypes))
            yield from ((kind, dtype) for dtype in dtypes if f"{kind}:{dtype}" in (options.only or [f"{kind}:{dtype}"]))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="npz:FILE, or cifar10")
    parser.add_argument("weights", nargs="+", type=Path)
    parser.add_argument("--images", type=int, default=10_000, help="test images, evenly spaced, at most")
    parser.add_argument("--checked", type=int, default=10_000, help="validation images of export's checks, at most")
    parser.add_argument("--only", nargs="*", metavar="FORMAT:DTYPE", help="these alone")
    parser.add_argument("--formats", nargs="*", choices=[*FORMATS], help="all")
    parser.add_argument("--dtypes", nargs="*", help="all that a format has")
    parser.add_argument("--data-dir", type=Path, default=DATA)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--micro", metavar="PYTHON", help="an interpreter with tflite-micro: int8 runs there too")
    parser.add_argument("--write", action="store_true", help=f"into {PAGE.relative_to(ROOT)}")
    parser.add_argument("--keep", nargs="*", default=[], metavar="FORMAT:DTYPE", help="files for results/")
    return parser.parse_args()


def main() -> None:
    """A line a file as it is done, then a table a network."""
    options = parse()
    torch.set_num_threads(options.threads)
    for weights in options.weights:
        with tempfile.TemporaryDirectory() as folder:
            bench, rows = opened(weights, options, Path(folder)), []
            for kind, dtype in wanted(options):
                rows.append(bench.row(kind, dtype))
                print(kind, dtype, rows[-1].refused or f"{rows[-1].bytes:,} bytes", flush=True)
                if f"{kind}:{dtype}" in options.keep and not rows[-1].refused and rows[-1].bytes < SMALL:
                    keep(bench, rows[-1], bench.place(kind, dtype))
            lines = table(bench, rows)
        print("\n".join(lines))
        if options.write:
            PAGE.write_text(written(PAGE.read_text(), bench.source.arch.id, lines))


if __name__ == "__main__":
    main()
