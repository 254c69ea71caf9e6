"""What candidates take on the device: measured before they are trained, predicted before they are measured."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from archsearch._utils.units import counted, format_ms, format_seconds
from archsearch.errors import ExportFailed, InputError, NothingFeasible, NotMeasurable, SpecError
from archsearch.inference.latency_layers import kernels_of
from archsearch.network.arch import Arch
from archsearch.network.budget import Budget
from archsearch.network.cost import Parts
from archsearch.network.limits import LATENCY, upper
from archsearch.network.timing import Timing
from archsearch.space.domain import Domain

if TYPE_CHECKING:
    from archsearch.inference.latency_model import LatencyModel

FIRST = 30
"""Networks that are measured before the first training."""
IN_VAIN = 50
"""Networks over the limit, one behind the other, after which nothing else is looked for."""
_DOUBTS = 2.0
"""Standard deviations by which a prediction must be over the limit."""
_DRAWS, _FITTING = 4_000, 600
_GUESSES = 50_000
"""Kept until something new is measured."""
_HOPELESS = 5
_TELLING, _FAR = 8, 2.0
"""Networks after which the model may leave one out, and how many times the limit that has to take."""
_TRIES = 3
"""Of a network that is only learnt from; a candidate is waited for."""
_PAUSES = (0.5, 1.0, 2.0)
_SAY_EVERY = 60.0


class Stopwatch(Protocol):
    """Who measures: `export.timed.Stopwatch`."""

    def known(self, arch: Arch) -> float | None: ...

    def __call__(self, arch: Arch, again: Callable[[NotMeasurable], bool]) -> float: ...

    def alone(self) -> AbstractContextManager[None]: ...


class Latencies:
    """The milliseconds of candidates, known or guessed.

    Args:
        budget: with a limit on them.
        stopwatch: who measures.
        say: told in a line of what takes a while.
    """

    def __init__(self, budget: Budget, stopwatch: Stopwatch, say: Callable[[str], None]) -> None:
        self.budget, self.stopwatch, self.say = budget, stopwatch, say
        self.limit = float(budget.get("max_latency") or math.inf)
        self.in_vain = 0
        """Networks measured since one was under the limit."""
        self._known: dict[Parts, float] = {}
        self._archs: list[Arch] = []
        self._model: LatencyModel | None = None
        self._kernels = kernels_of((budget.timing or Timing()).runtime)
        self._guesses: dict[Parts, float | None] = {}
        self._spoke, self._announced = -math.inf, False

    def begin(self, domain: Domain, deadline: float) -> None:
        """Measure networks of the space that are unlike each other, so that others can be predicted.

        The smallest first: once the model can tell, what is far over the limit is left out, and others take its place.

        Raises:
            ExportFailed, InputError: none of the first can be measured, by the reason of the last.
        """
        from archsearch.inference.latency_model import spread

        with self.stopwatch.alone():
            every = candidates(domain, self.budget)
            start = self._spoke = time.monotonic()
            fresh = self._learn(spread(every, FIRST), deadline)
            others = self._near([arch for arch in every if arch.cost.parts not in self._known])
            fresh += self._learn(spread(others, FIRST - len(self._known)), deadline)
            if fresh and self._archs:
                self.say(self._summary(fresh, time.monotonic() - start))
        self.in_vain = 0

    def _learn(self, archs: Sequence[Arch], deadline: float) -> int:
        """Measure networks that are not far over the limit; those that a busy machine refuses again behind the others.

        Ends when at least as many are measured as are refused. Returns how many the stopwatch did not know.
        """
        fresh, waiting = 0, sorted(archs, key=lambda arch: arch.cost.macs)
        while waiting:
            refused = list[Arch]()
            for arch in waiting:
                if time.monotonic() >= deadline:
                    return fresh
                if not self._near([arch]):
                    continue
                known = self.stopwatch.known(arch) is not None
                if not known:
                    self._announce(len(archs))
                if time.monotonic() - self._spoke > _SAY_EVERY:
                    self._tell(f"{len(self._archs)} of {counted(len(archs), 'network')} measured")
                if self._first(arch, deadline):
                    fresh += not known
                else:
                    refused.append(arch)
            waiting = refused if len(self._archs) < len(refused) else []
        return fresh

    def _announce(self, number: int) -> None:
        timing = self.budget.timing
        if timing and not self._announced:
            self._announced = True
            self.say(f"measuring up to {counted(number, 'network')} before the first training ({timing.words})")

    def _near(self, archs: Sequence[Arch]) -> list[Arch]:
        """Networks that are not so far over the limit, by the model, that their figures would not matter."""
        if len(self._archs) < _TELLING or not archs:
            return list(archs)
        least = (guess * math.exp(-_DOUBTS * doubt) for guess, doubt in zip(*self.model.predict(archs), strict=True))
        return [arch for arch, value in zip(archs, least, strict=True) if value < _FAR * self.limit]

    def _first(self, arch: Arch, deadline: float) -> bool:
        """Measure one of the first; False: the machine is busy.

        Raises where nothing could be measured so far, and several were tried.
        """
        try:
            self._measure(arch, deadline, _TRIES)
        except NotMeasurable:
            return False
        except (ExportFailed, InputError):
            self._known[arch.cost.parts] = math.inf
            if not self._archs and len(self._known) >= _HOPELESS:
                raise
        return True

    def _summary(self, number: int, seconds: float) -> str:
        values = sorted(value for value in self._known.values() if value < math.inf)
        error = self.model.error
        sure = "" if math.isnan(error) else f"; others are predicted, median error {100 * error:.1f}%"
        return (
            f"{counted(number, 'network')} measured in {format_seconds(seconds)}: {format_ms(values[0])} to"
            f" {format_ms(values[-1])} for one image{sure}"
        )

    @property
    def begun(self) -> bool:
        """Whether anything was measured."""
        return bool(self._archs)

    @property
    def model(self) -> LatencyModel:
        """Of everything that is known, at least one network."""
        if self._model is None:
            from archsearch.inference.latency_model import LatencyModel

            known = [self._known[arch.cost.parts] for arch in self._archs]
            self._model = LatencyModel.fit(self._archs, known, self._kernels)
        return self._model

    def keep(self, arch: Arch, milliseconds: float) -> None:
        """Learn what somebody has measured."""
        if arch.cost.parts not in self._known:
            self._known[arch.cost.parts] = milliseconds
            if milliseconds < math.inf:
                self._archs.append(arch)
                self._model = None
                self._guesses.clear()

    def of(self, arch: Arch) -> dict[str, float]:
        """What was measured of a network, by the measure's name; nothing where nothing was."""
        found = self._known.get(arch.cost.parts)
        return {} if found is None else {LATENCY: found}

    def over(self, arch: Arch) -> float | None:
        """Milliseconds of a network that is over the limit, as far as can be told without a clock; else None."""
        parts = arch.cost.parts
        if (known := self._known.get(parts)) is not None:
            return known if known >= self.limit else None
        if not self._archs:
            return None
        if parts not in self._guesses:
            if len(self._guesses) >= _GUESSES:
                self._guesses.clear()
            (guess,), (doubt,) = self.model.predict([arch])
            self._guesses[parts] = float(guess) if guess * math.exp(-_DOUBTS * doubt) >= self.limit else None
        return self._guesses[parts]

    def measured(self, arch: Arch, deadline: float) -> float | None:
        """Milliseconds of a network, which is measured now; infinite where it cannot be shipped; None: time is up."""
        try:
            found = self._measure(arch, deadline)
        except NotMeasurable:
            return None
        except (ExportFailed, InputError) as error:
            self.say(f"{arch.id} is left out: {error}")
            found = self._known[arch.cost.parts] = math.inf
        self.in_vain = 0 if found < self.limit else self.in_vain + 1
        return found

    def _measure(self, arch: Arch, deadline: float, tries: float = math.inf) -> float:
        known = self._known.get(arch.cost.parts)
        if known is None:
            known = self.stopwatch(arch, _Patience(self, arch, deadline, tries))
            self.keep(arch, known)
        return known

    def _tell(self, line: str) -> None:
        self._spoke = time.monotonic()
        self.say(line)

    def nothing(self, reason: NothingFeasible) -> NothingFeasible:
        """What to raise where nothing fits: the reason, and the fastest network that was measured."""
        words = upper(LATENCY).words
        if not self._archs:
            return reason
        fastest = min(self._known.values())
        return NothingFeasible(
            f"{reason}; of {counted(len(self._archs), 'network')} measured, all inside the other limits, the fastest"
            f" takes {words(fastest)}, the limit is under {words(self.limit)}"
        )


class _Patience:
    """Waits for a machine that is busy, and says so; gives up when time is up, or after so many tries.

    Who waits holds the lock. Other workers that finish a training wait behind it, so that at last nobody trains.
    """

    def __init__(self, latencies: Latencies, arch: Arch, deadline: float, most: float) -> None:
        self.latencies, self.arch, self.deadline, self.most = latencies, arch, deadline, most
        self.tries = 0

    def __call__(self, error: NotMeasurable) -> bool:
        timing = self.latencies.budget.timing
        if timing and timing.command and not self.latencies.begun:
            raise InputError(str(error))
        pause = _PAUSES[min(self.tries, len(_PAUSES) - 1)]
        if time.monotonic() + pause >= self.deadline or self.tries + 1 >= self.most:
            return False
        if not self.tries or time.monotonic() - self.latencies._spoke > _SAY_EVERY:
            self.latencies._tell(f"{self.arch.id} waits, what is not measured is not trained: {error}")
        self.tries += 1
        time.sleep(pause)
        return True


def candidates(domain: Domain, budget: Budget) -> list[Arch]:
    """Different random networks inside the limits that a cost tells, as many as some thousand draws bring."""
    rng, found = random.Random(0), dict[Parts, Arch]()
    for _ in range(_DRAWS):
        arch = domain.random(rng)
        try:
            if budget.check(arch.cost).ok:
                found.setdefault(arch.cost.parts, arch)
        except SpecError:
            continue
        if len(found) >= _FITTING:
            break
    return list(found.values())
