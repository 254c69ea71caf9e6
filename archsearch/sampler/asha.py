"""Which trainings go on: asynchronous successive halving for accuracy against size.

At each rung (after `grace` epochs, then `reduction` times as many, and so on) a training is compared with all
that were there before it, on the accuracy so far and the exact size. It goes on if it is among the best
1 / `reduction` by non-dominated rank: a small network is never stopped for being beaten by a large one. Where
the places do not suffice for a whole rank, the one that stands most alone goes first. Nobody waits for anybody.

Sources: ASHA, Li et al. 2020 (the stopping variant); for several objectives, Schmucker et al. 2021; the order
within a rank, crowding distance, Deb et al. 2002 (NSGA-II).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from optuna.trial import FrozenTrial

from archsearch import pareto
from archsearch.evaluation import finite

ENDS = 2
LEASE = "lease"
"""User attribute of a claim: counted up while its worker lives."""
CURVE = "curve"
"""User attribute of a trial: its measurements so far, a list of [epoch, accuracy]."""
SIZE = "size"
"""User attribute of a trial: its exact size, set before the first measurement."""


def rung_epochs(epochs: int, grace: int, reduction: float) -> tuple[int, ...]:
    """Epochs after which it is decided who goes on: grace, grace * reduction, ... below `epochs`.

    Raises:
        ValueError: grace below 1, or reduction not above 1.
    """
    if grace < 1:
        raise ValueError(f"grace={grace}: give at least one epoch")
    if not reduction > 1:
        raise ValueError(f"reduction={reduction}: give a factor above 1")
    rungs: list[int] = []
    at = float(grace)
    while round(at) < epochs:
        if round(at) not in rungs:
            rungs.append(round(at))
        at *= reduction
    return tuple(rungs)


def goes_on(accuracy: float, size: float, peers: ArrayLike, reduction: float) -> bool:
    """Whether a training passes a rung.

    Args:
        accuracy: so far, higher is better.
        size: exact, lower is better.
        peers: (n, 2), accuracy at this rung and size of the others that got here.
        reduction: one in that many goes on.

    Returns:
        True if fewer than the quota, `max(1, (n + 1) / reduction)`, are ahead of it: those of a better rank, and
        of its own those that stand more alone. The first at a rung always goes on; so do, once the quota is 2,
        the smallest and the most accurate of the front.
    """
    others = np.asarray(peers, dtype=np.float64).reshape(-1, 2)
    points = np.vstack([others, [accuracy, size]]) * (-1.0, 1.0)
    rank = pareto.ranks(points)
    quota = max(1.0, len(points) / reduction)
    alone = _solitude(points[rank == rank[-1]], far_ends=quota >= ENDS)
    ahead = (rank < rank[-1]).sum() + (alone > alone[-1] + 1e-9).sum()
    return bool(ahead + 1 <= quota)


def _solitude(points: NDArray[np.float64], far_ends: bool) -> NDArray[np.float64]:
    """Crowding distance of points of one rank over (accuracy, log size).

    At the ends infinite, as in NSGA-II, or twice the only gap: while there are no places for both ends,
    nearly all of the first trainings would go on, each being the smallest or the most accurate so far.
    """
    scaled = np.column_stack([points[:, 0], np.log(np.maximum(points[:, 1], 1e-9))])
    order = np.lexsort((scaled[:, 0], scaled[:, 1]))
    span = np.ptp(scaled, axis=0)
    gaps = np.abs(np.diff(scaled[order] / np.where(span > 0, span, 1.0), axis=0)).sum(1)
    alone = np.zeros(len(points))
    if len(gaps):
        alone[order] = np.append(gaps[0], gaps) + np.append(gaps, gaps[-1])
    if far_ends:
        alone[order[[0, -1]]] = np.inf
    return alone


@dataclass(frozen=True)
class Rungs:
    """The rungs of a study whose trials keep their curve and size in user attributes.

    Args:
        epochs: of a full training.
        grace: no training is stopped before that many epochs.
        reduction: at each rung one in that many goes on, and each rung is that many times as high.
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

    def goes_on(self, trials: Sequence[FrozenTrial], number: int, epoch: int, accuracy: float, size: float) -> bool:
        """Whether trial `number` trains on after `epoch`, where it has `accuracy` (higher is better).

        True between rungs. Reads the user attributes `curve` and `size` of the other trials, whoever trains them;
        the caller writes the trial's own before it asks, so that others see it.
        """
        if epoch not in self.at:
            return True
        others = [trial for trial in trials if trial.number != number]
        return goes_on(accuracy, size, _peers(others, epoch), self.reduction)


def _peers(trials: Sequence[FrozenTrial], epoch: int) -> list[tuple[float, float]]:
    """(accuracy, size) of every trial that was measured after `epoch`, whatever became of it."""
    found = []
    for trial in trials:
        measured = dict(map(tuple, trial.user_attrs.get(CURVE, [])))
        accuracy = finite(measured.get(epoch))
        if accuracy is not None and SIZE in trial.user_attrs:
            found.append((accuracy, float(trial.user_attrs[SIZE])))
    return found
