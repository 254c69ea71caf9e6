"""Latencies that were measured before, in DATA_DIR/cache/latency.db: by network, runtime, threads and machine."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass
from functools import cache
from pathlib import Path

from archsearch.errors import InputError
from archsearch.inference.latency import Latency
from archsearch.network.arch import Arch
from archsearch.network.layers import canonical

FILE = Path("cache") / "latency.db"
"""Below the data folder."""
_WAIT = 30.0
"""Seconds for which another process may write."""
_TABLES = """
CREATE TABLE IF NOT EXISTS latency (layers TEXT, runtime TEXT, version TEXT, precision TEXT, threads INT, machine TEXT,
    median REAL, p95 REAL, low REAL, high REAL, runs INT, reference REAL,
    PRIMARY KEY (layers, runtime, version, precision, threads, machine));
CREATE TABLE IF NOT EXISTS quiet (machine TEXT, threads INT, reference REAL, PRIMARY KEY (machine, threads));
"""


@dataclass(frozen=True)
class Key:
    """What a latency belongs to.

    Args:
        layers: `layers_of` the network. runtime: the name of its package.
        precision: fp32, fp16, bf16 or int8.
        machine: `machine()`, or the command that measured elsewhere.
    """

    layers: str
    runtime: str
    version: str
    precision: str
    threads: int
    machine: str


def layers_of(arch: Arch) -> str:
    """A digest of input shape, classes and unrolled layers: what `Arch.id` has but for the recipe. Raises SpecError."""
    content = [arch.input_shape, arch.classes, canonical(arch.expr())]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


@cache
def machine() -> str:
    """This machine by its processor and its cores, which machines of one kind share."""
    return f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model")))
    return next(named, platform.processor() or "unknown processor")


class LatencyCache:
    """The latencies of a data folder, which several processes may read and write.

    Every method raises InputError where the file is damaged or cannot be written.
    """

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / FILE

    def get(self, key: Key) -> Latency | None:
        """What was measured last; None where nothing was."""
        wanted = "layers = ? AND runtime = ? AND version = ? AND precision = ? AND threads = ? AND machine = ?"
        with self._open() as opened:
            query = f"SELECT median, p95, low, high, runs, reference FROM latency WHERE {wanted}"
            row = opened.execute(query, astuple(key)).fetchone()
        return None if row is None else Latency(*row)

    def put(self, key: Key, found: Latency) -> None:
        """Keep a latency in place of an older one."""
        values = (*astuple(key), *astuple(found))
        with self._open() as opened:
            opened.execute(f"INSERT OR REPLACE INTO latency VALUES ({', '.join('?' * len(values))})", values)

    def quiet(self, machine: str, threads: int) -> float | None:
        """The fixed work's milliseconds when the machine was most quiet; None where nobody knows."""
        with self._open() as opened:
            query = "SELECT reference FROM quiet WHERE machine = ? AND threads = ?"
            row = opened.execute(query, (machine, threads)).fetchone()
        return None if row is None else float(row[0])

    def keep_quiet(self, machine: str, threads: int, reference: float) -> None:
        """Keep the fixed work's milliseconds where they are fewer than those that are known."""
        with self._open() as opened:
            opened.execute(
                "INSERT INTO quiet VALUES (?, ?, ?) ON CONFLICT DO UPDATE"
                " SET reference = min(reference, excluded.reference)",
                (machine, threads, reference),
            )

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=_WAIT)) as opened, opened:
                opened.executescript(_TABLES)
                yield opened
        except (sqlite3.Error, OSError) as error:
            raise InputError(f"{self.path}: latencies are kept there: {error}; remove it, or give --data-dir") from None
