"""Our way to a database says what Optuna's says, in fewer statements."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import RDBStorage
from optuna.trial import TrialState, create_trial
from postgres import Postgres

from archsearch.study.optuna_private import Database, StudyCache
from archsearch.study.storage import sqlite_url

DIMS = {
    "width": IntDistribution(4, 64, step=4),
    "block": CategoricalDistribution(["basic", "nin", None, 2.5, True]),
    "lr": FloatDistribution(1e-4, 1.0, log=True),
}


@pytest.fixture
def opened() -> Iterator[Callable[..., Any]]:
    """`opened(cls, url)`: a storage that is closed in the end."""
    with ExitStack() as stack:

        def begin(cls: type[RDBStorage], url: str) -> RDBStorage:
            storage = cls(url)
            stack.callback(storage.engine.dispose)
            return storage

        yield begin


@pytest.fixture(params=["sqlite", "postgresql"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, opened: Callable[..., Any]) -> Database:
    if request.param == "sqlite":
        return opened(Database, sqlite_url(tmp_path / "s.db"))
    server: Postgres = request.getfixturevalue("postgres")
    return opened(Database, server.database())


def template(width: int = 8, **about: Any) -> optuna.trial.FrozenTrial:
    options: dict[str, Any] = {
        "state": TrialState.RUNNING,
        "params": {"width": width, "block": None, "lr": 0.1},
        "distributions": DIMS,
        "user_attrs": {"arch": "é" * 6, "curve": [[1, 0.5]], "lease": 0},
        "system_attrs": {"constraints": [-0.5]},
        **about,
    }
    return create_trial(**options)


def filled(storage: RDBStorage) -> int:
    """A study with a trial of every kind, most of them another program's."""
    study = optuna.create_study(storage=storage, study_name="s", directions=["maximize", "minimize"])
    study.optimize(lambda trial: (trial.suggest_float("lr", 1e-4, 1.0, log=True), math.inf), n_trials=2)
    study.ask(DIMS)
    study.tell(study.ask(), state=TrialState.FAIL)
    study.enqueue_trial({"lr": 0.5})
    number = study._study_id
    storage.create_new_trial(number, template(user_attrs={}, system_attrs={}))
    storage.create_new_trial(number, template(12))
    storage.create_new_trial(number, template(16, state=TrialState.COMPLETE, values=[0.5, -math.inf]))
    storage.create_new_trial(
        number, template(20, state=TrialState.PRUNED, intermediate_values={3: math.nan, 1: math.inf, 2: 0.25})
    )
    return number


def plain(trial: optuna.trial.FrozenTrial) -> str:
    """A text, since nan is not equal to itself; intermediate values have no order."""
    steps, trial.intermediate_values = sorted(trial.intermediate_values.items()), {}
    return f"{trial!r} {steps}"


def test_reads_what_optuna_reads(storage: Database) -> None:
    number = filled(storage)
    every = RDBStorage._get_trials(storage, number, None, set(), -1)
    assert len(every) == 9
    assert {trial.state for trial in every} == set(TrialState)
    for included, after in (
        (set(), -1),
        ({every[1]._trial_id, every[4]._trial_id}, every[5]._trial_id),
        (set(), 10**9),
    ):
        wanted = RDBStorage._get_trials(storage, number, None, included, after)
        found = storage._get_trials(number, None, included, after)
        assert list(map(plain, found)) == list(map(plain, wanted))
        assert [list(trial.params) for trial in found] == [list(trial.params) for trial in wanted]


def test_writes_what_optuna_writes(storage: Database, opened: Callable[..., Any], tmp_path: Path) -> None:
    other = opened(RDBStorage, sqlite_url(tmp_path / "plain.db"))
    found, wanted = (each.get_all_trials(filled(each))[5:7] for each in (storage, other))
    for one, two in zip(found, wanted, strict=True):
        for name in ("number", "state", "params", "distributions", "user_attrs", "system_attrs", "values"):
            assert getattr(one, name) == getattr(two, name), name


def test_a_claim_takes_few_statements(storage: Database) -> None:
    number = filled(storage)
    statements: list[str] = []
    sqlalchemy.event.listen(storage.engine, "before_cursor_execute", lambda *about: statements.append(about[2]))
    storage.create_new_trial(number, template())
    assert len(statements) == 7, statements


def test_the_number_of_a_trial_is_one_statement(storage: Database) -> None:
    number = filled(storage)
    made = storage.create_new_trial(number, template())
    statements: list[str] = []
    sqlalchemy.event.listen(storage.engine, "before_cursor_execute", lambda *about: statements.append(about[2]))
    assert StudyCache(storage).get_trial_number_from_id(made) == 9
    assert len(statements) == 1
    with pytest.raises(KeyError):
        StudyCache(storage).get_trial_number_from_id(made + 1)


def test_other_dims_of_the_same_name_are_refused(storage: Database) -> None:
    number = filled(storage)
    before = len(storage.get_all_trials(number))
    other = template(distributions={**DIMS, "block": CategoricalDistribution([None, "other"])})
    with pytest.raises(ValueError, match="does not support dynamic value space"):
        storage.create_new_trial(number, other)
    assert len(storage.get_all_trials(number)) == before


def test_a_study_that_is_gone_is_a_key_error(storage: Database) -> None:
    number = filled(storage)
    storage.delete_study(number)
    with pytest.raises(KeyError):
        storage._get_trials(number, None, set(), -1)
