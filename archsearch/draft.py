"""Where an Optuna sampler draws candidates: a study in memory, so that a rejected draw costs no database write.

The sampler sees every draw, over budget or not, and learns from it; only finished candidates reach the
study's own storage.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from archsearch.blocks import Value
from archsearch.dims import Choice, Dim, Int
from archsearch.errors import InputError
from archsearch.space import Ask, uniform

SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "tpe": lambda seed: TPESampler(seed=seed, n_startup_trials=10),
    "nsga2": lambda seed: NSGAIISampler(seed=seed, population_size=10),
    "random": lambda seed: RandomSampler(seed=seed),
}


def distribution(dim: Dim) -> BaseDistribution:
    """A dim as Optuna's distribution."""
    if isinstance(dim, Choice):
        return CategoricalDistribution(dim.options)
    if isinstance(dim, Int):
        return IntDistribution(dim.low, dim.high, log=dim.log, step=dim.step)
    return FloatDistribution(dim.low, dim.high, log=dim.log)


@dataclass
class Draw:
    """One draw: what was answered, for which dims, and its trial in the draft (None for a random one)."""

    params: dict[str, Value]
    distributions: dict[str, BaseDistribution]
    trial: optuna.Trial | None = None

    def answer(self, name: str, dim: Dim, value: Value) -> Value:
        """Note an answer and return it."""
        self.params[name] = value
        self.distributions[name] = distribution(dim)
        return value


class Draft:
    """Asks a sampler for draws and tells it what became of them.

    Args:
        sampler: a name of `SAMPLERS`.
        seed: two drafts with one seed and one history draw the same.
        history: finished trials of the study that goes on.

    Raises:
        InputError: an unknown sampler.
    """

    def __init__(self, sampler: str, seed: int, history: list[FrozenTrial]) -> None:
        if sampler not in SAMPLERS:
            raise InputError(f"unknown sampler {sampler!r}: use one of {', '.join(SAMPLERS)}")
        start = _seed(seed, len(history))
        self._random = random.Random(start)
        self._study = optuna.create_study(
            directions=["maximize", "minimize"], sampler=SAMPLERS[sampler](start), storage=None
        )
        self._study.add_trials(history)

    def ask(self) -> tuple[Draw, Ask]:
        """A new draw and the function that answers its dims with the sampler's proposals."""
        draw = Draw({}, {}, self._study.ask())

        def answer(name: str, dim: Dim) -> Value:
            return draw.answer(name, dim, _suggest(draw.trial, name, dim))

        return draw, answer

    def ask_random(self) -> tuple[Draw, Ask]:
        """A uniform draw that the sampler does not see."""
        draw = Draw({}, {})

        def answer(name: str, dim: Dim) -> Value:
            return draw.answer(name, dim, uniform(self._random, dim))

        return draw, answer

    def reject(self, draw: Draw, params: int, excess: float) -> None:
        """The draw is over budget: a trial of accuracy 0 with a broken constraint."""
        if draw.trial is not None:
            draw.trial.set_constraint("budget", max(excess, 1e-9))
            self._study.tell(draw.trial, [0.0, float(params)])

    def drop(self, draw: Draw) -> None:
        """The draw taught nothing new: a duplicate, no network, or a failed training."""
        if draw.trial is not None:
            self._study.tell(draw.trial, state=TrialState.FAIL)

    def finish(self, draw: Draw, accuracy: float, params: int) -> None:
        """The draw was trained to the end."""
        values = [accuracy, float(params)]
        if draw.trial is not None:
            draw.trial.set_constraint("budget", -1e-9)
            self._study.tell(draw.trial, values)
        else:
            self._study.add_trial(
                optuna.trial.create_trial(
                    values=values,
                    params=draw.params,
                    distributions=draw.distributions,
                    constraints={"budget": -1e-9},
                )
            )


def _suggest(trial: Any, name: str, dim: Dim) -> Value:
    if isinstance(dim, Choice):
        answer: Value = trial.suggest_categorical(name, dim.options)
    elif isinstance(dim, Int):
        answer = trial.suggest_int(name, dim.low, dim.high, step=dim.step, log=dim.log)
    else:
        answer = trial.suggest_float(name, dim.low, dim.high, log=dim.log)
    return answer


def _seed(seed: int, finished: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{finished}".encode()).digest()[:4], "big")
