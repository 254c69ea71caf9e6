"""`python fork_server.py SOCKET MODULES...`: imports modules once, and forks a process for each script it is sent."""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import signal
import socket
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

STREAMS = 3
"""Standard input, output and error come along with a message."""


def serve(path: str, modules: Sequence[str]) -> None:
    """Import, say so, and serve each who connects, as long as the parent lives."""
    parent = os.getppid()
    sys.path.append(str(Path(__file__).parent))
    for name in modules:
        import_module(name)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        server.settimeout(1)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who serve
        while os.getppid() == parent:
            with contextlib.suppress(TimeoutError):
                client, _ = server.accept()
                if not os.fork():
                    supervise(client)
                    os._exit(0)
                client.close()


def supervise(client: socket.socket) -> None:
    """A script in a process of its own: its number first, then its exit status, negative for a signal."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    client.settimeout(None)
    raw, streams, _, _ = socket.recv_fds(client, 2**20, STREAMS)
    given = json.loads(raw)
    child = os.fork()
    if not child:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        client.close()
        run(given["words"], given["cwd"], given["env"])
    for stream in streams:
        os.close(stream)
    client.sendall(f"{child}\n".encode())
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(BrokenPipeError):  # nobody asks any more
        client.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def run(words: list[str], cwd: str, env: dict[str, str]) -> None:
    """As `python WORDS...` would; ends the process."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = words
    status: object = 1
    try:
        runpy.run_path(words[0], run_name="__main__")
        status = 0
    except SystemExit as end:
        status = end.code or 0
    except BaseException:  # noqa: BLE001 - as the interpreter would
        sys.excepthook(*sys.exc_info())
    if not isinstance(status, int):
        sys.stderr.write(f"{status}\n")
        status = 1
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BrokenPipeError):
            stream.flush()
    os._exit(status)


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2:])
