"""Trackers: what they are told, and that they cannot hurt a search."""

from __future__ import annotations

import itertools
import json
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from commands import RUN, STUDY, Answer
from paths import ROOT
from studies import BUDGET, SPACE, Formula

from archsearch import search
from archsearch.errors import InputError
from archsearch.report.tables import BASE_COLUMNS
from archsearch.space.reader import parse_space
from archsearch.study.observers import Observer
from archsearch.tracking import NAMES, Tracking, make_tracker, require, tracker
from archsearch.tracking.tracker import flat
from archsearch.workers.local import Result

CONFIG = {"seed": 0, "settled_recipe": {"lr": 0.2, "epochs": 4}, "budget": {"max_params": 800, "max_macs": None}}


class Log:
    """A tracker that keeps what it is told; `breaks` names the call that fails."""

    def __init__(self, breaks: str = "") -> None:
        self.breaks = breaks
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.threads: set[int] = set()

    def __getattr__(self, name: str) -> Callable[..., None]:
        def call(*args: Any) -> None:
            self.threads.add(threading.get_ident())
            self.calls.append((name, args))
            if name == self.breaks:
                raise ConnectionError("no route\nto host")

        return call

    def of(self, name: str) -> list[tuple[Any, ...]]:
        return [args for kind, args in self.calls if kind == name]


def run(*observers: Observer, trials: int = 5, apart: bool = False) -> Result:
    return search(parse_space(SPACE, "wide"), evaluate=Formula(apart=apart), input_shape=(1, 8, 8), classes=4,
                  budget=BUDGET, trials=trials, sampler="random", observers=observers)  # fmt: skip


def tracked(name: str, folder: Path, trials: int = 5) -> Result:
    """A search that a real tracker was told of; the tracker must not have complained."""
    said: list[str] = []
    real = make_tracker(name, folder, "study", said.append)
    result = run(Tracking(name, real, CONFIG, said.append, drain_seconds=3600), trials=trials)
    assert [line for line in said if "offline" not in line] == []
    return result


def test_a_tracker_is_told_of_every_epoch_of_every_candidate_and_of_the_front() -> None:
    log, said = Log(), []
    result = run(Tracking("log", log, CONFIG, said.append), trials=5)
    assert said == []
    assert log.of("open") == [
        ({"seed": 0, "settled_recipe.lr": 0.2, "settled_recipe.epochs": 4, "budget.max_params": 800},)
    ]
    assert [args[0] for args in log.of("begin")] == [record.arch for record in result.records]
    told = [(arch, epoch, values["val_accuracy"]) for arch, epoch, values in log.of("epoch")]
    assert told == [(r.arch, int(epoch), accuracy) for r in result.records for epoch, accuracy in r.curve]
    assert {tuple(values) for *_, values in log.of("epoch")} == {
        ("val_accuracy", "train_loss", "val_loss", "learning_rate")
    }
    assert [(arch, state) for arch, state, _ in log.of("end")] == [(r.arch, r.state) for r in result.records]
    ((columns, rows),) = log.of("close")
    assert columns == BASE_COLUMNS
    assert [row[0] for row in rows] == list(result.front.arch)
    assert log.threads.isdisjoint({threading.get_ident()})
    assert len(log.threads) == 1


def test_another_score_is_told_beside_the_accuracy() -> None:
    log = Log()
    result = run(Tracking("log", log, CONFIG, print), trials=5, apart=True)
    told = [(arch, epoch, values["val_score"]) for arch, epoch, values in log.of("epoch")]
    assert told == [(r.arch, int(epoch), score) for r in result.records for epoch, score in r.curve]
    ends = [(values.get("val_score"), values.get("val_accuracy")) for *_, values in log.of("end")]
    assert ends == [(r.val_score, r.val_accuracy) for r in result.records]
    assert all(score is None or score != accuracy for score, accuracy in ends)
    ((columns, rows),) = log.of("close")
    assert columns == [*BASE_COLUMNS, "val_score"]
    assert [row[-1] for row in rows] == list(result.front.val_score)


def test_a_candidates_config_has_its_dims_its_recipe_and_its_sizes() -> None:
    log = Log()
    result = run(Tracking("log", log, CONFIG, print), trials=2)
    (arch, config), *_ = log.of("begin")
    assert config["params"] == result.records[0].params
    assert config["size_bytes"] == result.records[0].size_bytes
    assert config["recipe.lr"] == 0.2
    assert {"space.stem.width", "space.stage1.width"} <= config.keys()
    assert arch == result.records[0].arch


@pytest.mark.parametrize("breaks", ["open", "begin", "epoch", "end", "close"])
def test_an_error_is_said_once_and_switches_the_tracker_off(breaks: str) -> None:
    log, said = Log(breaks), []
    result = run(Tracking("log", log, CONFIG, said.append), trials=5)
    assert result.counts.trained == 5
    assert said == ["tracking with log is off from here: ConnectionError: no route"]
    assert log.calls[-1][0] == breaks
    assert len(log.of(breaks)) == 1


def test_a_tracker_that_hangs_holds_up_neither_the_search_nor_its_end() -> None:
    free = threading.Event()

    class Stuck(Log):
        def open(self, config: Any) -> None:
            free.wait(60)

    said: list[str] = []
    log = Stuck()
    result = run(Tracking("log", log, CONFIG, said.append, drain_seconds=0.05), trials=5)
    assert result.counts.trained == 5
    assert said == ["tracking with log: not done after 0.05 s; what it still has is lost"]
    assert log.calls == []
    free.set()


def test_a_lost_candidate_is_told() -> None:
    log = Log()
    tracking = Tracking("log", log, CONFIG, print)

    class Loses(Observer):
        def training(self, candidate: Any) -> None:
            tracking.lost(candidate.arch.id, "worker died: SIGKILL")

    run(tracking, Loses(), trials=1)
    assert [args[1] for args in log.of("end")] == ["lost", "complete"]


def test_a_tracker_is_told_no_folder_of_this_machine() -> None:
    tracking = Tracking("log", Log(), CONFIG, print)
    about = {
        "command": "archsearch run --dataset folder:/home/me/photos",
        "dataset": {"name": "folder:/home/me/photos"},
    }
    tracking.prepared("", {**about, "space": {"name": "/home/me/s.toml"}})
    assert "/home" not in repr(tracking.config)
    assert tracking.config["space"] == "s.toml"


def test_nested_values_are_flat() -> None:
    assert flat({"a": {"b": 1, "c": None, "d": {"e": [1, 2]}}, "f": True}) == {"a.b": 1, "a.d.e": "[1, 2]", "f": True}


def test_every_name_is_a_module_a_package_and_an_extra() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    for name in NAMES:
        assert f"\n{name} = [" in text
        assert make_tracker(name, Path("nowhere"), "s", lambda line: None)
    require(NAMES)


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracker, "find_spec", lambda name: None if name == "mlflow" else object())
    require(["wandb"])
    with pytest.raises(
        InputError, match=r"--track mlflow: mlflow is not installed; pip install 'archsearch\[mlflow\]'"
    ):
        require(["wandb", "mlflow"])


def test_the_command_line_says_so_before_anything_is_made(
    command: Callable[..., Answer], work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracker, "find_spec", lambda name: None)
    answer = command(*RUN, "--track", "wandb")
    assert (answer.status, answer.out) == (2, "")
    assert "pip install 'archsearch[wandb]'" in answer.error
    assert not (work / "results").exists()


def test_making_a_tracker_imports_nothing_heavy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mlflow", "wandb", "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in NAMES:
        make_tracker(name, tmp_path, "s", lambda line: None)
    assert list(tmp_path.iterdir()) == []


def scalars(folder: Path) -> tuple[dict[str, list[tuple[int, float]]], dict[str, str]]:
    """The scalars and texts of a folder of event files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    tags = events.Tags()
    found = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in tags["scalars"]}
    texts = {tag: events.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in tags["tensors"]}
    return found, texts


def test_tensorboard_reads_the_curves_the_config_and_the_front(tmp_path: Path) -> None:
    result = tracked("tensorboard", tmp_path)
    folder = tmp_path / "tracking" / "tensorboard"
    for record in result.records:
        found, _ = scalars(folder / record.arch)
        assert [step for step, _ in found["accuracy/validation"]] == [epoch for epoch, _ in record.curve]
        assert [value for _, value in found["accuracy/validation"]] == pytest.approx([a for _, a in record.curve])
        assert found["loss/training"][0][1] == 1
        assert found["loss/validation"][0][1] == pytest.approx(1.1)
        assert found["learning_rate"][1][1] == pytest.approx(0.05)
        assert found["result/val_accuracy"][0][1] == pytest.approx(record.val_accuracy)
    _, texts = scalars(folder / "search")
    assert "| settled_recipe.lr | 0.2 |" in texts["config/text_summary"]
    assert all(f"| {arch} |" in texts["front/text_summary"] for arch in result.front.arch)


@pytest.fixture
def _plain_logging() -> Iterator[None]:
    levels = {name: logging.getLogger(name).level for name in ("mlflow", "alembic")}
    yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.usefixtures("_plain_logging")
# mlflow's own, of SQLAlchemy 2.1 and pandas 3
@pytest.mark.filterwarnings("ignore:.*noload:DeprecationWarning", "ignore:.*'str' dtypes:DeprecationWarning")
def test_mlflow_has_a_run_for_the_search_and_one_for_each_candidate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    result = tracked("mlflow", tmp_path)
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/tracking/mlflow/mlflow.db")
    experiment = client.get_experiment_by_name("study")
    assert experiment
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    above = runs.pop("search")
    assert runs.keys() == {record.arch for record in result.records}
    for record in result.records:
        run = runs[record.arch]
        assert run.data.tags["mlflow.parentRunId"] == above.info.run_id
        assert run.data.tags["state"] == record.state
        assert run.info.status == ("FAILED" if record.state == "failed" else "FINISHED")
        assert run.data.params["params"] == str(record.params)
        steps = client.get_metric_history(run.info.run_id, "val_accuracy")
        assert [(m.step, m.value) for m in steps] == [(int(e), pytest.approx(a)) for e, a in record.curve]
        assert run.data.metrics.keys() >= {"train_loss", "val_loss", "learning_rate"}
    assert above.data.params["settled_recipe.lr"] == "0.2"
    (file,) = (tmp_path / "tracking" / "mlflow" / "artifacts").rglob("front.json")
    table = json.loads(file.read_text())
    assert table["columns"] == BASE_COLUMNS
    assert [row[0] for row in table["data"]] == list(result.front.arch)


@pytest.fixture
def _no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")


@pytest.mark.usefixtures("_no_account")
def test_wandb_writes_runs_offline_without_an_account(tmp_path: Path) -> None:
    result = tracked("wandb", tmp_path, trials=2)
    folders = sorted((tmp_path / "tracking" / "wandb" / "wandb").glob("offline-run-*"))
    assert len(folders) == len(result.records) + 1
    text = b"".join(path.read_bytes() for folder in folders for path in folder.glob("*.wandb"))
    for record in result.records:
        assert record.arch.encode() in text
    for name in (b"val_accuracy", b"val_loss", b"train_loss", b"learning_rate"):
        assert name in text
    (table,) = (path for folder in folders for path in folder.rglob("front*.table.json"))
    content = json.loads(table.read_text())
    assert content["columns"] == BASE_COLUMNS
    assert [row[0] for row in content["data"]] == list(result.front.arch)


@pytest.mark.usefixtures("_no_account")
def test_wandb_says_that_it_is_offline_unless_a_key_or_a_mode_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    assert make_tracker("wandb", tmp_path, "s", said.append).mode == "offline"
    assert len(said) == 1
    assert "wandb sync" in said[0]
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert make_tracker("wandb", tmp_path, "s", said.append).mode is None
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    assert make_tracker("wandb", tmp_path, "s", said.append).mode is None
    assert len(said) == 1


def test_a_run_tells_losses_and_learning_rates_of_real_trainings(command: Callable[..., Answer], work: Path) -> None:
    answer = command(*RUN, "--track", "tensorboard", "--track", "tensorboard")
    assert (answer.status, answer.err) == (0, "")
    assert "tracking" not in answer.out
    trials = pd.read_csv(work / "results" / STUDY / "trials.csv", dtype={"arch": str})
    for row in trials.itertuples():
        found, _ = scalars(work / "results" / STUDY / "tracking" / "tensorboard" / str(row.arch))
        assert len(found["accuracy/validation"]) == row.epochs
        assert found["accuracy/validation"][-1][1] == pytest.approx(row.val_accuracy)
        assert all(0 < value < 20 for _, value in found["loss/training"] + found["loss/validation"])
        assert len(found["loss/training"]) == len(found["loss/validation"]) == len(found["learning_rate"]) == row.epochs
        rates = [value for _, value in found["learning_rate"]]
        assert all(later < earlier for earlier, later in itertools.pairwise(rates))
