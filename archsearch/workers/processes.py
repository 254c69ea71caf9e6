"""Processes: where workers come from, and the Ctrl-C that Python loses.

Workers are forked from one process that has imported everything, so that they start at once. `prepare` starts it; it
has no threads and has not touched CUDA, so forking it is safe.
"""

from __future__ import annotations

import _thread
import atexit
import logging
import multiprocessing
import os
import signal
import sys
import time
from contextlib import suppress
from multiprocessing import forkserver
from types import FrameType
from typing import Any

_PRELOAD = [
    "archsearch.workers.worker", "archsearch.training.fit", "optuna.storages", "sklearn.datasets", "torch._dynamo",
]  # fmt: skip
_AGAIN = 0.05  # seconds: by then the callback has returned


def prepare() -> None:
    """Start the process that workers are forked from, so that it imports what they need while we do other things."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return
    multiprocessing.get_context("forkserver").set_forkserver_preload(_PRELOAD)
    # Ctrl-C in a terminal reaches every process there; this one would print where in its imports it was.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGINT, before)
    atexit.register(_end_forkserver)


def _end_forkserver() -> None:
    """It would end by itself, but only when its imports are done."""
    pid = getattr(getattr(forkserver, "_forkserver", None), "_forkserver_pid", None)
    if pid is not None:
        os.kill(pid, signal.SIGTERM)


def context_of_workers() -> Any:
    """How worker processes are started here."""
    methods = multiprocessing.get_all_start_methods()
    return multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")


def keep_interrupts(number: int = signal.SIGINT) -> None:
    """From now on, let signal `number` raise KeyboardInterrupt where it is heard and does no harm.

    Inside a weak reference's callback or a `__del__`, Python prints it as "Exception ignored in ..." and goes on.
    Within an import, libraries in C++ abort the process. In both cases the signal is sent again a moment later. What
    libraries log of it, with a traceback, is left out where nobody has set logging up.
    """
    before = sys.unraisablehook

    def hook(unraisable: sys.UnraisableHookArgs) -> None:
        if unraisable.exc_type is KeyboardInterrupt:
            _send_again(number)
        else:
            before(unraisable)

    def handle(number: int, frame: FrameType | None) -> None:
        if _is_import(frame):
            _send_again(number)
        else:
            raise KeyboardInterrupt

    sys.unraisablehook = hook
    if signal.getsignal(number) != signal.SIG_IGN:  # a job in the background
        signal.signal(number, handle)
    if logging.lastResort:
        logging.lastResort.addFilter(_is_no_interrupt)


def _send_again(number: int) -> None:
    def send() -> None:
        time.sleep(_AGAIN)
        os.kill(os.getpid(), number)

    with suppress(RuntimeError):  # the interpreter ends anyway
        _thread.start_new_thread(send, ())  # threading.Thread takes locks, which the interrupted code may hold


def _is_import(frame: FrameType | None) -> bool:
    """Whether a module is being imported below this frame."""
    while frame is not None:
        if frame.f_globals.get("__name__") == "importlib._bootstrap":
            return True
        frame = frame.f_back
    return False


def _is_no_interrupt(record: logging.LogRecord) -> bool:
    """Whether what is logged was neither an interrupt nor raised while one was handled."""
    error = record.exc_info[1] if record.exc_info else None
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return False
        error = error.__context__
    return True
