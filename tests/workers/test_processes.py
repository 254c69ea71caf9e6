"""A KeyboardInterrupt raised where Python ignores exceptions is raised again where it is heard."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import signal, time, weakref
from archsearch.workers.processes import keep_interrupts

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


def program(code: str) -> subprocess.CompletedProcess[str]:
    head = "import signal, time\nfrom archsearch.workers.processes import keep_interrupts\nkeep_interrupts()\n"
    return subprocess.run([sys.executable, "-c", head + code], capture_output=True, text=True, timeout=60, check=True)


def test_an_interrupt_waits_for_the_end_of_an_import(tmp_path: Path) -> None:
    """What is imported in C++ aborts the process otherwise: torch does, with pybind11's error_already_set."""
    (tmp_path / "slow.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\ndone = True\n")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
try:
    import slow
    time.sleep(30)
except KeyboardInterrupt:
    print("heard after", "slow" in sys.modules and slow.done)
"""
    answer = program(code)
    assert (answer.stdout, answer.stderr) == ("heard after True\n", "")


def test_what_a_library_logs_of_an_interrupt_is_left_out() -> None:
    """SQLAlchemy logs it, with a traceback, when it comes while a connection is given back."""
    code = """
import sqlalchemy
engine = sqlalchemy.create_engine("sqlite:///:memory:", poolclass=sqlalchemy.pool.QueuePool)
@sqlalchemy.event.listens_for(engine, "reset")
def reset(*args):
    signal.raise_signal(signal.SIGINT)
try:
    engine.connect().close()
except KeyboardInterrupt:
    print("heard")
import logging
log = logging.getLogger("sqlalchemy.pool")
try:
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        raise RuntimeError("closed while it is handled") from None
except RuntimeError:
    log.error("what follows from it is left out", exc_info=True)
log.error("others are shown")
"""
    answer = program(code)
    assert (answer.stdout, answer.stderr) == ("heard\n", "others are shown\n")


def test_a_signal_that_is_ignored_stays_so() -> None:
    """As in a shell's background job."""
    code = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    tail = "\nkeep_interrupts()\nsignal.raise_signal(signal.SIGINT)\nprint('goes on')"
    assert program(code + tail).stdout == "goes on\n"
