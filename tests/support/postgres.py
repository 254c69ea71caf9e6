"""A private PostgreSQL server, for tests and benchmarks: its own folder, port and password, thrown away at the end."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any

PASSWORD = "hunter2-not-to-be-seen"


def binaries() -> Path | None:
    """The folder of `initdb` and `pg_ctl`, None where PostgreSQL is not installed."""
    found = [path.parent for path in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))]
    if not found and (path := shutil.which("initdb")):
        found = [Path(path).resolve().parent]
    return found[-1] if found else None


def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Postgres:
    """Started by `with`. Root may not run a server: then a user without rights does."""

    def __init__(self, folder: Path, options: str = "") -> None:
        self.folder, self.options = folder, options
        self.bin = binaries() or Path()
        self.user = "nobody" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
        self.count = 0
        self.port = free_port()

    def __enter__(self) -> Postgres:
        self.folder = Path(tempfile.mkdtemp(dir=self.folder, prefix="pg-"))
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        for path in (self.folder, secret):
            shutil.chown(path, self.user)
        self._run("initdb", "-D", self.data, "-U", "me", "-A", "scram-sha-256", f"--pwfile={secret}", "-E", "UTF8",
                  "--no-sync")  # fmt: skip
        self.start()
        return self

    def __exit__(self, *rest: object) -> None:
        self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def data(self) -> str:
        return str(self.folder / "data")

    def _run(self, name: str, *args: str) -> None:
        command = [str(self.bin / name), *args]
        done = subprocess.run(
            command, user=self.user if os.getuid() == 0 else None, cwd=self.folder, text=True, check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={"LC_ALL": "C", "PATH": os.environ["PATH"]},
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stdout}")

    def start(self) -> None:
        options = f"-F -p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 {self.options}"
        # Its log is a file: a pipe that it holds would never end.
        self._run("pg_ctl", "-D", self.data, "-w", "-t", "60", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        """`fast` ends every connection, `immediate` is a crash."""
        self._run("pg_ctl", "-D", self.data, "-w", "-m", mode, "stop")

    def database(self) -> str:
        """The URL of a new, empty database."""
        self.count += 1
        name = f"db{self.count}"
        query(self.url("postgres"), f"CREATE DATABASE {name}")
        return self.url(name)

    def url(self, name: str) -> str:
        return f"postgresql+psycopg://me:{PASSWORD}@127.0.0.1:{self.port}/{name}"


def query(url: str, sql: str) -> list[tuple[Any, ...]]:
    """The rows of a query, past SQLAlchemy and Optuna."""
    import psycopg

    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchall() if cursor.description else []
