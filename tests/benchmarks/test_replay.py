"""Replays on a small made table, and the benchmark's own command."""

import dataclasses
import itertools
import re

import numpy as np
import optuna
import pandas as pd
import pytest
from by_path import benchmark_module
from paths import ROOT
from replays import SAMPLERS, Columns, Table, loop, replay

from archsearch.errors import ArchsearchError, DataError
from archsearch.network.budget import Budget
from archsearch.network.recipe import Recipe
from archsearch.space.reader import load_space, space_text
from archsearch.study.config import StudyConfig, StudyData
from archsearch.study.storage import create_study, open_storage, sqlite_url
from archsearch.workers.local import search

optuna.logging.set_verbosity(optuna.logging.ERROR)
COLUMNS = Columns(dims=("arch",), accuracy=("a1", "a2"), key="canon", early="early", early_epochs=2, epochs=10)


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
    return benchmark_module("replay")


def test_a_word_is_split_into_dims(path):
    table = Table.read(path, COLUMNS)
    assert list(table.dims) == ["arch0", "arch1", "arch2", "arch3"]
    assert table.distributions["arch0"].choices == ("0", "1", "2")
    assert Table.read(path, COLUMNS, ordered=True).distributions["arch0"].choices == (0, 1, 2)
    row = table.row({"arch0": "0", "arch1": "2", "arch2": "1", "arch3": "0"})
    assert table.size[row] == 100 + 1 + 100 + 10 + 1
    assert table.final[row] == pytest.approx(table.accuracy[row].mean())


def test_features_are_shown_to_the_sampler(path, monkeypatch):
    table = Table.read(path, dataclasses.replace(COLUMNS, features=("params", "early")))
    shown = []
    monkeypatch.setattr(loop, "ParetoSampler", lambda *args, features, **rest: shown.append(features))
    loop.make_sampler(table, 1e9, "pareto", 0)
    row = 17
    assert shown[0](table.params(row)).tolist() == [table.size[row], table.early[row]]


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


def test_files_that_hold_no_table_are_named(path, tmp_path):
    for content, message in ((b"", "is no table"), (b"\xff\xfe\x00", "is no table"), (b"arch,params\n", "no column")):
        (tmp_path / "t.csv").write_bytes(content)
        with pytest.raises(DataError, match=message):
            Table.read(tmp_path / "t.csv", COLUMNS)
    (tmp_path / "t.csv.gz").write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match="is no table"):
        Table.read(tmp_path / "t.csv.gz", COLUMNS)
    frame = pd.read_csv(path, dtype={"arch": str})
    frame.assign(a1=["well", *frame.a1[1:]]).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(DataError, match="column a1: 'well' is no number"):
        Table.read(tmp_path / "t.csv", COLUMNS)


def test_a_network_that_is_there_twice_is_named(path, tmp_path):
    frame = pd.read_csv(path, dtype={"arch": str})
    pd.concat([frame, frame[4:5], frame[2:3]]).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(DataError, match="arch 0011 is there twice"):
        Table.read(tmp_path / "t.csv", COLUMNS)


def test_only_wasted_proposals_end_a_search_early(path, monkeypatch):
    """Many are stopped after one of a hundred epochs, which is no waste."""
    monkeypatch.setattr(loop, "MOST_WASTED", 1)
    table = dataclasses.replace(Table.read(path, COLUMNS), early_epochs=1, epochs=100, keys=list(range(81)))
    done = replay(table, 1e9, "random", 10, seed=0, reduction=8.0)
    assert done.stopped > loop.MOST_WASTED
    assert len(done.rows) == 10 or done.over_budget + done.duplicates == 10


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


def test_the_surrogates_benchmark_prints_a_line_a_figure(capsys):
    results = ROOT / "results"
    benchmark_module("surrogate").main([str(results / "cifar10-6MB-wrn32"), "--learnt", "12,50,51", "--draws", "2"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.rpartition(":")[0] for line in lines] == [
        f"cifar10-6MB-wrn32, {learnt} of 58 learnt, {word} MACs" for learnt in (12, 50) for word in ("without", "with")
    ]
    assert all(-1 <= float(line.split()[-3]) <= 1 for line in lines)


# ---- tables that hold a part of their space


@pytest.fixture(scope="module")
def sparse(path, tmp_path_factory):
    file = tmp_path_factory.mktemp("tables") / "sparse.csv"
    pd.read_csv(path, dtype={"arch": str}).sample(25, random_state=0).to_csv(file, index=False)
    return file


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_space_is_what_was_measured(sparse, sampler):
    table = Table.read(sparse, COLUMNS)
    assert not table.whole
    done = replay(table, 1e9, sampler, 8, seed=1)
    keys = [table.keys[row] for row in done.rows]
    assert len(keys) == len(set(keys)) == 8
    assert done.over_budget == 0
    assert sampler != "pareto" or done.duplicates == 0


def test_nearest_is_itself_or_one_change_away(sparse):
    table = Table.read(sparse, COLUMNS)
    assert [table.nearest(table.params(row)) for row in range(25)] == list(range(25))
    missing = {**table.params(0), "arch3": next(v for v in "012" if v != table.params(0)["arch3"])}
    near = table.params(table.nearest(missing))
    assert table.row(missing) is None
    assert sum(near[name] != missing[name] for name in missing) == 1


@pytest.fixture(scope="module")
def study_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results") / "s"
    folder.mkdir()
    data = StudyData("digits", "", validation=0.2)
    config = StudyConfig(
        "resnin", space_text("resnin"), Budget(max_params=100_000), data, (1, 8, 8), 10, Recipe(epochs=4)
    )
    study = create_study(open_storage(sqlite_url(folder / "study.db")), "s", config)

    def evaluate(arch, report):
        accuracy = 1 - 1 / np.log(arch.cost.params)
        for number in range(1, 5):
            report(number, accuracy * number / 4)
        return accuracy

    search(
        load_space("resnin"), evaluate=evaluate, input_shape=(1, 8, 8), classes=10,
        budget=Budget(max_params=100_000), trials=12, study=study,
    )  # fmt: skip
    return folder


def test_a_study_is_a_table(study_folder):
    study = optuna.load_study(study_name="s", storage=sqlite_url(study_folder / "study.db"))
    table = Table.of_studies([study], early_epochs=2)
    assert len(set(table.keys)) == 12
    assert table.epochs == 4
    assert table.early == pytest.approx(table.final / 2)
    assert table.size.max() < 100_000
    macs = {trial.user_attrs["arch"]: trial.user_attrs["macs"] for trial in study.trials}
    assert table.features[:, 0].tolist() == [macs[arch] for arch in table.keys]
    with pytest.raises(DataError, match="no complete trial measured after epoch 9"):
        Table.of_studies([study], early_epochs=9)


def test_studies_of_one_space_are_one_table(study_folder):
    study = optuna.load_study(study_name="s", storage=sqlite_url(study_folder / "study.db"))
    assert len(Table.of_studies([study, study]).size) == 24
    other = optuna.create_study(directions=["maximize", "minimize"])
    name, distribution = next(iter(study.trials[0].distributions.items()))
    narrower = optuna.distributions.CategoricalDistribution([study.trials[0].params[name]])
    assert narrower != distribution
    params = {name: study.trials[0].params[name]}
    other.add_trial(optuna.create_trial(values=(0.5, 9.0), params=params, distributions={name: narrower}))
    with pytest.raises(DataError, match="studies of one space are one table"):
        Table.of_studies([study, other])


def test_the_benchmark_replays_a_study(study_folder, benchmark, capsys):
    benchmark.main([str(study_folder), "--seeds", "2", "--samplers", "pareto,random", "--rungs", "3"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("pareto hypervolume %@5: ")
    assert "pareto wasted, duplicates: 0.0 a run" in lines
    assert any(line.startswith("random best accuracy@10: 0.9") for line in lines)


def test_the_benchmark_stops_at_rungs_and_sorts_counts(path, benchmark, tmp_path, capsys):
    columns = "--dims arch --accuracy a1,a2 --key canon --early early --early-epochs 2 --epochs 10"
    plot = tmp_path / "replay.png"
    options = f"--budget 300 --seeds 2 --samplers random --trainings 6,3 --rungs 2 --plot {plot}"
    benchmark.main([str(path), *options.split(), *columns.split()])
    assert capsys.readouterr().out.startswith("random hypervolume %@3: ")
    assert plot.stat().st_size > 1000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("TABLE", "name its columns with --dims"),
        ("TABLE --dims arch --rungs 2", "needs --early"),
        ("TABLE --dims arch --samplers magic", "no sampler 'magic'"),
        ("TABLE --dims arch --accuracy a1 --trainings 5,x", "--trainings 5,x"),
        ("TABLE --dims arch --accuracy a1 --budget 1", "no network of the table is below 1"),
        ("TABLE --dims arch --accuracy a1 --trainings 10²", "--trainings 10²"),
        ("TABLE --dims arch --accuracy a1 --plot p.xyz", "--plot p.xyz: must end in .png"),
        (
            "TABLE --dims arch --accuracy a1 --rungs 2 --early early --early-epochs 4 --epochs 4",
            "a rung after epoch 4 of 4 stops nothing",
        ),
        ("nowhere.csv --dims arch", "no table at nowhere.csv"),
        ("nowhere", "nowhere is neither a CSV file nor the folder of a study"),
    ],
)
def test_the_benchmark_names_what_is_wrong(path, benchmark, words, message):
    with pytest.raises(ArchsearchError, match=re.escape(message)):
        benchmark.main(words.replace("TABLE", str(path)).split())
