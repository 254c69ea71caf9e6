"""TensorFlow Lite Micro's arena for int8 `.tflite` files, held against `archsearch/network/ram.py`.

    python benchmarks/arenas.py measure --micro TM/bin/python --draws 30 --minutes 20
    python benchmarks/arenas.py verify

`measure` takes the networks of `format_sizes.py` by space and number, converts each to int8 with random weights, runs
one image in tflite-micro, and puts the arena down in `sizes/arenas.csv`: what is there already is not done again. Even
numbers have one scale a tensor, odd ones one a channel. TM is an environment with `pip install tflite-micro numpy`.
`verify` prints how far the formula is above them, by space: exit status 1 where it is below one, or more than 3% above
without joined branches, whose copies hang on the weights.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from format_sizes import converted, drawn

from archsearch.errors import SpecError
from archsearch.network.arch import Arch
from archsearch.network.ram import ram_bytes
from archsearch.network.tflite_graph import CONCAT, graph
from archsearch.space.reader import shipped

FILES = Path(__file__).with_name("sizes") / "arenas.csv"
MICRO = Path(__file__).with_name("micro.py")
ROOM = 64_000_000
"""Bytes of the arena that the runtime may use."""
NEAR = 0.03


class Row(NamedTuple):
    """One file, with the bytes of its arena: 0 where no converter or runtime takes the network, said in `why`."""

    space: str
    number: int
    arch: str
    arena: int
    why: str = ""

    @property
    def per_channel(self) -> bool:
        return bool(self.number % 2)


def rows() -> list[Row]:
    if not FILES.exists():
        return []
    with FILES.open(newline="") as file:
        return [Row(r["space"], int(r["number"]), r["arch"], int(r["arena"]), r["why"]) for r in csv.DictReader(file)]


def measure(options: argparse.Namespace) -> int:
    """Convert and run, one after the other, all spaces in turn, and put every arena down at once."""
    known, until = {row[:2] for row in rows()}, time.monotonic() + 60 * options.minutes
    new = not FILES.exists()
    spaces = options.spaces.split(",") if options.spaces else shipped()
    with FILES.open("a", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        if new:
            table.writerow(Row._fields)
        for number in range(options.first, options.first + options.draws):
            for space in spaces:
                arch = drawn(space, number)
                if (space, number) in known or arch.cost.params >= options.most:
                    continue
                if time.monotonic() > until:
                    return 0
                start, row = time.monotonic(), Row(space, number, arch.id, 0)
                table.writerow(row := measured(row, arch, options.micro))
                file.flush()
                print(*row, f"{time.monotonic() - start:.1f} s", flush=True)
    return 0


def measured(row: Row, arch: Arch, python: str) -> Row:
    """The row with its arena, or with why there is none; a fault of the formula is raised."""
    try:
        ram_bytes(arch.cost)
    except SpecError as error:
        return row._replace(why=str(error)[:100])
    try:
        return row._replace(arena=arena(row, python))
    except Exception as error:  # noqa: BLE001 - converters raise anything
        return row._replace(why=" ".join(str(error).split())[:100])


def arena(row: Row, python: str) -> int:
    """Bytes that tflite-micro says of a network's file."""
    arch = drawn(row.space, row.number)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        converted(arch, "litert", "int8", folder, row.number, row.per_channel)
        np.save(folder / "image.npy", np.full((1, *arch.input_shape), 0.5, np.float32))
        words = [python, MICRO, folder / "model.tflite", folder / "image.npy", folder / "logits.npy", str(ROOM)]
        done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    return int(json.loads(done.stdout.splitlines()[-1])["arena"])


def verify(_: argparse.Namespace) -> int:
    """A line for each space."""
    groups = defaultdict[str, list[tuple[float, Row]]](list)
    refused = defaultdict[str, int](int)
    for row in rows():
        try:
            counted = ram_bytes(drawn(row.space, row.number).cost, row.per_channel)
        except SpecError:
            refused[row.space] += 1
            continue
        if row.arena:
            groups[row.space].append((counted / row.arena - 1, row))
        else:
            refused[row.space] += 1
    print("| space | files | no figure | formula above the arena: least | median | most |\n|---|---|---|---|---|---|")
    wrong = 0
    for space, found in sorted(groups.items()):
        above = [share for share, _ in found]
        cells = (f"{share:.2%}" for share in (min(above), float(np.median(above)), max(above)))
        print(f"| `{space}` | {len(found)} | {refused[space]} | {' | '.join(cells)} |")
        for share, row in found:
            if share < 0 or (share > NEAR and not joined(row)):
                wrong += 1
                print(f"{row}: {share:.2%}", file=sys.stderr)
    return int(wrong > 0)


def joined(row: Row) -> bool:
    arch = drawn(row.space, row.number)
    return any(one.kind == CONCAT for one in graph(arch.cost.parts, arch.input_shape).operators)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("measure")
    command.add_argument("--micro", required=True, metavar="PYTHON", help="an interpreter with tflite-micro")
    command.add_argument("--spaces", help="comma-separated; default: all shipped ones")
    command.add_argument("--first", type=int, default=0)
    command.add_argument("--draws", type=int, default=30)
    command.add_argument("--most", type=float, default=1e6, help="parameters of a network, less than these")
    command.add_argument("--minutes", type=float, default=60)
    command.set_defaults(run=measure)
    commands.add_parser("verify").set_defaults(run=verify)
    options = parser.parse_args()
    return int(options.run(options))


if __name__ == "__main__":
    sys.exit(main())
