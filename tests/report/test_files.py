"""What a run leaves: written after every candidate, whole, and read again on resume."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from archsearch import Arch, Budget, search
from archsearch.report.files import CandidateFiles, RunFolder, environment, read_counts, read_rejects
from archsearch.space.reader import parse_space
from archsearch.study.observers import Counts, Observer
from archsearch.study.records import Record, Reject

SPACE = parse_space(
    '[stem]\ntype = "conv"\nwidth = { int = [2, 9] }\n[[stage]]\nblock = "nin"\n'
    'width = { int = [2, 40] }\n[head]\ntype = "linear"\n',
    "wide",
)


def formula(arch: Arch, report: Any) -> float:
    report(1, 1 - 1 / arch.cost.params)
    return 1 - 1 / arch.cost.params + 0.0005 * (int(arch.id[:2], 16) / 255)


def save(path: Path, arch: Arch, record: Record) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(arch.id)


def run(folder: Path, *more: Observer, trials: int = 6, **options: Any) -> Any:
    observers = [CandidateFiles(folder, save), RunFolder(folder, {"about": "me"}, Budget(max_params=800)), *more]
    return search(SPACE, evaluate=formula, input_shape=(1, 8, 8), classes=4, budget=Budget(max_params=800),
                  trials=trials, sampler="random", observers=observers, **options)  # fmt: skip


def state(folder: Path) -> tuple[int, set[str], set[str]]:
    """Trained so far, the front by the table, weights there are. Everything must be readable."""
    trials = pd.read_csv(folder / "trials.csv", dtype={"arch": str})
    front = set(pd.read_csv(folder / "pareto.csv", dtype={"arch": str}).arch)
    assert {path.stem for path in (folder / "archs").glob("*")} >= set(trials.arch)
    json.loads((folder / "run.json").read_text())
    pd.read_csv(folder / "rejected.csv")
    assert len(trials) == 0 or (folder / "pareto.png").stat().st_size > 1000
    return len(trials), front, {path.stem for path in (folder / "weights").glob("*")}


class Watch(Observer):
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seen: list[tuple[int, set[str], set[str]]] = []

    def training(self, candidate: Any) -> None:
        self.seen.append(state(self.folder))


def test_everything_is_there_before_and_after_every_candidate(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    run(tmp_path, watch)
    assert [trained for trained, _, _ in watch.seen] == [0, 1, 2, 3, 4, 5]
    for _, front, weights in [*watch.seen, state(tmp_path)]:
        assert weights == front
    assert state(tmp_path)[0] == 6


def test_the_picture_waits_for_its_turn_and_is_whole_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []

    def draw(path: Path, history: Any, *more: Any) -> None:
        drawn.append(len(history))
        time.sleep(0.2)  # four seconds until the next one

    monkeypatch.setattr("archsearch.report.files.plot", draw)
    run(tmp_path)
    assert drawn == [1, 6]


def test_run_json_has_the_counts_and_what_it_was_told(tmp_path: Path) -> None:
    found = run(tmp_path)
    about = json.loads((tmp_path / "run.json").read_text())
    assert about["about"] == "me"
    assert Counts(**about["counts"]) == found.counts == read_counts(tmp_path)
    assert len(pd.read_csv(tmp_path / "rejected.csv")) == found.counts.over_budget > 0


def test_weights_of_strangers_stay(tmp_path: Path) -> None:
    """What `retrain` or a person put beside them is no candidate's of this search."""
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "0123456789ab-seed1.safetensors").write_text("mine")
    run(tmp_path)
    assert (tmp_path / "weights" / "0123456789ab-seed1.safetensors").read_text() == "mine"


def test_rejects_are_kept_over_a_resume(tmp_path: Path) -> None:
    run(tmp_path)
    before = read_rejects(tmp_path)
    assert before
    assert all(isinstance(reject.params, int) for reject in before)
    again = RunFolder(tmp_path, {}, rejects=before)
    again.checked(Counts(), Reject("f" * 12, 900, 1000, 1100, "params>=800"))
    again.ended([], Counts())
    assert read_rejects(tmp_path) == [*before, Reject("f" * 12, 900, 1000, 1100, "params>=800")]


@pytest.mark.parametrize("arch", ["000000000012", "1e5000000000", "", "123456789012"])
def test_a_reject_comes_back_as_it_was(tmp_path: Path, arch: str) -> None:
    """Ids of digits alone stay words; a row without a network has no sizes."""
    rejects = [
        Reject(arch, 5, 6, 7, "params>=5; size_bytes>=6"),
        Reject("", None, None, None, 'no network: "stage1", nothing left'),
    ]
    folder = RunFolder(tmp_path, {})
    for reject in rejects:
        folder.checked(Counts(), reject)
    folder.ended([], Counts())
    assert read_rejects(tmp_path) == rejects


def test_nothing_is_read_where_nothing_is(tmp_path: Path) -> None:
    assert read_rejects(tmp_path) == []
    assert read_counts(tmp_path) is None


def test_the_environment_names_versions() -> None:
    found = environment()
    assert {"python", "archsearch", "torch", "optuna"} <= set(found["versions"])
    assert found["machine"]
    json.dumps(found)


def test_in_a_large_study_tables_take_a_tenth_of_the_time_and_are_whole_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock on which every look takes 10 s: the first minute is free, then tables wait until they are due."""
    ticks = iter(range(0, 10**6, 10))
    monkeypatch.setattr("archsearch.report.files.time", SimpleNamespace(monotonic=lambda: float(next(ticks))))
    watch = Watch(tmp_path)
    run(tmp_path, watch, trials=30)
    rows = [trained for trained, _, _ in watch.seen]
    assert rows[:6] == [0, 1, 2, 3, 4, 5]
    assert 7 < len(set(rows)) < 20
    assert state(tmp_path)[0] == 30
    assert state(tmp_path)[1] == state(tmp_path)[2]
