"""Milliseconds from a command, for a board that is not this machine: `ssh pi measure.sh {file}`."""

from __future__ import annotations

import math
import os
import re
import shlex
import signal
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from archsearch.errors import InputError, NotMeasurable, printable

TIMEOUT, TRIES = 60.0, 3
_ANSWER = re.compile(r"((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?)(?:\s+([0-9]+))?", re.I)


@dataclass(frozen=True)
class Elsewhere:
    """A command that measures a file.

    The last line that it prints is milliseconds, and bytes of RAM if it knows them: "5.3" or "5.3 123456". It runs
    without a shell; {file} is the path of the file, that of the first where a format has two.

    Args:
        timeout: seconds for one try. tries: so many in all.

    Raises:
        InputError: no such command can be meant.
    """

    command: str
    timeout: float = TIMEOUT
    tries: int = TRIES

    def __post_init__(self) -> None:
        if not any("{file}" in word for word in self._words[1:]):
            raise InputError(f"--measure-with {self.command!r}: says no {{file}}, such as 'ssh pi measure.sh {{file}}'")

    def __call__(self, path: Path) -> tuple[float, int | None]:
        """Milliseconds, and bytes of RAM or None.

        Raises:
            NotMeasurable: the command fails, is too slow or says something else, every time.
            InputError: there is no such command.
        """
        reason = ""
        for _ in range(self.tries):
            status, out, err = self._run(path)
            said = _ANSWER.fullmatch(_last(out))
            if status == 0 and said and 0 < float(said[1]) < math.inf:
                return float(said[1]), int(said[2]) if said[2] else None
            reason = self._reason(status, out, err)
        times = f", {self.tries} times" if self.tries > 1 else ""
        raise NotMeasurable(f"--measure-with {self.command!r} {reason}{times}")

    @cached_property
    def _words(self) -> list[str]:
        try:
            return shlex.split(self.command)
        except ValueError as error:
            raise InputError(f"--measure-with {self.command!r}: {error}") from None

    def _run(self, path: Path) -> tuple[int | None, str, str]:
        """Exit status, None after the time-out, and both streams."""
        words = [word.replace("{file}", str(path.absolute())) for word in self._words]
        pipe = subprocess.PIPE
        try:
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, errors="replace",
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise InputError(f"--measure-with {self.command!r}: {words[0]}: {error.strerror}") from None
        try:
            out, err = process.communicate(timeout=self.timeout)
        except subprocess.TimeoutExpired:
            return None, "", ""
        finally:
            _end(process)
        return process.returncode, out, err

    def _reason(self, status: int | None, out: str, err: str) -> str:
        if status is None:
            return f"gives no answer in {self.timeout:g} s"
        if status:
            said = printable(_last(err)[:200])
            return f"ends with status {status}{': ' + said if said else ''}"
        return f"says {printable(_last(out)[:80])!r}, not milliseconds such as '5.3', or '5.3 123456' with bytes of RAM"


def _last(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else ""


def _end(process: subprocess.Popen[str]) -> None:
    """A command that still runs, with all that it started."""
    if process.poll() is None:
        if os.name == "nt":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for stream in (process.stdout, process.stderr):
        if stream:
            stream.close()
