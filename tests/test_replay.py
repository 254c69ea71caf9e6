"""Replays on a small made table, and the benchmark's own command."""

import importlib.util
import itertools
import sys
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest

from archsearch.errors import DataError, InputError
from archsearch.replay import SAMPLERS, Columns, Table, replay

optuna.logging.set_verbosity(optuna.logging.ERROR)
COLUMNS = Columns(
    dims=("arch",), accuracy=("a1", "a2"), key="canon", early="early", early_epochs=2, epochs=10
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    rows = []
    for word in itertools.product("012", repeat=4):
        params = 100 + sum(10 ** int(c) for c in word)
        accuracy = 50 + 10 * np.log10(params) + 3 * (word[0] == "1")
        rows.append(
            {
                "arch": "".join(word),
                "canon": "".join(sorted(word)),
                "params": params,
                "a1": accuracy,
                "a2": accuracy + 0.1,
                "early": accuracy / 2,
            }
        )
    file = tmp_path_factory.mktemp("tables") / "small.csv.gz"
    pd.DataFrame(rows).to_csv(file, index=False)
    return file


@pytest.fixture(scope="module")
def benchmark():
    file = Path(__file__).parent.parent / "benchmarks" / "replay.py"
    spec = importlib.util.spec_from_file_location("benchmark_replay", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_a_word_is_split_into_dims(path):
    table = Table.read(path, COLUMNS)
    assert list(table.dims) == ["arch0", "arch1", "arch2", "arch3"]
    assert table.distributions["arch0"].choices == ("0", "1", "2")
    assert Table.read(path, COLUMNS, ordered=True).distributions["arch0"].choices == (0, 1, 2)
    row = table.row({"arch0": "0", "arch1": "2", "arch2": "1", "arch3": "0"})
    assert table.size[row] == 100 + 1 + 100 + 10 + 1
    assert table.final[row] == pytest.approx(table.accuracy[row].mean())


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_only_new_networks_inside_the_budget_are_trained(path, sampler):
    table = Table.read(path, COLUMNS)
    done = replay(table, 300, sampler, 8, seed=0)
    keys = [table.keys[row] for row in done.rows]
    assert len(keys) == len(set(keys)) == 8
    assert (table.size[done.rows] < 300).all()
    assert done.epochs == [10 * (i + 1) for i in range(8)]
    if sampler == "pareto":
        assert done.over_budget == done.duplicates == 0


def test_rungs_save_epochs(path):
    table = Table.read(path, COLUMNS)
    done = replay(table, 1e9, "pareto", 12, seed=0, reduction=3, start=4)
    assert done.stopped > 0
    assert done.epochs[-1] <= 10 * len(done.rows) + 2 * done.stopped
    assert len(done.rows) + done.stopped > 12


def test_the_whole_table_is_the_whole_hypervolume(path):
    table = Table.read(path, COLUMNS)
    everything = list(range(len(table.size)))
    assert table.hypervolume(everything[:5], 300) < table.hypervolume(everything, 300)


def test_an_exhausted_table_ends_the_search(path):
    table = Table.read(path, COLUMNS)
    done = replay(table, 106, "pareto", 50, seed=0, start=2)
    assert len(done.rows) == 1


@pytest.mark.parametrize(
    ("columns", "message"),
    [(Columns(dims=("nope",)), "has no column nope, val_accuracy"), (None, "no table at")],
)
def test_bad_tables_are_named(path, columns, message):
    with pytest.raises(DataError, match=message):
        Table.read(path if columns else "nowhere.csv", columns or COLUMNS)


def test_bad_searches_are_named(path):
    table = Table.read(path, COLUMNS)
    with pytest.raises(DataError, match="no sampler 'magic'"):
        replay(table, 300, "magic", 3, seed=0)
    with pytest.raises(DataError, match="no network of the table is below 5"):
        table.corner(5)


def test_the_benchmark_prints_a_line_a_figure_and_plots(path, benchmark, capsys, tmp_path):
    plot = tmp_path / "plots" / "replay.png"
    columns = "--dims arch --accuracy a1,a2 --key canon --early early --early-epochs 2 --epochs 10"
    options = f"--budget 300 --samplers random,pareto --seeds 2 --trainings 3,6 --plot {plot}"
    benchmark.main([str(path), *options.split(), *columns.split()])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("random hypervolume %@3: ")
    assert "pareto wasted, over budget: 0.0 a run" in lines
    assert plot.stat().st_size > 1000


def test_an_unknown_table_needs_its_columns(path, benchmark):
    with pytest.raises(InputError, match="name its columns with --dims"):
        benchmark.main([str(path), "--budget", "300"])
