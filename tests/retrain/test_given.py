"""What a search's trainings are given, and that a worker finds the same."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from toys import CPU, SMALL, toy

from archsearch.errors import StudyError
from archsearch.network.recipe import Recipe
from archsearch.nn import weights
from archsearch.nn.build import build
from archsearch.retrain.given import given, given_again
from archsearch.study.config import Known
from archsearch.training.data import TrainingData
from archsearch.training.optim import initialise
from archsearch.training.setup import TrainingSetup


def saved(path: Path, seed: int) -> str:
    torch.manual_seed(seed)
    arch = SMALL.adapted((1, 8, 8), 2)
    module = build(arch)
    initialise(module)
    return str(weights.save(path, module, arch, {"normalisation": {"mean": [0.5], "std": [0.2]}}))


def test_nothing_is_nothing() -> None:
    setup = TrainingSetup(TrainingData.of(toy(), 0, CPU), Recipe())
    found = given((), "", toy())
    assert found.given_to(setup) is setup
    assert (found.known, found.words, found.notes) == (Known(), "", ())
    assert given_again(Known(), Known(), toy()).known == Known()


def test_both_are_given_and_named(tmp_path: Path) -> None:
    one, two = saved(tmp_path / "a.safetensors", 1), saved(tmp_path / "b.safetensors", 2)
    setup = TrainingSetup(TrainingData.of(toy(), 0, CPU), Recipe())
    found = given([one], two, toy())
    full = found.given_to(setup)
    assert full.teach is found.teachers
    assert full.start is found.start
    assert full.is_taught
    assert not setup.is_taught
    assert found.words == f"{found.known.started}; taught by {found.known.taught}"
    assert str(tmp_path) not in found.words
    assert given([one], "", toy()).words == f"taught by {found.known.taught}"


def test_files_may_lie_elsewhere_but_must_be_the_same(tmp_path: Path) -> None:
    one, two = saved(tmp_path / "a.safetensors", 1), saved(tmp_path / "b.safetensors", 2)
    study = given([one], two, toy()).known
    (tmp_path / "there").mkdir()
    moved = replace(study, teachers=(shutil.copy(one, tmp_path / "there"),))
    found = given_again(moved, study, toy()).known
    assert (found.taught, found.started) == (study.taught, study.started)
    saved(tmp_path / "there" / "a.safetensors", 3)
    with pytest.raises(StudyError, match=r"--teacher: here is a.safetensors \w{8}, the study was made with a.safet"):
        given_again(moved, study, toy())
    with pytest.raises(StudyError, match=r"--init-from: here is none, the study was made with b.safetensors \w{8}"):
        given_again(replace(study, init_from=""), study, toy())
