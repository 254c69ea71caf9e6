"""benchmarks/training_cost.py on a study whose trainings take what their multiply-accumulates say."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from by_path import benchmark_module

from archsearch.network.budget import Budget
from archsearch.network.recipe import Recipe
from archsearch.space.reader import load_space, space_text
from archsearch.study.config import StudyConfig, StudyData
from archsearch.study.storage import create_study, open_storage, sqlite_url
from archsearch.workers.local import search

COUNT, BUDGET = 40, 100_000


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    made = [tmp_path_factory.mktemp(name) for name in ("one", "two")]
    for seed, folder in enumerate(made):
        data = StudyData("digits", "", validation=0.2)
        config = StudyConfig("resnin", space_text("resnin"), Budget(), data, (1, 8, 8), 10, Recipe(epochs=1))
        search(
            load_space("resnin"),
            evaluate=lambda arch, report: 1 - 1 / np.log(arch.cost.params),
            input_shape=(1, 8, 8),
            classes=10,
            budget=Budget(max_params=BUDGET),
            trials=COUNT // 2,
            seed=seed,
            sampler="random",
            study=create_study(open_storage(sqlite_url(folder / "study.db")), folder.name, config),
        )
    return made


def test_cheap_trainings_are_preferred_as_far_as_the_power_says(
    folders: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = benchmark_module("training_cost")
    table, measured = module.table_of(folders)
    assert len(table.size) == len(measured) == COUNT
    assert (measured >= 0).all()
    assert table.features is not None
    seconds = 2 + 0.5 * table.features[:, 0] / 1e6
    monkeypatch.setattr(module, "table_of", lambda _: (table, seconds))
    monkeypatch.setattr(module.engine, "PER_WORK", 0.5)  # put back afterwards
    module.main([*map(str, folders), "--budget", str(BUDGET), "--powers", "0,4", "--seeds", "3", "--marks", "10,14"])
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == f"{COUNT} networks; seconds = 2.00 + 0.500 a million: 4.0M for an image; correlation 1.000"
    trained = [[int(count) for count in re.findall(r", (\d+)(?:;|$)", line)] for line in lines]
    assert [line.split(":")[0] for line in lines] == ["power 0", "power 4"]
    assert all(dear < cheap for dear, cheap in zip(*trained, strict=True))


def test_a_table_that_is_used_up_is_said(folders: list[Path]) -> None:
    module = benchmark_module("training_cost")
    table, seconds = module.table_of(folders)
    with pytest.raises(SystemExit, match="used up before the last mark"):
        module.looked(module.search(table, seconds, BUDGET, 0.5, 0), [1e9])
