"""Where an Optuna sampler draws candidates: a study in memory, so that a rejected draw costs no database write.

The sampler sees every draw, over budget or not, and learns from it; only finished candidates reach the
study's own storage.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from archsearch._utils.seeds import seed_of
from archsearch.errors import Infeasible, InputError, SpecError
from archsearch.evaluation import finite
from archsearch.network.arch import Arch
from archsearch.network.blocks import Value
from archsearch.sampler import ParetoSampler
from archsearch.sampler.asha import CURVE, EFFORT, SIZE
from archsearch.space.dims import Choice, Dim, Int
from archsearch.space.domain import Domain
from archsearch.space.space import Ask, uniform
from archsearch.study.records import Draw, Record, distribution
from archsearch.study.storage import STATES, status
from archsearch.workers.ledger import Ledger

PARETO = "pareto"
TrainingCost = Callable[[Arch], float]
STOCK: dict[str, Callable[[int], BaseSampler]] = {
    "tpe": lambda seed: TPESampler(seed=seed, n_startup_trials=10),
    "nsga2": lambda seed: NSGAIISampler(seed=seed, population_size=10),
    "random": lambda seed: RandomSampler(seed=seed),
}
SAMPLERS = (PARETO, *STOCK)
_NO_NETWORK = 1e3


class Draft:
    """Asks a sampler for draws and tells it what became of them.

    Args:
        sampler: a name of `SAMPLERS`.
        seed: two drafts with one seed and one history draw the same.
        history: finished trials of the study that goes on.
        domain: what is searched.
        ledger: where the sampler `pareto`, which never proposes what is over budget, puts down all that it checks.
        worker: of several that share a study; each draws its own.
        training_cost: what a training costs beside the others; the sampler `pareto` takes it into account.

    Raises:
        InputError: an unknown sampler.
    """

    def __init__(
        self,
        sampler: str,
        seed: int,
        history: list[FrozenTrial],
        domain: Domain,
        ledger: Ledger,
        worker: int = 0,
        training_cost: TrainingCost | None = None,
    ) -> None:
        if sampler not in SAMPLERS:
            raise InputError(f"unknown sampler {sampler!r}: use one of {', '.join(SAMPLERS)}")
        self.judges = sampler == PARETO
        """Whether the sampler takes every verdict itself, before it proposes."""
        seed = seed_of(seed, "worker", worker) if worker else seed
        start = seed_of(seed, len(history))
        self._random = random.Random(start)
        made = _Sizes(domain, ledger, training_cost).sampler(seed) if self.judges else STOCK[sampler](start)
        self._memory = optuna.storages.InMemoryStorage()
        self._study = optuna.create_study(storage=self._memory, directions=["maximize", "minimize"], sampler=made)
        self._id = self._memory.get_study_id_from_name(self._study.study_name)
        self._study.add_trials(history)
        self._settled = {trial.number for trial in history}
        self._lowest = 0.0
        for trial in history:
            self._note(trial.values)
        self._pending: dict[int, int] = {}

    def own(self, number: int) -> None:
        """The study's trial of that number came from this draft, which is told of it by `finish` or `drop`."""
        self._settled.add(number)

    def update(self, trials: Sequence[FrozenTrial]) -> None:
        """Take in what other workers of the study have claimed and finished since."""
        for trial in trials:
            if trial.number not in self._settled:
                self._take_in(trial)

    def _take_in(self, trial: FrozenTrial) -> None:
        state = status(trial)
        if state == "running":
            if trial.number not in self._pending:
                self._pending[trial.number] = self._add(_pending(trial))
        elif trial.state.is_finished():
            self._settled.add(trial.number)
            self._settle(trial, counts=state in (None, *STATES))

    def _settle(self, trial: FrozenTrial, *, counts: bool) -> None:
        self._note(trial.values)
        pending = self._pending.pop(trial.number, None)
        if pending is None:
            if counts:
                self._study.add_trial(trial)
            return
        if trial.state != TrialState.FAIL:
            for name, value in {CURVE: trial.user_attrs[CURVE], **_effort(trial.user_attrs)}.items():
                self._memory.set_trial_user_attr(pending, name, value)
        self._memory.set_trial_state_values(pending, trial.state, trial.values)

    def _add(self, trial: FrozenTrial) -> int:
        return self._memory.create_new_trial(self._id, template_trial=trial)

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
        """The draw is over budget: a trial with a broken constraint, and no better a score than any that was trained.

        The sampler `pareto` looks at no constraints: to it the draw has taught nothing.
        """
        if draw.trial is None or self.judges:
            self.drop(draw)
            return
        draw.trial.set_constraint("budget", max(excess, 1e-9))
        self._study.tell(draw.trial, [self._lowest, float(params)])

    def drop(self, draw: Draw) -> None:
        """The draw taught nothing new: a duplicate, no network, or a failed training."""
        if draw.trial is not None:
            self._study.tell(draw.trial, state=TrialState.FAIL)

    def finish(self, draw: Draw, record: Record) -> None:
        """The draw was trained, to the end or to a rung."""
        self._note(record.values)
        done = optuna.trial.create_trial(
            state=STATES[record.state],
            values=record.values,
            params=draw.params,
            distributions=draw.distributions,
            user_attrs={CURVE: record.curve, SIZE: record.params, **_effort(record.usage)},
            constraints={"budget": -1e-9},
        )
        if draw.trial is None:
            self._study.add_trial(done)
            return
        for name, value in done.user_attrs.items():
            draw.trial.set_user_attr(name, value)
        draw.trial.set_constraint("budget", -1e-9)
        self._study.tell(draw.trial, record.values, state=done.state)

    def _note(self, values: Sequence[float] | None) -> None:
        """Scores may be negative: what is rejected must not look better than what was trained."""
        self._lowest = min([self._lowest, *(values or ())[:1]])


class _Sizes:
    """What the sampler `pareto` asks about parameters before it proposes any: cost, identity, active dims."""

    def __init__(self, domain: Domain, ledger: Ledger, training_cost: TrainingCost | None) -> None:
        self.domain, self.ledger, self.given = domain, ledger, training_cost
        self._fits: dict[tuple[Any, ...], tuple[int, int, float]] = {}

    def sampler(self, seed: int) -> ParetoSampler:
        """The sampler over every dim of the space; a space without dims has one candidate."""
        distributions = {name: distribution(dim) for name, dim in self.domain.space.dims.items()}
        only = distributions or {"": CategoricalDistribution((0,))}
        return ParetoSampler(
            only,
            self.cost,
            seed=seed,
            key=self.key,
            active=self.active,
            features=lambda params: [self.macs(params)],
            training_cost=self.training_cost if self.given else None,
        )

    def cost(self, params: Mapping[str, Any]) -> float:
        """Parameters of the candidate. Raises Infeasible over any limit, and where there is no network.

        What fits is remembered with what its training costs: it is asked for again and again, and judged once.
        """
        known = self._fits.get(tuple(params.values()))
        if known is not None:
            return known[0]
        arch = self.domain.arch(params)
        verdict = self.ledger.judge(arch)
        if verdict is None:
            raise Infeasible(_NO_NETWORK, "no network")
        if not verdict.ok:
            raise Infeasible(verdict.excess)
        self._fits[tuple(params.values())] = arch.cost.params, arch.cost.macs, self._cost_of(arch)
        return arch.cost.params

    def _cost_of(self, arch: Arch) -> float:
        if self.given is None:
            return 1.0
        cost = finite(given := self.given(arch))
        if cost is None or cost <= 0:
            raise InputError(f"training_cost gave {given!r} for {arch.id}: it is a positive number")
        return cost

    def training_cost(self, params: Mapping[str, Any]) -> float:
        """What a training of the candidate costs."""
        known = self._fits.get(tuple(params.values()))
        return self._cost_of(self.domain.arch(params)) if known is None else known[2]

    def macs(self, params: Mapping[str, Any]) -> int:
        """Multiply-accumulates of the candidate."""
        known = self._fits.get(tuple(params.values()))
        return self.domain.arch(params).cost.macs if known is None else known[1]

    def key(self, params: Mapping[str, Any]) -> Hashable:
        """The candidate's id; the parameters where they make no network."""
        try:
            return self.domain.arch(params).id
        except SpecError:
            return tuple(params.items())

    def active(self, params: Mapping[str, Any]) -> set[str]:
        """The dims that `draw` asks for."""
        asked: set[str] = set()

        def ask(name: str, dim: Dim) -> Value:
            asked.add(name)
            answer: Value = params[name]
            return answer

        self.domain.draw(ask)
        return asked


def _suggest(trial: Any, name: str, dim: Dim) -> Value:
    if isinstance(dim, Choice):
        answer: Value = trial.suggest_categorical(name, dim.options)
    elif isinstance(dim, Int):
        answer = trial.suggest_int(name, dim.low, dim.high, step=dim.step, log=dim.log)
    else:
        answer = trial.suggest_float(name, dim.low, dim.high, log=dim.log)
    return answer


def _effort(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """By how much longer than others a candidate was trained, where that is said."""
    return {EFFORT: attrs[EFFORT]} if EFFORT in attrs else {}


def _pending(trial: FrozenTrial) -> FrozenTrial:
    """A trial as it was claimed, for the draft."""
    return optuna.trial.create_trial(
        state=TrialState.RUNNING,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs={SIZE: trial.user_attrs[SIZE]},
        constraints={"budget": -1e-9},
    )
