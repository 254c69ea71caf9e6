"""Which trainings go on: asynchronous successive halving for accuracy against size.

At each rung (after `grace` epochs, then `reduction` times as many, and so on) a training is compared with all
that were there before it, on the accuracy so far and the exact size. What none of them dominates goes on: it may be
on the front. Of the rest go on those whose non-dominated rank lies among the best 1 / `reduction`. A small network
is never stopped for being beaten by a large one. Nobody waits for anybody.

Sources: ASHA, Li et al. 2020 (the stopping variant); for several objectives, Schmucker et al. 2021.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from optuna.trial import FrozenTrial

from archsearch import pareto
from archsearch.evaluation import finite

LEFT = 1 / 3
"""Share of the epochs that a rung must be able to save."""
LEASE = "lease"
"""User attribute of a claim: counted up while its worker lives."""
CURVE = "curve"
"""User attribute of a trial: its measurements so far, a list of [epoch, accuracy]."""
EFFORT = "effort"
"""User attribute of a trial that was not trained as long as others: by how much longer, or shorter, as a factor."""
SIZE = "size"
"""User attribute of a trial: its exact size, set before the first measurement."""


def rung_epochs(epochs: int, grace: int, reduction: float) -> tuple[int, ...]:
    """Epochs after which it is decided who goes on: grace, grace * reduction, ... with a third of `epochs` left.

    Raises:
        ValueError: grace below 1, or reduction not above 1.
    """
    if grace < 1:
        raise ValueError(f"grace={grace}: give at least one epoch")
    if not reduction > 1:
        raise ValueError(f"reduction={reduction}: give a factor above 1")
    rungs: list[int] = []
    at = float(grace)
    while round(at) <= epochs * (1 - LEFT) + 1e-9:
        if round(at) not in rungs:
            rungs.append(round(at))
        at *= reduction
    return tuple(rungs)


def default_grace(epochs: int) -> int:
    """Epochs before the first rung: a third of them, but at least two.

    After one epoch the order of networks can be the reverse of that at the end; from there on its rank correlation
    was above 0.5 in every study of ten or more finished trainings (docs/explanation/search.md, "Rungs").
    """
    return max(2, round(epochs / 3))


@dataclass(frozen=True)
class Standing:
    """Where a training stands at a rung: `dominators` of `peers` are no larger and no less accurate than it."""

    goes_on: bool
    dominators: int
    peers: int


def standing(accuracy: float, size: float, peers: ArrayLike, reduction: float) -> Standing:
    """Where a training stands among those that got to the same rung, and whether it passes.

    Args:
        accuracy: so far, higher is better.
        size: exact, lower is better.
        peers: (n, 2), accuracy at this rung and size of the others that got here.
        reduction: one in that many goes on, and everything that nothing dominates.
    """
    others = np.asarray(peers, dtype=np.float64).reshape(-1, 2)
    points = np.vstack([others, [accuracy, size]]) * (-1.0, 1.0)
    rank = pareto.ranks(points)
    passes = rank[-1] == 0 or (rank <= rank[-1]).sum() <= len(points) / reduction
    return Standing(bool(passes), int(pareto.dominated_by(points)[-1].sum()), len(others))


@dataclass(frozen=True)
class Rungs:
    """The rungs of a study whose trials keep their curve and size in user attributes.

    Args:
        epochs: of a full training.
        grace: no training is stopped before that many epochs.
        reduction: at each rung one in that many goes on, beside what nothing dominates, and each rung is that many
            times as high.
    """

    epochs: int
    grace: int
    reduction: float = 4.0

    def __post_init__(self) -> None:
        rung_epochs(self.epochs, self.grace, self.reduction)

    @property
    def at(self) -> tuple[int, ...]:
        """The epochs at which somebody may be stopped, rising."""
        return rung_epochs(self.epochs, self.grace, self.reduction)

    def standing(
        self, trials: Sequence[FrozenTrial], number: int, epoch: int, accuracy: float, size: float
    ) -> Standing:
        """Where trial `number` stands after `epoch`, where it has `accuracy` (higher is better).

        Between rungs everybody goes on. Reads the user attributes `curve` and `size` of the other trials, whoever
        trains them; the caller writes the trial's own before it asks, so that others see it.
        """
        if epoch not in self.at:
            return Standing(goes_on=True, dominators=0, peers=0)
        others = [trial for trial in trials if trial.number != number]
        return standing(accuracy, size, _peers(others, epoch), self.reduction)


def _peers(trials: Sequence[FrozenTrial], epoch: int) -> list[tuple[float, float]]:
    """(accuracy, size) of every trial that was measured after `epoch`, whatever became of it."""
    found = []
    for trial in trials:
        measured = dict(map(tuple, trial.user_attrs.get(CURVE, [])))
        accuracy = finite(measured.get(epoch))
        if accuracy is not None and SIZE in trial.user_attrs:
            found.append((accuracy, float(trial.user_attrs[SIZE])))
    return found
