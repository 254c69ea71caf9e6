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
from archsearch.inference.latency import Known, Latency, Work
from archsearch.network.arch import Arch
from archsearch.network.layers import canonical

FILE = Path("cache") / "latency.db"
"""Below the data folder."""
_WAIT = 30.0
"""Seconds for which another process may write."""
_TABLES = """
CREATE TABLE IF NOT EXISTS measured (layers TEXT, runtime TEXT, version TEXT, precision TEXT, threads INT, machine TEXT,
    median REAL, p95 REAL, low REAL, high REAL, runs INT, product REAL, reading REAL,
    PRIMARY KEY (layers, runtime, version, precision, threads, machine));
CREATE TABLE IF NOT EXISTS undisturbed (machine TEXT, work TEXT, threads INT, milliseconds REAL,
    PRIMARY KEY (machine, work, threads));
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
            query = f"SELECT median, p95, low, high, runs, product, reading FROM measured WHERE {wanted}"
            row = opened.execute(query, astuple(key)).fetchone()
        return None if row is None else Latency(row[0], row[1], row[2], row[3], row[4], (row[5], row[6]))

    def put(self, key: Key, found: Latency) -> None:
        """Keep a latency in place of an older one."""
        values = (*astuple(key), found.median, found.p95, found.low, found.high, found.runs, *found.work)
        with self._open() as opened:
            opened.execute(f"INSERT OR REPLACE INTO measured VALUES ({', '.join('?' * len(values))})", values)

    def quiet(self, work: tuple[str, str], threads: int) -> Known:
        """Milliseconds of both parts of the fixed work when nobody disturbed this machine; None where nobody knows."""
        query = "SELECT milliseconds FROM undisturbed WHERE machine = ? AND work = ? AND threads = ?"
        with self._open() as opened:
            product, reading = (opened.execute(query, (machine(), part, threads)).fetchone() for part in work)
        return product and product[0], reading and reading[0]

    def keep_quiet(self, work: tuple[str, str], threads: int, found: Work) -> None:
        """Keep milliseconds of the fixed work where they are fewer than those that are known."""
        with self._open() as opened:
            opened.executemany(
                "INSERT INTO undisturbed VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE"
                " SET milliseconds = min(milliseconds, excluded.milliseconds)",
                [(machine(), part, threads, value) for part, value in zip(work, found, strict=True)],
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
