"""Every error that archsearch raises on purpose.

    ArchsearchError
    ├── InputError                a value, a file or a dataset that cannot be used (also a ValueError)
    │   ├── SpecError             an architecture, block or search space that makes no network; names file and key
    │   ├── DataError             a dataset that is missing or broken
    │   └── StudyError            a study that is missing, taken, or no study
    ├── Infeasible                a cost function's answer: this candidate breaks a limit, by `excess`
    ├── SpaceExhausted            nothing new is left to propose
    ├── NothingFeasible           no candidate of the space fits the budget
    ├── TrainingFailed            one candidate could not be trained; the search goes on
    ├── ExportFailed              the exported file is too large, differs from the network, or cannot be written
    ├── PushFailed                exported files could not be pushed; they stay where they are
    ├── NotMeasurable             the machine is too busy for milliseconds that mean anything
    └── StopTraining              raised by `report` inside an evaluation: stop here, keep what was measured

The command line turns an InputError into one line and exit status 2; nothing else may.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from archsearch.evaluation import Evaluation

SHOWN, LONG = 20, 400
"""Of many problems a message has the first, and of a long one the beginning."""


class ArchsearchError(Exception):
    """Base of all errors raised on purpose."""


class InputError(ArchsearchError, ValueError):
    """Bad input: the message names the value, the rule and the way out."""


class SpecError(InputError):
    """An architecture, block or space description that makes no valid network.

    `problems` holds every fault found, one line each; the message joins the first of them, shortened.
    """

    def __init__(self, problems: str | Sequence[str], where: str = "") -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        self.where = where
        prefix = f"{where}: " if where else ""
        # Keys of a file may hold line breaks and terminal codes, and be as long as the file; the message is one line.
        shown = [text if len(text) <= LONG else f"{text[:LONG]} ..." for text in self.problems[:SHOWN]]
        more = len(self.problems) - len(shown)
        message = prefix + "; ".join([*shown, f"and {more:,} more"] if more else shown)
        super().__init__("".join(c if c.isprintable() else repr(c)[1:-1] for c in message))


class DataError(InputError):
    """A dataset that is missing, broken or refused."""


class StudyError(InputError):
    """A study that is missing, already there, or unreadable."""


class Infeasible(ArchsearchError):
    """The candidate breaks a limit or makes no network.

    `excess`: by how much, a positive number that falls towards zero as the candidate gets closer.
    """

    def __init__(self, excess: float, message: str = "") -> None:
        self.excess = float(excess)
        super().__init__(message or f"over the budget by {excess:g}")


class SpaceExhausted(ArchsearchError):
    """Every feasible candidate of the space has been proposed."""


class NothingFeasible(ArchsearchError):
    """No candidate of the space fits the budget; the message names the smallest one found."""


class TrainingFailed(ArchsearchError):
    """One candidate could not be trained; the message is its reason. `evaluation`: what was measured until then."""

    evaluation = Evaluation(math.nan)


class ExportFailed(ArchsearchError):
    """A network that cannot be exported, or an exported file that does not fit or does not match; nothing is kept."""


class PushFailed(ArchsearchError):
    """Exported files that could not be pushed to a server; they stay where they are."""


class NotMeasurable(ArchsearchError):
    """Milliseconds that would mean nothing: the machine is busy with something else."""


class StopTraining(ArchsearchError):
    """Stop this evaluation now and keep the last reported accuracy. `evaluation`: what was measured until then."""

    evaluation = Evaluation(math.nan)


def one_line(error: BaseException) -> str:
    """An exception of foreign code in one line: its type and the first line of what it says."""
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {printable(said[0][:200])}" if said else type(error).__name__


def printable(words: str) -> str:
    """Words that may quote the bytes of a file, with ? for what no terminal should be sent."""
    return "".join(letter if letter.isprintable() else "?" for letter in words)
