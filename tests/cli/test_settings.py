"""Which space a run takes where nobody names one, and with which a study goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import Answer, small_npz

from archsearch.cli.recipes import recipe_values
from archsearch.errors import InputError
from archsearch.network.recipe import PRESETS
from archsearch.space.reader import space_text
from archsearch.study import storage
from archsearch.study.storage import kept_config, open_existing

Command = Callable[..., Answer]
FEW = ("--max-params", "20k", "--max-macs", "300k", "--trials", "1", "--epochs", "1", "--seed", "3")


@pytest.mark.parametrize(
    ("side", "space", "why"),
    [(32, "resnin", "for images up to 32 pixels a side"), (33, "photos", "for images above 32 pixels a side")],
)
def test_the_space_follows_the_images(command: Command, work: Path, side: int, space: str, why: str) -> None:
    small_npz(work / "two.npz")
    limits = ("--max-params", "20k", "--trials", "1", "--epochs", "1")
    answer = command("run", *limits, "--dataset", "npz:two.npz", "--image-size", side)
    assert answer.status == 0, answer.err
    said = [line for line in answer.out.splitlines() if line.startswith("space ")]
    assert said == [f"space {space}, the default {why}; --space takes another"]
    about = json.loads((work / "results" / f"two-{space}-params20k" / "run.json").read_text())
    assert about["space"] == {"name": space, "toml": space_text(space)}


def test_a_named_space_is_no_news(command: Command, work: Path) -> None:
    answer = command("run", *FEW, "--space", "tiny.toml", "--study", "s")
    assert answer.status == 0, answer.err
    assert not [line for line in answer.out.splitlines() if line.startswith("space ")]


def test_a_study_goes_on_with_its_own_space(command: Command, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the file is gone, and where the space is not the one that its images get today."""
    opened = list[Path]()
    monkeypatch.setattr(storage, "kept_config", lambda folder, url: opened.append(folder) or kept_config(folder, url))
    small_npz(work / "two.npz")
    args = ("run", "--max-params", "20k", "--epochs", "1", "--dataset", "npz:two.npz", "--image-size", "33")
    assert command(*args, "--trials", "1", "--space", "tiny.toml", "--study", "s").status == 0
    (work / "tiny.toml").unlink()
    answer = command(*args, "--trials", "2", "--study", "s", "--resume")
    assert answer.status == 0, answer.err
    assert "space tiny, as study 's' was begun" in answer.out.splitlines()
    assert opened == [Path("results/s")]
    assert open_existing(work / "results" / "s")[1].space_name == "tiny"
    other = command(*args, "--trials", "2", "--study", "s", "--resume", "--space", "nin")
    assert other.status == 2
    assert "study 's' was made with another space" in other.error


def test_a_study_of_the_former_default_is_found_by_its_name(command: Command, work: Path) -> None:
    small_npz(work / "two.npz")
    args = ("run", "--max-params", "20k", "--epochs", "1", "--dataset", "npz:two.npz", "--image-size", "33")
    assert command(*args, "--max-macs", "2M", "--trials", "1", "--space", "resnin").status == 0
    answer = command(*args, "--max-macs", "2M", "--trials", "2", "--resume")
    assert answer.status == 0, answer.err
    assert "space resnin, as study 'two-resnin-params20k-macs2M' was begun" in answer.out.splitlines()
    assert [path.name for path in (work / "results").iterdir()] == ["two-resnin-params20k-macs2M"]


def test_resume_begins_what_is_not_there(command: Command, work: Path) -> None:
    answer = command("run", *FEW, "--resume")
    assert answer.status == 0, answer.err
    assert "space resnin, the default" in answer.out
    assert (work / "results" / "digits-resnin-params20k-macs300k" / "study.db").is_file()


def test_a_preset_gives_way_to_values_before_and_after_it() -> None:
    robust = dict(PRESETS["robust"])
    assert recipe_values(["robust"]) == robust
    assert recipe_values(["lr=0.2", "robust"]) == {**robust, "lr": 0.2}
    for words in (["robust", "noise=0.3"], ["noise=0.3", "robust"]):
        assert recipe_values(words) == {**robust, "noise": 0.3}
    with pytest.raises(InputError, match=r"--recipe 'robsut': write KEY=VALUE, such as lr=0.2, or a preset: robust"):
        recipe_values(["robsut"])


def test_a_run_with_a_preset(command: Command, work: Path) -> None:
    answer = command(
        "run", *FEW, "--space", "tiny.toml", "--study", "s", "--recipe", "policy=none", "--recipe", "robust"
    )
    assert answer.status == 0, answer.err
    recipe = json.loads((work / "results" / "s" / "run.json").read_text())["recipe"]
    assert (recipe["policy"], recipe["noise"]) == ("none", PRESETS["robust"]["noise"])
