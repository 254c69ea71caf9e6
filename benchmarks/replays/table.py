"""Measured networks as a table.

A row is a network: the values of its dims, its size, one or more measured accuracies (a training draws one
of them at random, as another seed would), and perhaps an accuracy after fewer epochs.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from archsearch import pareto
from archsearch.errors import DataError, one_line
from archsearch.sampler.asha import CURVE
from archsearch.sampler.space import Space

Array = NDArray[np.float64]
POOR_QUANTILE = 0.1


@dataclass(frozen=True)
class Columns:
    """Which columns of a CSV file mean what.

    Args:
        dims: one a dim; a single one whose values are strings of digits is split into its characters.
        size: exact size.
        accuracy: one a seed.
        final: the accuracy that counts in the end; by default the mean of `accuracy`.
        key: rows with equal values are one network.
        early: accuracy after `early_epochs` of `epochs`, if there is one.
        features: known beforehand, such as multiply-accumulates; shown to the sampler `pareto`.
    """

    dims: tuple[str, ...]
    size: str = "params"
    accuracy: tuple[str, ...] = ("val_accuracy",)
    final: str | None = None
    key: str | None = None
    early: str | None = None
    early_epochs: int = 1
    epochs: int = 1
    features: tuple[str, ...] = ()

    def named(self) -> list[str]:
        """All columns that must be there."""
        optional = [name for name in (self.final, self.key, self.early) if name]
        return [*self.dims, self.size, *self.accuracy, *self.features, *optional]

    def numbers(self) -> list[str]:
        """Those that hold numbers."""
        return [self.size, *self.accuracy, *self.features, *(name for name in (self.final, self.early) if name)]


@dataclass(frozen=True)
class Table:
    """Measured networks, by the values of their dims: the space of a replay.

    `accuracy` is (n, seeds), `final`, `size` and `early` are (n,), `features` is (n, any); `keys` and `dims` have n
    rows. `given`: the dims' distributions; by default a categorical over the values that occur.
    """

    dims: dict[str, list[Any]]
    size: Array
    accuracy: Array
    final: Array
    keys: list[Any]
    early: Array | None = None
    early_epochs: int = 1
    epochs: int = 1
    given: Mapping[str, BaseDistribution] | None = None
    features: Array | None = None
    _rows: dict[tuple[Any, ...], int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        rows: dict[tuple[Any, ...], int] = {}
        for i, values in enumerate(zip(*self.dims.values(), strict=True)):
            rows.setdefault(values, i)
        object.__setattr__(self, "_rows", rows)

    @classmethod
    def read(cls, path: str | Path, columns: Columns, ordered: bool = False) -> Table:
        """From a CSV file, plain or gzipped.

        Args:
            path: the file.
            columns: what its columns mean.
            ordered: whether whole numbers among the dims are quantities; otherwise they are codes.

        Raises:
            DataError: no such file, no table, a missing column, one that holds no numbers, no rows, or a network twice.
        """
        if not Path(path).is_file():
            raise DataError(f"no table at {path}")
        single = columns.dims[0] if len(columns.dims) == 1 else None
        try:
            frame = pd.read_csv(path, dtype={single: str} if single else None)
        except (ValueError, EOFError, zlib.error) as error:
            raise DataError(
                f"{path} is no table ({one_line(error)}): a CSV file with a line of column names is needed"
            ) from None
        missing = [name for name in columns.named() if name not in frame]
        if missing:
            raise DataError(f"{path} has no column {', '.join(missing)}; it has {', '.join(map(str, frame.columns))}")
        frame = frame.dropna(subset=columns.named())
        if frame.empty:
            raise DataError(f"{path} has no complete row")
        for name in columns.numbers():
            words = frame[name][pd.to_numeric(frame[name], errors="coerce").isna()]
            if len(words):
                raise DataError(f"{path}, column {name}: {words.iloc[0]!r} is no number")
        twice = frame[frame.duplicated(list(columns.dims))]
        if len(twice):
            dims = ", ".join(f"{name} {twice[name].iloc[0]}" for name in columns.dims)
            raise DataError(f"{path}: {dims} is there twice: a network has one row, its seeds are columns")
        return cls._of(frame, columns, ordered)

    @classmethod
    def _of(cls, frame: pd.DataFrame, columns: Columns, ordered: bool) -> Table:
        accuracy = frame[list(columns.accuracy)].to_numpy(dtype=float)
        final = frame[columns.final].to_numpy(dtype=float) if columns.final else accuracy.mean(1)
        early = frame[columns.early].to_numpy(dtype=float) if columns.early else None
        return cls(
            dims=_dims(frame, columns.dims, ordered),
            size=frame[columns.size].to_numpy(dtype=float),
            accuracy=accuracy,
            final=final,
            keys=list(frame[columns.key]) if columns.key else list(range(len(frame))),
            early=early,
            early_epochs=columns.early_epochs,
            epochs=columns.epochs,
            features=frame[list(columns.features)].to_numpy(dtype=float) if columns.features else None,
        )

    @classmethod
    def of_studies(cls, studies: Sequence[optuna.Study], early_epochs: int = 0) -> Table:
        """From the complete trials of studies of one space: objectives accuracy (up) and size (down), curves if there.

        Args:
            studies: their trials' user attribute `arch`, where there is one, says which are one network; `macs`, where
                all have it, is shown to the sampler.
            early_epochs: the epoch whose accuracy a rung would see; 0 for none.

        Raises:
            DataError: no complete trial with dims, or none that was measured after `early_epochs`.
        """
        trials = [
            trial for study in studies for trial in study.get_trials(deepcopy=False) if _usable(trial, early_epochs)
        ]
        if not trials:
            measured = f" measured after epoch {early_epochs}" if early_epochs else ""
            raise DataError(f"study {studies[0].study_name!r} has no complete trial{measured} to replay")
        given = {name: one for trial in trials for name, one in trial.distributions.items()}
        if other := [trial for trial in trials for name, one in trial.distributions.items() if one != given[name]]:
            raise DataError(f"trial {other[0].number} has other dims than the last: studies of one space are one table")
        space = Space(given)
        params = [space.settled(trial.params) for trial in trials]
        accuracy = np.array([trial.values[0] for trial in trials])
        macs = [trial.user_attrs.get("macs") for trial in trials]
        return cls(
            dims={name: [one[name] for one in params] for name in given},
            size=np.array([trial.values[1] for trial in trials]),
            accuracy=accuracy[:, None],
            final=accuracy,
            keys=[trial.user_attrs.get("arch", trial.number) for trial in trials],
            early=np.array([_curve(trial)[early_epochs] for trial in trials]) if early_epochs else None,
            early_epochs=early_epochs or 1,
            epochs=max(int(max(_curve(trial), default=1)) for trial in trials),
            given=given,
            features=None if None in macs else np.array(macs, dtype=float)[:, None],
        )

    def params(self, row: int) -> dict[str, Any]:
        """The dims of a network."""
        return {name: values[row] for name, values in self.dims.items()}

    def row(self, params: Mapping[str, Any]) -> int | None:
        """Index of a network, None where it was not measured."""
        return self._rows.get(tuple(params[name] for name in self.dims))

    def nearest(self, params: Mapping[str, Any]) -> int:
        """Index of the measured network that is closest, as the sampler measures distance."""
        row = self.row(params)
        if row is not None:
            return row
        mine = np.hstack(self._space.encode([dict(params)]))
        return int(((self._codes - mine) ** 2).sum(1).argmin())

    @cached_property
    def whole(self) -> bool:
        """Whether every assignment of the dims was measured."""
        return len(self._rows) == self._space.cardinality()

    @cached_property
    def distributions(self) -> dict[str, BaseDistribution]:
        """One a dim."""
        if self.given is not None:
            return dict(self.given)
        return {name: CategoricalDistribution(sorted(set(values))) for name, values in self.dims.items()}

    @cached_property
    def _space(self) -> Space:
        return Space(self.distributions)

    @cached_property
    def _codes(self) -> Array:
        return np.hstack(self._space.encode([self.params(row) for row in range(len(self.size))]))

    def corner(self, budget: float) -> tuple[float, float]:
        """The reference of the hypervolume: (minus the tenth percentile of accuracy, log budget)."""
        fits = self.size < budget
        if not fits.any():
            raise DataError(f"no network of the table is below {budget:g}; the smallest has {self.size.min():g}")
        return -float(np.quantile(self.final[fits], POOR_QUANTILE)), float(np.log(budget))

    def hypervolume(self, rows: Sequence[int], budget: float) -> float:
        """Of some networks, in (accuracy, log size)."""
        index = np.asarray(rows, dtype=int)
        points = np.column_stack([-self.final[index], np.log(self.size[index])])
        return pareto.hypervolume(points, self.corner(budget))


def _usable(trial: FrozenTrial, early_epochs: int) -> bool:
    if trial.state != TrialState.COMPLETE or not trial.params or len(trial.values) < 2:
        return False
    return not early_epochs or early_epochs in _curve(trial)


def _curve(trial: FrozenTrial) -> dict[float, float]:
    return {float(epoch): float(value) for epoch, value in trial.user_attrs.get(CURVE, [])}


def _dims(frame: pd.DataFrame, names: Sequence[str], ordered: bool) -> dict[str, list[Any]]:
    dims = {name: frame[name].tolist() for name in names}
    if len(names) == 1:
        dims = _characters(names[0], dims[names[0]])
    return {name: _meant(values, ordered) for name, values in dims.items()}


def _characters(name: str, words: list[str]) -> dict[str, list[Any]]:
    length = len(words[0])
    if length < 2 or any(len(word) != length for word in words):
        return {name: words}
    return {f"{name}{i}": [word[i] for word in words] for i in range(length)}


def _meant(values: list[Any], ordered: bool) -> list[Any]:
    """Whole numbers as quantities or as names."""
    whole = all(str(value).isdecimal() for value in values)
    if not whole:
        return values
    return [int(value) if ordered else str(value) for value in values]
