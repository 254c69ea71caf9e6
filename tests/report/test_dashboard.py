"""What the Optuna dashboard is given of a front: the note and the artifacts."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna_dashboard import get_note, save_note
from optuna_dashboard.artifact._backend import list_trial_artifacts
from studies import config, make_study, retrained

from archsearch.report.dashboard import FOLDER, figure, merged, show_front
from archsearch.study.records import front
from archsearch.study.storage import create_study, open_existing, open_storage, records, score_of, sqlite_url
from archsearch.study.store import store_of


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifacts") / "a-study"
    make_study(folder, trials=8)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / made.name))


@pytest.fixture
def study(folder: Path) -> optuna.Study:
    return open_existing(folder)[0]


def shown(study: optuna.Study) -> dict[int, dict[str, str]]:
    """The artifacts that the dashboard finds: by trial number, by file name their id."""
    store = store_of(study)
    attrs = store.storage.get_study_system_attrs(store.id)
    found: dict[int, dict[str, str]] = {}
    for trial in study.get_trials(deepcopy=False):
        own = store.storage.get_trial_system_attrs(store.trial_id(trial.number))
        metas: Any = list_trial_artifacts(attrs, own, trial)
        if metas:
            assert len({meta["filename"] for meta in metas}) == len(metas)
            found[trial.number] = {meta["filename"]: meta["artifact_id"] for meta in metas}
    return found


def test_the_front_has_its_weights_and_its_file(folder: Path, study: optuna.Study) -> None:
    show_front(folder, study)
    best = {record.trial: record for record in front(records(study))}
    found = shown(study)
    assert found.keys() == best.keys()
    for number, record in best.items():
        assert set(found[number]) == {f"{record.arch}.safetensors", f"{record.arch}.toml"}
        stored = folder / FOLDER / found[number][f"{record.arch}.toml"]
        assert stored.read_bytes() == (folder / "archs" / f"{record.arch}.toml").read_bytes()


def test_nothing_is_there_twice_and_what_the_folder_lost_comes_back(folder: Path, study: optuna.Study) -> None:
    show_front(folder, study)
    before, files = shown(study), sorted(path.name for path in (folder / FOLDER).iterdir())
    show_front(folder, study)
    assert shown(study) == before
    assert sorted(path.name for path in (folder / FOLDER).iterdir()) == files
    shutil.rmtree(folder / FOLDER)
    show_front(folder, study)
    assert shown(study) == before
    assert sorted(path.name for path in (folder / FOLDER).iterdir()) == files


def test_what_a_person_deletes_in_the_dashboard_stays_away(folder: Path, study: optuna.Study) -> None:
    show_front(folder, study)
    number, names = next(iter(shown(study).items()))
    name = next(name for name in names if name.endswith(".toml"))
    trial = study.get_trials(deepcopy=False)[number]
    store = store_of(study)
    key = f"dashboard:artifacts:{store.trial_id(trial.number)}:{names[name]}"
    store.storage.set_study_system_attr(store.id, key, "null")
    (folder / FOLDER / names[name]).unlink()
    show_front(folder, study)
    assert name not in shown(study)[number]
    assert not (folder / FOLDER / names[name]).exists()


def test_weights_of_a_retraining_join(folder: Path, study: optuna.Study) -> None:
    record = front(records(study))[0]
    show_front(folder, study)
    (folder / "weights" / f"{record.arch}-seed1.safetensors").write_text("w")
    show_front(folder, study)
    assert f"{record.arch}-seed1.safetensors" in shown(study)[record.trial]


def test_the_note_has_the_table_and_later_the_test_accuracies(folder: Path, study: optuna.Study) -> None:
    show_front(folder, study)
    best, text = front(records(study)), get_note(study)
    assert "test accuracy" not in text
    lines = [line for line in text.splitlines() if line.startswith("| [")]
    assert len(lines) == len(best)
    for record, line in zip(best, lines, strict=True):
        assert f"[{record.trial}](/dashboard/studies/1/trials?numbers={record.trial})" in line
        assert f"{100 * (record.val_accuracy or 0):.2f}%" in line
        assert (folder / "weights" / f"{record.arch}.safetensors").exists()
    assert str(folder.parent) not in text  # a study moves on to other machines
    for record in best:
        retrained(study, record, (0.89, 0.90, 0.91))
    show_front(folder, study)
    assert get_note(study).count("90.00% ± 1.00") == len(best)


def test_a_note_of_another_score_speaks_of_it(tmp_path: Path) -> None:
    study = make_study(tmp_path / "s", trials=6, metric="macro-auroc")
    best = front(records(study))
    for record in best:
        retrained(study, record, (0.5, 0.5), 0.75)
    show_front(tmp_path / "s", study)
    text = get_note(study)
    assert "| validation macro AUROC | test macro AUROC |" in text
    assert text.count("0.7500 ± 0.0000") == len(best)
    assert f"| {best[0].score:.4f} |" in text
    assert study.metric_names == ["val_macro_auroc", "params"]
    shown = figure(records(study), score_of(study))
    assert shown.layout["yaxis"] == {"title": {"text": "validation macro AUROC"}}
    assert max(max(line["y"]) for line in shown.data) <= 1


def test_what_people_write_around_the_note_stays(folder: Path, study: optuna.Study) -> None:
    save_note(study, "Mine, before any run.")
    show_front(folder, study)
    first = get_note(study)
    assert first.startswith("Mine, before any run.\n\n## a-study: the front")
    save_note(study, first + "\n\nAnd below.")
    show_front(folder, study)
    assert get_note(study) == first + "\n\nAnd below."
    assert merged("", "## x") == "## x"


def test_a_study_without_a_front_gets_a_note_that_says_so(tmp_path: Path) -> None:
    study = create_study(open_storage(sqlite_url(tmp_path / "study.db")), "empty", config())
    show_front(tmp_path, study)
    assert "No candidate is complete yet." in get_note(study)
    assert not (tmp_path / FOLDER).exists()
