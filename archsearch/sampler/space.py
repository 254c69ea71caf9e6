"""A search space as the sampler sees it: named dims, drawn, changed, listed and encoded together."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution

from archsearch.sampler.dims import Array, Dim, dim_of

Params = dict[str, Any]
ALTERNATIVES = 12

Active = Callable[[Params], Collection[str]]


class Space:
    """Dims by name. Parameters are complete dicts: every dim has a value, inactive ones a fixed one.

    Args:
        distributions: Optuna's, by name.
        active: names the dims that matter for given parameters; without it all do.
        fixed: values that dims have in whatever is drawn, changed or listed.
    """

    def __init__(
        self,
        distributions: Mapping[str, BaseDistribution],
        active: Active | None = None,
        fixed: Mapping[str, Any] | None = None,
    ) -> None:
        self.dims: dict[str, Dim] = {name: dim_of(d) for name, d in distributions.items()}
        self.fixed = dict(fixed or {})
        self.active = active
        self._rest = {name: _first(dim) for name, dim in self.dims.items()}
        self.columns = sum(dim.width for dim in self.dims.values())
        self._shared = _shared_columns(self.dims)

    def cardinality(self) -> float:
        """Number of assignments, inactive dims counted in; infinite with a continuous dim."""
        return math.prod(dim.size for name, dim in self.dims.items() if name not in self.fixed)

    def settled(self, params: Mapping[str, Any]) -> Params:
        """The same network with every missing or inactive dim at its fixed value, names in our order."""
        full = {name: self.fixed.get(name, params.get(name, rest)) for name, rest in self._rest.items()}
        if self.active is None:
            return full
        live = self.active(full)
        return {name: value if name in live else self._rest[name] for name, value in full.items()}

    def draw(self, rng: np.random.Generator) -> Params:
        """Every dim on its own, uniform over its scale."""
        return self.settled({name: dim.draw(rng) for name, dim in self.dims.items()})

    def all(self) -> Iterator[Params]:
        """Every assignment; only for a finite space."""
        free = {name: dim.values() for name, dim in self.dims.items() if name not in self.fixed}
        for values in itertools.product(*free.values()):
            yield self.settled(dict(zip(free, values, strict=True)))

    def mutate(self, params: Params, rng: np.random.Generator) -> Params:
        """One dim changed, more with halving probability; each moved a little or drawn anew."""
        live = self._live(params)
        names = [n for n, dim in self.dims.items() if n in live and dim.size > 1 and n not in self.fixed]
        count = min(int(rng.geometric(0.5)), len(names))
        changed = dict(params)
        for i in rng.permutation(len(names))[:count]:
            dim = self.dims[names[i]]
            value = changed[names[i]]
            changed[names[i]] = dim.move(value, rng) if rng.random() < 0.5 else dim.draw(rng)
        return self.settled(changed)

    def swap(self, params: Params, name: str, value: Any) -> Params:
        """One dim set."""
        return self.settled({**params, name: value})

    def alternatives(self, name: str, params: Params, rng: np.random.Generator) -> list[Any]:
        """Other values of one dim, in random order: all of a short one, some of a long one."""
        dim = self.dims[name]
        if name in self.fixed:
            return []
        if dim.size <= ALTERNATIVES:
            some = [value for value in dim.values() if value != params[name]]
            return [some[i] for i in rng.permutation(len(some))]
        half = range(ALTERNATIVES // 2)
        return [*(dim.draw(rng) for _ in half), *(dim.move(params[name], rng) for _ in half)]

    def _live(self, params: Params) -> Collection[str]:
        return self.dims if self.active is None else self.active(params)

    def encode(self, many: Sequence[Params]) -> tuple[Array, Array]:
        """What the surrogate sees.

        Returns:
            (n, columns) of all dims, an inactive one all zero; and (n, shared), the means over dims of one
            kind, such as "how many of the operations are a 5x5 convolution".
        """
        columns = np.array([self._row(params) for params in many]).reshape(len(many), self.columns)
        shared = [columns[:, index].mean(1) for index in self._shared]
        return columns, np.stack(shared, 1) if shared else np.zeros((len(many), 0))

    def _row(self, params: Params) -> list[float]:
        live = self._live(params)
        row: list[float] = []
        for name, dim in self.dims.items():
            row += dim.encode(params[name]) if name in live else [0.0] * dim.width
        return row


def _first(dim: Dim) -> Any:
    return dim.values()[0] if math.isfinite(dim.size) else dim.draw(np.random.default_rng(0))


def _shared_columns(dims: Mapping[str, Dim]) -> list[list[int]]:
    starts = itertools.accumulate((dim.width for dim in dims.values()), initial=0)
    alike: dict[object, list[int]] = {}
    for dim, start in zip(dims.values(), starts, strict=False):
        alike.setdefault(dim.kind, []).append(start)
    width = {dim.kind: dim.width for dim in dims.values()}
    groups = [(kind, at) for kind, at in alike.items() if len(at) > 1]
    return [[start + k for start in at] for kind, at in groups for k in range(width[kind])]
