"""`archsearch worker`: joining a study with nothing but its storage, and what is refused."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import pandas as pd
import pytest
from commands import Answer, Process, small_npz
from postgres import PASSWORD, Postgres, query

from archsearch import Arch
from archsearch.study.config import FORMAT
from archsearch.study.storage import load_study, open_storage, sqlite_url, status


def wait_for(done: Callable[[], object], seconds: float = 200) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)


Start = Callable[..., Process]
Command = Callable[..., Answer]
RUN = ["run", "--max-params", "20k", "--space", "tiny.toml", "--epochs", "1", "--no-rungs", "--study", "s"]


def names(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*")}


def test_two_machines_that_share_nothing_but_the_database(
    start: Start, work: Path, tmp_path_factory: pytest.TempPathFactory, postgres: Postgres
) -> None:
    """Separate folders; the space file is only where `run` is. The total is kept, every network trained once."""
    url, elsewhere = postgres.database(), tmp_path_factory.mktemp("elsewhere")
    environment = {"ARCHSEARCH_STORAGE": url}
    run = start(*RUN, "--trials", "9", environment=environment)
    wait_for(run.lines)
    wait_for(lambda: query(url, "SELECT 1 FROM study_user_attributes WHERE key = 'terms'"))
    worker = start("worker", "--study", "s", "--workers", "2", cwd=elsewhere, environment=environment)
    ran, joined = run.wait(400), worker.wait(400)
    assert (ran.status, ran.err, joined.status, joined.err) == (0, "", 0, "")
    here, there = work / "results" / "s", elsewhere / "results" / "s"
    trials = pd.read_csv(here / "trials.csv", dtype={"arch": str})
    assert len(trials) == trials.arch.nunique() == 9
    assert (trials.state == "complete").all()
    assert names(here / "archs") == set(trials.arch)
    assert all(Arch.load(here / "archs" / f"{arch}.toml").id == arch for arch in trials.arch)
    made = names(there / "archs")
    assert made
    assert f"{len(made)} trained here; the study has 9 of 9" in joined.out
    assert names(there) == {"archs", "weights"}
    front = set(pd.read_csv(here / "pareto.csv", dtype={"arch": str}).arch)
    assert names(here / "weights") == front - made
    assert ("weights of" in ran.out) == bool(front & made)
    assert front <= names(here / "weights") | names(there / "weights")
    lines = [line[:5] for line in ran.out.splitlines() if line.startswith("[")]
    assert lines == [f"[{n}/9]" for n in range(1, 10)]
    assert query(url, "SELECT count(*) FROM trials WHERE state = 'RUNNING'") == [(0,)]


def test_no_password_anywhere(start: Start, work: Path, postgres: Postgres) -> None:
    """Not in what is said, nor in any file, nor in the database, whether the URL is an option or in the environment."""
    url = postgres.database()
    answers = [
        start(*RUN, "--trials", "2", "--storage", url).wait(),
        start("worker", "--study", "s", "--out", "w", environment={"ARCHSEARCH_STORAGE": url}).wait(),
        start("pareto", "s", "--storage", url).wait(),
        start("worker", "--study", "missing", "--storage", url).wait(),
        start("worker", "--study", "s", "--storage", url.replace("/me:", "/you:")).wait(),
    ]
    assert [answer.status for answer in answers] == [0, 0, 0, 2, 2]
    assert 'authentication failed for user "you"' in answers[-1].error
    written = [path.read_bytes() for path in work.rglob("*") if path.is_file()]
    assert len(written) > 8
    assert "***" in json.loads((work / "results" / "s" / "run.json").read_text())["command"]
    kept = [row for table in ("study", "trial") for kind in ("user", "system")
            for row in query(url, f"SELECT value_json FROM {table}_{kind}_attributes")]  # fmt: skip
    for text in [*written, *(answer.out + answer.err for answer in answers), *map(str, kept)]:
        assert PASSWORD not in str(text)


@pytest.fixture
def url(work: Path, study: Path) -> str:
    """A finished study in a SQLite file, by URL; results are elsewhere."""
    target = work / "moved.db"
    (study / "study.db").rename(target)
    return sqlite_url(target)


def name_of(url: str) -> str:
    return optuna.get_all_study_names(url)[0]


def test_a_worker_of_a_finished_study_has_nothing_to_do(command: Command, url: str, work: Path) -> None:
    answer = command("worker", "--storage", url, "--study", name_of(url), "--out", "w")
    assert (answer.status, answer.err) == (0, "")
    assert "0 trained here; the study has 5 of 5" in answer.out
    assert not (work / "w").exists()


def test_other_images_are_refused_with_both_fingerprints(command: Command, url: str, work: Path) -> None:
    small_npz(work / "d.npz")
    answer = command("worker", "--storage", url, "--study", name_of(url), "--dataset", "npz:d.npz")
    wanted = load_study(open_storage(url), name_of(url))[1].data.fingerprint
    assert answer.status == 2
    assert wanted in answer.error
    assert "dataset 'npz:d.npz' has fingerprint" in answer.error


def test_what_no_worker_can_join(command: Command, url: str) -> None:
    unknown = command("worker", "--storage", url, "--study", "x").error
    assert f"there is no study 'x' in this storage: `archsearch run --study x` makes it; there now: {name_of(url)}" in (
        unknown
    )
    elsewhere = command("worker", "--storage", url, "--study", name_of(url), "--dataset", "npz:nowhere.npz")
    assert elsewhere.status == 2
    assert elsewhere.error.rstrip().endswith("where the study's images lie on this machine: --dataset")
    assert "--storage" in command("worker", "--study", "x").error
    study, name = optuna.load_study(study_name=name_of(url), storage=url), name_of(url)
    carried = json.loads(study.user_attrs["archsearch"])
    assert carried["format"] == 3  # the oldest that has all of it
    study.set_user_attr("archsearch", json.dumps({**carried, "format": FORMAT + 1}))
    for words in (["worker", "--study"], ["pareto"], ["show", "--json"]):
        refused = command(*words[:1], "--storage", url, *words[1:], name, *(["0"] if "show" in words else []))
        assert refused.status == 2
        assert f"has format {FORMAT + 1}, of a newer archsearch; this one reads up to {FORMAT}" in refused.error


def test_a_study_of_an_older_version_is_read_and_can_be_joined_once_resumed(
    command: Command, start: Start, url: str, work: Path
) -> None:
    study, name = optuna.load_study(study_name=name_of(url), storage=url), name_of(url)
    carried = json.loads(study.user_attrs["archsearch"])
    study.set_user_attr("archsearch", json.dumps({key: value for key, value in carried.items() if key != "format"}))
    with_terms = study.user_attrs["terms"]
    study.set_user_attr("terms", None)
    refused = command("worker", "--storage", url, "--study", name)
    assert refused.status == 2
    assert "`run --resume` it first" in refused.error
    resume = ["run", "--max-params", "20k", "--space", "tiny.toml", "--epochs", "2", "--seed", "3", "--resume"]
    assert start(*resume, "--trials", "5", "--storage", url, "--study", name).wait().status == 0
    assert json.loads(optuna.load_study(study_name=name, storage=url).user_attrs["terms"]) == json.loads(with_terms)
    assert command("worker", "--storage", url, "--study", name).status == 0


def test_tables_architectures_and_a_candidate_come_back_from_the_storage_alone(
    command: Command, url: str, work: Path, study: Path
) -> None:
    name = name_of(url)
    answer = command("pareto", "--storage", url, name, "--out", "again")
    assert (answer.status, answer.err) == (0, "")
    for file in ("pareto.csv", "trials.csv"):
        assert (work / "again" / name / file).read_text() == (study / file).read_text()
    for path in (study / "archs").iterdir():
        assert (work / "again" / name / "archs" / path.name).read_text() == path.read_text()
    arch = next((study / "archs").iterdir()).stem
    shown = command("show", "--storage", url, name, arch, "--out", "third")
    assert (shown.status, shown.err) == (0, "")
    assert arch in shown.out
    weights = next((study / "weights").iterdir())
    exported = command("export", "--storage", url, name, weights.stem, "--format", "safetensors", "--out", "results")
    assert (exported.status, exported.err) == (0, "")


def test_the_environment_stands_for_the_option(command: Command, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHSEARCH_STORAGE", url)
    assert command("worker", "--study", name_of(url)).status == 0
    assert command("pareto", name_of(url), "--out", "again").status == 0
    assert "there is no study 'x' in this storage" in command("pareto", "x").error
    assert "neither x/study.db nor" in command("dashboard", "x").error


def test_a_study_that_was_killed_while_it_was_made_is_resumed(start: Start, work: Path) -> None:
    url = sqlite_url(work / "half.db")
    optuna.create_study(study_name="s", storage=url, directions=["maximize", "minimize"])
    assert start(*RUN, "--trials", "1", "--storage", url, "--resume").wait().status == 0
    study = load_study(open_storage(url), "s")[0]
    assert [status(trial) for trial in study.get_trials()] == ["complete"]
