"""What a stopped trial says: its last accuracy, carried on to the end as the finished trials went on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from optuna.trial import TrialState

from archsearch.sampler.history import Observation

PAIRS = 4


def extrapolate(records: Sequence[Observation]) -> list[tuple[Observation, float, float]]:
    """Final accuracies to expect of stopped trials.

    For the epoch at which a trial stopped, a straight line from accuracy there to final accuracy is fitted
    through the finished trials; the trial gets the line's value, and the scatter about the line as doubt.

    Returns:
        (record, accuracy, doubt) of each trial stopped at an epoch that `PAIRS` or more finished ones passed.
    """
    finished = [(dict(r.curve), r.accuracy) for r in records if r.accuracy is not None and r.curve]
    stopped = [r for r in records if r.state == TrialState.PRUNED and r.curve]
    lines = {epoch: _line(epoch, finished) for epoch in {r.curve[-1][0] for r in stopped}}
    out = []
    for record in stopped:
        epoch, accuracy = record.curve[-1]
        line = lines[epoch]
        if line is not None:
            slope, at, scatter = line
            out.append((record, slope * accuracy + at, scatter))
    return out


def _line(epoch: float, finished: Iterable[tuple[dict[float, float], float]]) -> tuple[float, float, float] | None:
    pairs = np.array([(curve[epoch], final) for curve, final in finished if epoch in curve])
    if len(pairs) < PAIRS or np.ptp(pairs[:, 0]) == 0:
        return None
    slope, at = np.polyfit(pairs[:, 0], pairs[:, 1], 1)
    slope = max(float(slope), 0.0)
    at = float((pairs[:, 1] - slope * pairs[:, 0]).mean())
    rest = pairs[:, 1] - slope * pairs[:, 0] - at
    return slope, at, float(np.sqrt((rest**2).sum() / (len(pairs) - 2)))
