"""A KeyboardInterrupt raised where Python ignores exceptions is raised again where it is heard."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import signal, time, weakref
from archsearch.workers.processes import keep_interrupts

def interrupt(number, frame):
    raise KeyboardInterrupt

signal.signal(signal.{number}, interrupt)
keep_interrupts(signal.{number})

class Thing: pass

thing = Thing()
reference = weakref.ref(thing, lambda dead: {lost})
try:
    del thing
    time.sleep({seconds})
    print("nothing heard")
except KeyboardInterrupt:
    print("heard")
"""


def run(lost: str, seconds: float, number: str = "SIGINT") -> subprocess.CompletedProcess[str]:
    code = PROGRAM.format(number=number, lost=lost, seconds=seconds)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_an_interrupt_in_a_callback_is_heard(number: str) -> None:
    answer = run(f"signal.raise_signal(signal.{number})", 30, number)
    assert (answer.stdout, answer.stderr) == ("heard\n", "")


def test_other_errors_there_are_printed_as_ever() -> None:
    answer = run("1 / 0", 0.5)
    assert answer.stdout == "nothing heard\n"
    assert "ZeroDivisionError" in answer.stderr
