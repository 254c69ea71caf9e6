"""Processes: where workers come from, and the Ctrl-C that Python loses.

Workers are forked from one process that has imported everything, so that they start at once. `prepare` starts it; it
has no threads and has not touched CUDA, so forking it is safe.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing import forkserver
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
    """From now on, send this process signal `number` again when its KeyboardInterrupt was raised where nobody hears.

    Inside a weak reference's callback or a `__del__`, Python prints it as "Exception ignored in ..." and goes on:
    whoever pressed Ctrl-C waits for nothing.
    """
    before = sys.unraisablehook

    def hook(unraisable: sys.UnraisableHookArgs) -> None:
        if unraisable.exc_type is KeyboardInterrupt:
            timer = threading.Timer(_AGAIN, os.kill, (os.getpid(), number))
            timer.daemon = True
            timer.start()
        else:
            before(unraisable)

    sys.unraisablehook = hook
