"""A server of this machine that stands for Hugging Face's: what its own client asks for when it makes a commit."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, ClassVar

from serving import serving

TOKEN = "hf_of_a_test"
REPOSITORY = "me/small"


@dataclass
class Hub:
    """A server with at most one repository.

    Args:
        private: of its repository, None where there is none.
        status: with which it refuses every commit; 0: with none.
        files: what arrived, by path. summaries: of its commits.
        blobs: by SHA-256, what came by LFS. asked: method and path of every request.
    """

    url: str = ""
    private: bool | None = None
    status: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    summaries: list[str] = field(default_factory=list)
    blobs: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    hub: ClassVar[Hub]

    def do_GET(self) -> None:
        self._answer(200, {"id": REPOSITORY, "private": self.hub.private})

    def do_PUT(self) -> None:
        content = self._content()
        oid = self.path.rpartition("/")[2]
        assert hashlib.sha256(content).hexdigest() == oid
        self.hub.blobs[oid] = content
        self._answer(200, {})

    def do_POST(self) -> None:
        content = self._content()
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            self._answer(401, {"error": "Invalid username or password."})
        elif self.path.endswith("/commit/main"):
            self._commit([json.loads(line) for line in content.splitlines()])
        else:
            self._answer(*self._said(json.loads(content)))

    def _said(self, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        hub = self.hub
        match self.path.rpartition(REPOSITORY)[2] or self.path:
            case "/api/repos/create":
                found = hub.private is not None
                if not found:
                    hub.private = "private" in (asked.get("visibility"), asked.get("private") and "private")
                return (409 if found else 200), {"url": f"{hub.url}/{asked['organization']}/{asked['name']}"}
            case "/api/validate-yaml":
                return 200, {"errors": [], "warnings": [{"message": "made up"}]}
            case "/preupload/main":
                modes = {True: "regular", False: "lfs"}
                files = [{"path": one["path"], "shouldIgnore": False,
                          "uploadMode": modes[one["path"].endswith(".md")]} for one in asked["files"]]  # fmt: skip
                return 200, {"files": files}
            case ".git/info/lfs/objects/batch":
                upload = [{**one, "actions": {"upload": {"href": f"{hub.url}/lfs/{one['oid']}"}}}
                          for one in asked["objects"]]  # fmt: skip
                return 200, {"objects": upload}
        raise AssertionError(self.path)

    def _commit(self, lines: list[dict[str, Any]]) -> None:
        hub = self.hub
        if hub.status:
            self._answer(hub.status, {"error": "You are not allowed.\nNot at all."})
            return
        for line in lines:
            value = line["value"]
            match line["key"]:
                case "header":
                    hub.summaries.append(value["summary"])
                case "file":
                    hub.files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    hub.files[value["path"]] = hub.blobs[value["oid"]]
        self._answer(200, {"commitUrl": f"{hub.url}/{REPOSITORY}/commit/{'0' * 40}", "commitOid": "0" * 40})

    def _content(self) -> bytes:
        self.hub.asked.append(f"{self.command} {self.path}")
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"]))
        found = b""
        while size := int(self.rfile.readline(), 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def _answer(self, status: int, said: dict[str, Any]) -> None:
        content = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Keep stderr for the program."""


@contextmanager
def running() -> Iterator[Hub]:
    """A server that runs."""
    found = Hub()
    handler = type("Handler", (_Handler,), {"hub": found})
    with serving(handler) as found.url:
        yield found
