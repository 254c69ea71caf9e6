"""Ctrl-C that Python loses.

A signal's exception is raised wherever the main thread happens to be. Inside a weak reference's callback or a
`__del__`, Python prints it as "Exception ignored in ..." and goes on: whoever pressed Ctrl-C waits for nothing.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

_AGAIN = 0.05  # seconds: by then the callback has returned


def keep_interrupts(number: int = signal.SIGINT) -> None:
    """From now on, send this process signal `number` again when its KeyboardInterrupt was raised where nobody hears."""
    before = sys.unraisablehook

    def hook(unraisable: sys.UnraisableHookArgs) -> None:
        if unraisable.exc_type is KeyboardInterrupt:
            timer = threading.Timer(_AGAIN, os.kill, (os.getpid(), number))
            timer.daemon = True
            timer.start()
        else:
            before(unraisable)

    sys.unraisablehook = hook
