"""A real terminal: a window of tmux whose size is known, whose tty a process is given, and whose text can be read."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

UNSET = {"COLUMNS": "", "TERM": "screen"}
"""The environment of a process on it, which then asks the terminal for its width."""


class Terminal:
    """A window of `width` columns. `socket`: of a tmux server of its own."""

    def __init__(self, socket: Path, width: int, height: int = 30) -> None:
        self.socket = socket
        size = ("-x", str(width), "-y", str(height))
        self.tmux("-f", "/dev/null", "new-session", "-d", *size, "stty -echo; exec sleep 600")
        self.path = self.tmux("display-message", "-p", "#{pane_tty}").strip()

    def tmux(self, *args: str) -> str:
        done = subprocess.run(["tmux", "-S", str(self.socket), *args], capture_output=True, text=True, check=True)
        return done.stdout

    def resize(self, width: int) -> None:
        self.tmux("resize-window", "-x", str(width))

    def text(self, history: bool = True) -> str:
        """What stands there, with what was scrolled away; a line that the terminal has broken is one."""
        lines = self.tmux("capture-pane", "-p", "-J", *(("-S", "-") if history else ())).rstrip().splitlines()
        return "".join(f"{line.rstrip()}\n" for line in lines)

    def until(self, found: Callable[[str], bool], seconds: float = 60) -> str:
        """The screen, once it is as it should be."""
        end = time.monotonic() + seconds
        while not found(shown := self.text(history=False)):
            if time.monotonic() > end:
                pytest.fail(f"the terminal still shows:\n{shown}")
            time.sleep(0.05)
        return shown

    def close(self) -> None:
        self.tmux("kill-server")
