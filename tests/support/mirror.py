"""A server of this machine that stands for a mirror of files, whole or broken."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import ClassVar

from serving import serving


@dataclass
class Mirror:
    """A server of this machine that answers every path with `content`, of which it says `length`."""

    url: str = ""
    status: int = 200
    content: bytes = b""
    length: int | None = None
    asked: list[str] = field(default_factory=list)
    silent: threading.Event | None = None
    """Where there is one: after half of the bytes nothing more comes until it is set."""


class _Handler(BaseHTTPRequestHandler):
    mirror: ClassVar[Mirror]

    def do_GET(self) -> None:
        mirror = self.mirror
        mirror.asked.append(self.path)
        self.send_response(mirror.status)
        self.send_header("Content-Length", str(len(mirror.content) if mirror.length is None else mirror.length))
        self.end_headers()
        if mirror.silent:
            self.wfile.write(mirror.content[: len(mirror.content) // 2])
            self.wfile.flush()
            mirror.silent.wait(30)
        else:
            self.wfile.write(mirror.content)

    def log_message(self, format: str, *args: object) -> None:
        """Keep stderr for the program."""


@contextmanager
def mirrored(content: bytes) -> Iterator[Mirror]:
    """A running one."""
    found = Mirror(content=content)
    handler = type("Handler", (_Handler,), {"mirror": found})
    with serving(handler) as found.url:
        yield found
        if found.silent:
            found.silent.set()
