"""`archsearch` for shell scripts that tests run: forked from a process that has imported everything, as `Process` is.

with program(folder / "archsearch"):
    subprocess.run(["bash", "-c", "archsearch --help"], env={"PATH": f"{folder}:/bin"})
"""

from __future__ import annotations

import json
import multiprocessing
import multiprocessing.reduction
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from commands import ENVIRONMENT, forked_by_the_same

from archsearch.cli import main

_CLIENT = """#!{python} -SE
import json, os, socket, sys

words = sys.argv[1:]
{words}
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
about = json.dumps([words, os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(server, [len(about).to_bytes(8, "big")], [0, 1, 2])
server.sendall(about)
sys.exit(server.recv(1)[0])  # no answer is a failure
"""


@contextmanager
def program(path: Path, words: str = "") -> Iterator[None]:
    """A program at `path` that does what `archsearch` does, as long as the context lasts.

    words: Python that changes `words`, the arguments.
    """
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as server:  # a short path
        address = str(Path(folder) / "socket")
        server.bind(address)
        server.listen()
        threading.Thread(target=_serve, args=(server,), daemon=True).start()
        path.write_text(_CLIENT.format(python=sys.executable, words=words, address=address))
        path.chmod(0o755)
        yield
        server.shutdown(socket.SHUT_RDWR)


def _serve(server: socket.socket) -> None:
    with suppress(OSError):  # the end
        while True:
            client, _ = server.accept()
            threading.Thread(target=_answer, args=(client,), daemon=True).start()


def _answer(client: socket.socket) -> None:
    with client:
        head, streams, _, _ = socket.recv_fds(client, 8, 3)
        with client.makefile("rb") as file:
            words, cwd, environment = json.loads(file.read(int.from_bytes(head, "big")))
        context = multiprocessing.get_context("forkserver")
        process = context.Process(target=_child, args=(words, cwd, environment, [*map(_Stream, streams)]))
        process.start()
        for stream in streams:
            os.close(stream)
        process.join()
        assert process.exitcode is not None
        client.sendall(bytes([process.exitcode % 256]))  # below 0 for a signal


class _Stream:
    """A file descriptor of this process, on its way to another."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[Callable[[Any], int], tuple[Any]]:
        return _number, (multiprocessing.reduction.DupFd(self.number),)


def _number(stream: Any) -> int:
    return int(stream.detach())


def _child(words: list[str], cwd: str, environment: dict[str, str], streams: list[int]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(cwd)
    sys.path.insert(0, cwd)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.environ.clear()
    os.environ.update(environment | ENVIRONMENT)
    forked_by_the_same()
    sys.argv = ["archsearch", *words]
    main(words)
