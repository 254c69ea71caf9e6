"""Who wants to know how far a long reading is."""

from __future__ import annotations


class Watch:
    """Is told how the pictures of a dataset are read; this one keeps silent. Picklable."""

    def step(self, words: str, done: int, total: int) -> None:
        """So many of all pictures are done, in the part of the work that the words name."""

    def say(self, line: str) -> None:
        """What a user should know at once."""


SILENT = Watch()
