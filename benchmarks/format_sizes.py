"""How large files of every format are, and the factors of `archsearch/network/format_table.py`.

    python benchmarks/format_sizes.py measure --formats onnx,litert --draws 30 --probes --minutes 20
    python benchmarks/format_sizes.py fit
    python benchmarks/format_sizes.py verify

`measure` draws networks of every shipped space, builds them with random weights, converts each in this one process,
and puts the bytes of the files, without our metadata, down in `sizes/files.csv`: what is there already is not done
again. Draws have numbers, and a number is one network for ever: image side and classes vary with it. `--probes` are
small networks that show what single operators cost.
`fit` finds, for a format at a precision, the least factors that are below none of its files (a linear programme),
by the probes and the draws whose number is not two more than a multiple of three. `verify` holds the formula, metadata
included, against all rows of formats that have factors, apart for those that `fit` has not seen: exit status 1 where a
file is larger than the formula says, or more than one in 50 of a format at a precision smaller by over 4 kB and 2%.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import math
import random
import sys
import tempfile
import textwrap
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from archsearch._utils.formats import FORMATS, bytes_of
from archsearch.errors import SpecError
from archsearch.network import format_size, format_table, zoo
from archsearch.network.arch import Arch
from archsearch.network.file_size import DTYPE_BYTES, Written
from archsearch.network.format_size import ROOM, SHARE
from archsearch.network.stage import Part, Stage
from archsearch.nn import trailer
from archsearch.space.reader import load_space, shipped

FILES = Path(__file__).with_name("sizes") / "files.csv"
TABLE = Path(format_table.__file__)
COUNTED = {
    "onnx": ("fp32", "fp16", "int8", "int8-weights"),
    "litert": ("fp32", "int8"),
    "executorch": ("fp32", "int8"),
    "openvino": ("fp32", "fp16", "int8", "int8-weights"),
    "ncnn": ("fp32", "fp16"),
}
"""What there is to measure."""
WIDTHS = {"fp32": 4.0, "fp16": 2.0, "int8": 1.0, "int8-weights": 1.0}
BIAS = {"fp32": 4.0, "fp16": 2.0, "int8": 4.0, "int8-weights": 4.0}
SHAPES = ((3, 32, 32), (1, 28, 28), (3, 64, 64), (3, 96, 96))
CLASSES = (2, 10, 10, 37, 100)
MOST = 20_000_000
"""Parameters of a network that is drawn; what only has larger matrices says nothing new."""
HELD_OUT = 3
FAR = 50
"""Of so many files of a format at a precision one may be smaller than the bound by more than is allowed."""
ENOUGH = 45
"""Files that a format is fitted by, at least."""
SPARE = 0.05
MOST_SPARE = 0.4
"""Of the allowance, for what no draw has shown, at least and at most."""
IMAGES = 2
"""For the ranges of int8, which are as many numbers whatever they are."""


PROBE = "probe"
"""The space of small networks that show one thing each, by their numbers."""
_ACTS = ("relu", "leaky_relu", "tanh", "silu", "hardswish", "gelu", "sigmoid", "hardsigmoid", "relu6")
_PROBES: tuple[tuple[tuple[str, dict[str, Any]], ...], ...] = (
    *((("plain", {"act": act}),) for act in _ACTS),
    (("plain", {"stride": 2}), ("plain", {"stride": 2, "down": "max"}), ("plain", {"stride": 2, "down": "avg"})),
    (("plain", {}), ("plain", {"depth": 4})),
    (("basic", {}), ("basic", {"width": 16, "stride": 2})),
    (("basic", {"skip": "pad"}), ("basic", {"width": 16, "stride": 2, "skip": "pad"})),
    (("basic", {"width": 4}), ("basic", {"width": 12, "stride": 2})),
    (("preact", {"depth": 2}), ("preact", {"width": 16, "stride": 2})),
    (("separable", {"residual": True}), ("separable", {"width": 16, "stride": 2})),
    (("separable", {"act": "hardswish", "residual": True}), ("separable", {"act": "hardswish", "se": 0.25})),
    (("inverted", {"se": 0.25}), ("inverted", {"width": 16, "stride": 2, "act": "hardswish", "se": 0.5})),
    (("inverted", {"act": "hardswish", "depth": 2}),),
    (("inception", {"width": 16}), ("inception", {"width": 24, "stride": 2})),
    (("inception", {"width": 16, "pool": "avg"}), ("pooling", {"width": 16, "stride": 2, "kernel": 3, "ceil": True})),
    *(
        (("dense", {"width": 16, "act": act, "norm": norm}),)
        for act in ("relu", "gelu", "tanh")
        for norm in (False, True)
    ),
    (("nin", {"points": 2}), ("resnin", {"width": 16, "points": 2})),
    *((("plain", {"stride": 2, "down": down}),) * 2 for down in ("max", "avg", "stride")),
)
_HEADS = ("linear", "nin", "mlp")


def probe(number: int) -> Arch:
    """A small network, with blocks that are 8 wide and one deep where nothing else is said."""
    stages = []
    for block, given in _PROBES[number % len(_PROBES)]:
        own = {key: given[key] for key in ("width", "depth", "stride", "down") if key in given}
        dims = tuple((key, value) for key, value in given.items() if key not in own)
        stages.append(Stage(block, **{"width": 8, **own}, dims=dims))
    dense = stages[0].block == "dense"
    stem = Part("flatten") if dense else Part("conv", (("width", 8),))
    head = Part("linear") if dense else Part(_HEADS[number % len(_HEADS)])
    return Arch((3, 16, 16), 10, stem, tuple(stages), head)


class Row(NamedTuple):
    """One file: `number` of the draw, 0 of a reference network; 0 bytes where the format refuses the network.

    `difference`: the largest of an output from the module's in fp32, as a share of the largest output, at least of 1;
    None where the file was not run.
    """

    space: str
    number: int
    arch: str
    form: str
    dtype: str
    bytes: int
    difference: float | None = None

    @property
    def held_out(self) -> bool:
        return self.space != PROBE and self.number % HELD_OUT == HELD_OUT - 1


def drawn(space: str, number: int) -> Arch:
    """The network of a number: a reference for `ref:NAME`."""
    if space == PROBE:
        return probe(number)
    if space.startswith(zoo.PREFIX):
        return zoo.load(space).arch
    rng = random.Random(f"{space}:{number}")
    shapes = SHAPES[2:] if space == "photos" else SHAPES
    while True:
        try:
            arch = load_space(space).random(rng, rng.choice(shapes), rng.choice(CLASSES))
            if arch.cost.params < MOST:
                return arch
        except SpecError:
            continue


def rows() -> list[Row]:
    if not FILES.exists():
        return []
    with FILES.open() as file:
        return [Row(r["space"], int(r["number"]), r["arch"], r["form"], r["dtype"], int(r["bytes"]),
                    float(r["difference"]) if r["difference"] else None) for r in csv.DictReader(file)]  # fmt: skip


def wanted(options: argparse.Namespace) -> Iterator[tuple[str, int, str, str]]:
    """What there is to measure, all spaces in turn."""
    forms = options.formats.split(",")
    pairs = [(form, dtype) for form in forms for dtype in COUNTED[form]]
    if options.dtypes:
        pairs = [pair for pair in pairs if pair[1] in options.dtypes.split(",")]
    spaces = options.spaces.split(",") if options.spaces else shipped()
    for number in range(len(_PROBES) if options.probes else 0):
        yield from ((PROBE, number, *pair) for pair in pairs)
    for number in range(options.first, options.first + options.draws):
        for space in spaces:
            yield from ((space, number, *pair) for pair in pairs)
    for name in zoo.names() if options.references else ():
        yield from ((f"{zoo.PREFIX}{name}", 0, *pair) for pair in pairs)


def measure(options: argparse.Namespace) -> int:
    """Convert, one after the other, and put every size down at once."""
    known, until = {row[:2] + row[3:5] for row in rows()}, time.monotonic() + 60 * options.minutes
    FILES.parent.mkdir(exist_ok=True)
    remember_graphs()
    new = not FILES.exists()
    with FILES.open("a", newline="") as file, tempfile.TemporaryDirectory() as name:
        table = csv.writer(file, lineterminator="\n")
        if new:
            table.writerow(Row._fields)
        for space, number, form, dtype in wanted(options):
            if (space, number, form, dtype) in known:
                continue
            if time.monotonic() > until:
                return 0
            arch, start = drawn(space, number), time.monotonic()
            if arch.cost.params >= options.most:
                continue
            size, far = 0, None
            try:
                size, far = converted(arch, form, dtype, Path(name), number)
            except Exception as error:  # noqa: BLE001 - converters raise anything
                print(f"{space} {number} {form} {dtype}: {' '.join(str(error).split())[:200]}", file=sys.stderr)
            table.writerow(Row(space, number, arch.id, form, dtype, size, far))
            file.flush()
            took = time.monotonic() - start
            print(f"{space:10} {number:3} {form:10} {dtype:5} {size:10,} bytes {far} {took:6.1f} s", flush=True)
    return 0


def converted(
    arch: Arch, form: str, dtype: str, folder: Path, seed: int, per_channel: bool = False
) -> tuple[int, float]:
    """Of a network in a format, without metadata: bytes of all files, and how far off.

    ONNX: of the smallest way to write it.
    """
    from archsearch.export import convert, job, write
    from archsearch.export.converted import onnx_for
    from archsearch.inference.pixels import DTYPES, PixelNetwork
    from archsearch.nn import weights

    module, statistics = random_module(arch, seed), {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]}
    statistics = {key: values[: arch.input_shape[0]] for key, values in statistics.items()}
    pixels = PixelNetwork(module, tuple(map(tuple, statistics.values())), DTYPES["fp32"])
    images = np.random.default_rng(seed).integers(0, 256, (IMAGES, *arch.input_shape), dtype=np.uint8)
    path, network = folder / f"model{FORMATS[form].suffix}", folder / "network.safetensors"
    if form == "onnx":
        source = job.Source(network, module, arch, {"normalisation": statistics})
        return onnx_bytes(source, dtype, images, path), difference(path, form, pixels, images)
    np.save(folder / "images.npy", images)
    what = {
        "format": form, "dtype": dtype, "out": str(path), "per_channel": per_channel, "shape": arch.input_shape,
        "package": str(Path(write.__file__).parents[1]), "calibration": str(folder / "images.npy"),
        "weights": str(network), "onnx": str(folder / "network.onnx"),
        "imports": (), "installed": {}, "here": str(folder),
    }  # fmt: skip
    if form in ("openvino", "ncnn"):
        write.write_onnx(Path(what["onnx"]), onnx_for(form, pixels, arch), arch, {})
    else:
        weights.save(network, module, arch, {"normalisation": statistics})
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        convert.CONVERTERS[form](what)
    return bytes_of(path), difference(path, form, pixels, images)


def difference(path: Path, form: str, network: Any, images: np.ndarray) -> float:
    """The file in its own runtime, one thread, against the module."""
    import torch

    from archsearch.inference import host

    values = (images / 255).astype(np.float32)
    mine = network(torch.from_numpy(values)).numpy()
    theirs = host.run(host.RUNTIMES[form](str(path), 1), values)
    return float(f"{np.abs(mine - theirs).max() / max(1.0, np.abs(mine).max()):.3g}")


def onnx_bytes(source: Any, dtype: str, images: np.ndarray, path: Path) -> int:
    import onnx
    import torch

    from archsearch.export import job

    pixels = torch.from_numpy(images)
    given = job.Images(pixels, (pixels, torch.zeros(len(pixels), dtype=torch.int64)))
    write = job.Writer(source, given.train, "onnx", dtype, Path("data"))
    write(path, job.variants("onnx", dtype)[0])  # the smallest, as the formula says
    model = onnx.load(path)
    del model.metadata_props[:]
    return len(model.SerializeToString())


def remember_graphs() -> None:
    """ONNX graphs of the last network are asked for at once by several formats."""
    from archsearch.export import write

    fresh, known = write.onnx_model, {}

    def remembered(network: Any, arch: Arch) -> Any:
        key = (arch.id, network.dtype)
        if key not in known:
            if len(known) > 2:
                known.clear()
            known[key] = fresh(network, arch)
        copy = type(known[key])()
        copy.CopyFrom(known[key])
        return copy

    write.onnx_model = remembered


def random_module(arch: Arch, seed: int) -> Any:
    """A network whose tensors are all different, so that no converter can merge any."""
    import torch

    from archsearch.nn.build import build

    torch.manual_seed(seed)
    module = build(arch).eval()
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.dim() == 1:
                tensor.copy_(torch.rand(tensor.shape) + 0.5)
    return module


def fit(options: argparse.Namespace) -> int:
    """Write the table anew; a format of which there are too few files keeps its factors, if it has any."""
    factors = {form: dict(by) for form, by in format_table.FACTORS.items()}
    groups = defaultdict(list)
    for row in rows():
        if row.bytes and not row.held_out:
            groups[row.form, row.dtype].append(row)
    for (form, dtype), found in groups.items():
        wanted = (options.formats or form).split(",")
        if form in wanted and dtype in DTYPE_BYTES and len(found) >= ENOUGH:
            factors.setdefault(form, {})[dtype] = fitted(found, dtype)
    text = TABLE.read_text()
    lines = ["# fmt: off", "FACTORS: dict[str, dict[str, dict[str, float]]] = {"]
    for form, by in factors.items():
        lines.append(f'    "{form}": {{')
        for dtype, one in by.items():
            pairs = ", ".join(f'"{name}": {value!r}' for name, value in one.items()).replace(": ", ":~")
            filled = textwrap.wrap(pairs, 120, initial_indent=" " * 12, subsequent_indent=" " * 12)
            lines += [f'        "{dtype}": {{', *(line.replace(":~", ": ") for line in filled), "        },"]
        lines.append("    },")
    text = text[: text.index("# fmt: off")]
    TABLE.write_text(text + "\n".join([*lines, "}", "# fmt: on", ""]))
    return 0


def fitted(found: list[Row], dtype: str) -> dict[str, float]:
    """The least factors above all files, raised by what a tenth of the draws lacked when they were left out."""
    names = [name for name in format_size.FEATURES if name not in ("values", "custom")]
    features = [format_size.amounts(drawn(row.space, row.number).cost.parts) for row in found]
    x = np.array([[one[name] for name in names] for one in features])
    y = np.array([row.bytes for row in found]) - WIDTHS[dtype] * np.array([one["values"] for one in features])
    tolerance = np.maximum(ROOM, SHARE * np.array([row.bytes for row in found]))
    least = np.array([BIAS[dtype] if name == "outs" else 0.0 for name in names])
    draws = np.array([row.space != PROBE for row in found])
    beyond = 0.0
    for fold in range(10):
        left = draws & (np.arange(len(y)) % 10 == fold)
        if left.any():
            lacking = (y - x @ envelope(x[~left], y[~left], tolerance[~left], least)) / tolerance
            beyond = max(beyond, lacking[left].max())
    best, seen = envelope(x, y, tolerance, least), x.any(axis=0)
    known = {name: _up(value) for name, value, there in zip(names, best, seen, strict=True) if there}
    known["file"] = float(math.ceil(known["file"] + 1))
    dearest = max(known.get(name, 0.0) for name in format_size.OPERATORS)
    unseen = {name: dearest for name in format_size.OPERATORS if name not in known}
    return {
        "beyond": _up(min(beyond + SPARE, MOST_SPARE)),
        "file": known.pop("file"),
        "values": WIDTHS[dtype],
        **known,
        **unseen,
    }


def _up(value: float) -> float:
    """Rounded up: to four decimals below ten, since some are for every value."""
    digits = 4 if value < 10 else 1
    return math.ceil(value * 10**digits - 0.01) / 10**digits


def envelope(x: np.ndarray, y: np.ndarray, tolerance: np.ndarray, least: np.ndarray) -> np.ndarray:
    """The factors, none below `least`, whose sums are above all `y` and least above them.

    None is below its least squares, which are nearly exact: between others a linear programme alone errs more.
    """
    from scipy.optimize import linprog, nnls

    scale = x.max(axis=0) + (x.max(axis=0) == 0)
    a, b = x / scale / tolerance[:, None], (y - x @ least) / tolerance
    squares, _ = nnls(np.vstack([a, 1e-5 * np.eye(len(scale))]), np.concatenate([b, np.zeros(len(scale))]))
    done = linprog(a.sum(axis=0), A_ub=-a, b_ub=-b, bounds=[(one, None) for one in squares], method="highs")
    if not done.success:
        raise SystemExit(f"no factors: {done.message}")
    return np.asarray(done.x) / scale + least


def verify(options: argparse.Namespace) -> int:
    """A line for each format and precision, apart for the draws that were fitted and for the others."""
    groups = defaultdict(list)
    for row in rows():
        if row.dtype in format_table.FACTORS.get(row.form, {}):
            groups[row.form, row.dtype, row.held_out].append(row)
    print("| format | precision | draws | files | refused | formula above the file, bytes: least | median | most |"
          " most, of what is allowed |\n|---|---|---|---|---|---|---|---|---|")  # fmt: skip
    below, far = False, defaultdict[tuple[str, str], list[bool]](list)
    for (form, dtype, held_out), found in sorted(groups.items()):
        above, shares = [], []
        for row in found:
            if row.bytes:
                arch = drawn(row.space, row.number)
                real = row.bytes + len_metadata(form, arch)
                above.append(format_size.file_bytes(arch.cost, Written(dtype, form)) - real)
                shares.append(above[-1] / max(ROOM, SHARE * real))
                if options.details and not 0 <= shares[-1] <= 1:
                    print(f"{row}: {above[-1]:,}", file=sys.stderr)
        far[form, dtype] += [share > 1 for share in shares]
        below |= min(above, default=0) < 0
        refused = sum(not row.bytes for row in found)
        if above:
            draws = "others" if held_out else "fitted"
            print(f"| {form} | {dtype} | {draws} | {len(above)} | {refused} | {min(above):,} |"
                  f" {int(np.median(above)):,} | {max(above):,} | {max(shares):.0%} |")  # fmt: skip
    return int(below or any(FAR * sum(found) > len(found) for found in far.values()))


def len_metadata(form: str, arch: Arch) -> int:
    """Bytes of our metadata after a training, with class names of seven characters."""
    metadata = describe(arch)
    if form == "onnx":
        return sum(len(key) + len(value.encode()) + 10 for key, value in metadata.items())
    return len(trailer.append(b"", trailer_of(form, metadata)))


def trailer_of(form: str, metadata: Mapping[str, str]) -> Mapping[str, str]:
    return {**metadata, "sha256": "0f" * 32} if FORMATS[form].pair else metadata


def describe(arch: Arch) -> dict[str, str]:
    from archsearch.network.recipe import Recipe
    from archsearch.nn import weights

    rng = random.Random(arch.id)
    names = ["".join(rng.choices("abcdefghijklmnoprstuvwy", k=7)) for _ in range(arch.classes)]
    numbers = [round(rng.random(), 16) for _ in range(arch.input_shape[0])]
    return weights.describe(arch, {
        "dataset": "folder:photographs", "seed": 0, "recipe": Recipe(epochs=100).to_dict(),
        "normalisation": {"mean": numbers, "std": numbers[::-1]}, "classes": names, "trained": "retrain",
        "training_seed": 0, "test_accuracy": 0.8815, "mirrored": None, "epochs": 100, "train_seconds": 5875.3,
        "device": "cuda", "start": "", "dtype": "int8", "temperature": 1.2345678901234567,
    })  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for run in (measure, fit, verify):
        command = commands.add_parser(run.__name__)
        command.set_defaults(run=run)
        if run is measure:
            command.add_argument("--formats", default=",".join(COUNTED))
            command.add_argument("--dtypes", help="comma-separated; default: all")
            command.add_argument("--spaces", help="comma-separated; default: all shipped ones")
            command.add_argument("--first", type=int, default=0)
            command.add_argument("--draws", type=int, default=30)
            command.add_argument("--most", type=float, default=MOST, help="parameters of a network, less than these")
            command.add_argument("--probes", action="store_true", help="small networks for single operators first")
            command.add_argument("--references", action="store_true", help="the textbook networks too")
            command.add_argument("--minutes", type=float, default=60)
        if run is fit:
            command.add_argument("--formats", help="comma-separated; default: all")
        command.add_argument("--details", action="store_true")
    options = parser.parse_args()
    return int(options.run(options))


if __name__ == "__main__":
    sys.exit(main())
