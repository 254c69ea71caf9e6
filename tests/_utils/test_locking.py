"""One at a time."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from archsearch._utils.locking import alone


def test_others_wait_until_the_first_is_out(tmp_path: Path) -> None:
    path, order = tmp_path / "new" / "lock", list[str]()

    def other() -> None:
        with alone(path):
            order.append("other")

    with alone(path):
        thread = threading.Thread(target=other)
        thread.start()
        time.sleep(0.05)
        order.append("first")
    thread.join()
    assert order == ["first", "other"]


def test_an_error_lets_the_next_in(tmp_path: Path) -> None:
    order: list[str] = []
    for name in ("first", "second"):
        try:
            with alone(tmp_path / "lock"):
                order.append(name)
                raise KeyError(name)
        except KeyError:
            continue
    assert order == ["first", "second"]
