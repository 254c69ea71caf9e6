"""Converters and runtimes that are forked from a process which has imported them: that takes longer than the rest.

What runs are `convert.py` and `host.py` all the same, each in a process of its own with the folder, variables and
streams that it is given.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from archsearch._utils.toolchain import HERE

IMPORTS = {
    "convert.py executorch": ("warm_executorch",),
    "convert.py litert": ("torch._dynamo", "litert_torch", "litert_torch.quantize.pt2e_quantizer"),
    "convert.py openvino": ("openvino", "nncf"),
    "host.py executorch": ("executorch.runtime",),
}
"""By script and format, those that take seconds."""
_SERVER = Path(__file__).with_name("fork_server.py")


class Process:
    """What is used of a `subprocess.Popen`, with binary streams."""

    def __init__(self, server: str, words: Sequence[str], cwd: Path, env: Mapping[str, str], stderr: IO[Any]) -> None:
        (read, ours), (answers, write) = os.pipe(), os.pipe()
        self._control = socket.socket(socket.AF_UNIX)
        self._control.connect(server)
        message = json.dumps({"words": words, "cwd": str(cwd), "env": dict(env)}).encode()
        socket.send_fds(self._control, [message], [read, write, stderr.fileno()])
        os.close(read)
        os.close(write)
        self.stdin, self.stdout = os.fdopen(ours, "wb"), os.fdopen(answers, "rb")
        self._answers = self._control.makefile()
        self.pid = int(self._answers.readline())
        self.returncode: int | None = None

    def kill(self) -> None:
        """End it, if it runs."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Its exit status."""
        if self.returncode is None:
            self.returncode = int(self._answers.readline())
            self._answers.close()
            self._control.close()
        return self.returncode


class Forks:
    """In the place of the module `subprocess`."""

    PIPE = subprocess.PIPE

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._servers: dict[str, tuple[str, subprocess.Popen[bytes]]] = {}

    def run(self, command: Sequence[str], *, cwd: Path, env: Mapping[str, str], **how: Any) -> Any:
        """A conversion, its streams captured as text."""
        server = self._server(command, json.loads(Path(command[-1]).read_text())["format"])
        if not server:
            return subprocess.run(command, cwd=cwd, env=env, **how)
        with tempfile.TemporaryFile("w+", errors="replace") as noise:
            process = Process(server, command[len(HERE.command) :], cwd, env, noise)
            process.stdin.close()
            said = process.stdout.read().decode(errors="replace")
            process.stdout.close()
            status = process.wait()
            noise.seek(0)
            return subprocess.CompletedProcess(command, status, said, noise.read())

    def Popen(self, command: Sequence[str], *, env: Mapping[str, str], stderr: IO[Any], **how: Any) -> Any:
        """A runtime."""
        server = self._server(command, command[len(HERE.command) + 1])
        if not server:
            return subprocess.Popen(command, env=env, stderr=stderr, **how)
        return Process(server, command[len(HERE.command) :], Path.cwd(), env, stderr)

    def _server(self, command: Sequence[str], kind: str) -> str | None:
        python, script = tuple(command[: len(HERE.command)]), command[len(HERE.command)]
        job = f"{Path(script).name} {kind}"
        if python != HERE.command or job not in IMPORTS:
            return None
        if job not in self._servers:
            path = f"{self._folder.name}/{len(self._servers)}"
            words = [*HERE.command, str(_SERVER), path, *IMPORTS[job]]
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # a fork has none of the other threads
            pipe, silent = subprocess.PIPE, subprocess.DEVNULL
            started = subprocess.Popen(words, stdin=silent, stdout=pipe, stderr=silent, env=environment)
            assert started.stdout
            assert started.stdout.readline(), f"{job}: cannot be imported"
            self._servers[job] = path, started
        return self._servers[job][0]

    def close(self) -> None:
        """End the servers; what they forked ends by itself."""
        for _, server in self._servers.values():
            server.kill()
            server.communicate()
        self._folder.cleanup()
