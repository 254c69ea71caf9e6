"""What a person sees while pictures are decoded: a line that is drawn anew in a terminal, one plain line elsewhere."""

from __future__ import annotations

import shutil
import sys
import time

import click

from archsearch._utils.units import format_seconds
from archsearch.cli.screen import shortened
from archsearch.data.store.progress import Watch

_PATIENCE = 1.0
"""Seconds of work before a word of it."""
_PAUSE = 0.2


class Decoding(Watch):
    """On stderr, as tables and JSON go to stdout; silent where it takes less than a second."""

    def __init__(self) -> None:
        self.words = ""
        self.begun = self.drawn = 0.0

    def step(self, words: str, done: int, total: int) -> None:
        """Draw how far it is, now and then."""
        now = time.monotonic()
        if words != self.words or done <= 1:
            self.words, self.begun, self.drawn = words, now, 0.0
        if done == total:
            self._clear()
        elif now - self.begun > _PATIENCE and now - self.drawn > _PAUSE:
            self._draw(done, total, now)

    def _draw(self, done: int, total: int, now: float) -> None:
        terminal = sys.stderr.isatty()
        if terminal:
            left = format_seconds((now - self.begun) * (total - done) / done)
            text = f"reading {self.words}: {done:,} of {total:,}, {left} left"
            width = shutil.get_terminal_size().columns
            click.echo(f"\r\x1b[K{shortened(text, width - 1)}", err=True, nl=False)
        elif not self.drawn:
            click.echo(f"archsearch: reading {total:,} {self.words}", err=True)
        self.drawn = now

    def _clear(self) -> None:
        if self.drawn and sys.stderr.isatty():
            click.echo("\r\x1b[K", err=True, nl=False)
        self.drawn = 0.0

    def say(self, line: str) -> None:
        """A line of its own."""
        self._clear()
        click.echo(f"archsearch: {line}", err=True)

    def __enter__(self) -> Decoding:
        return self

    def __exit__(self, *ended: object) -> None:
        self._clear()
