"""Where worker processes come from: forked from one that has imported everything, so that they start at once.

That one is started by `prepare`, has no threads and has not touched CUDA, so forking it is safe.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
from multiprocessing import forkserver
from typing import Any

_PRELOAD = ["archsearch.worker", "archsearch.train", "optuna.storages", "sklearn.datasets", "torch._dynamo"]


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
    pid = getattr(forkserver._forkserver, "_forkserver_pid", None)
    if pid is not None:
        os.kill(pid, signal.SIGTERM)


def context_of_workers() -> Any:
    """How worker processes are started here."""
    methods = multiprocessing.get_all_start_methods()
    return multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
