"""Whose state is kept, who begins with whom and for how long, and what comes of states that cannot be read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn
from toys import CPU, toy

from archsearch.errors import StopTraining
from archsearch.network.arch import Arch
from archsearch.network.budget import Budget
from archsearch.network.kin import kinship
from archsearch.network.recipe import Recipe
from archsearch.network.stage import Part, Stage
from archsearch.nn.build import build
from archsearch.study.observers import Candidate
from archsearch.study.records import Draw, Record
from archsearch.training.checkpoint import Checkpoint
from archsearch.training.data import TrainingData
from archsearch.training.optim import initialise
from archsearch.training.setup import TrainingSetup
from archsearch.training.trainer import Trainer
from archsearch.workers import parents
from archsearch.workers.measure import proposal
from archsearch.workers.parents import Parents, epochs_of, kept

HEAD = Part("linear")
ARCH = Arch((1, 8, 8), 2, Part("conv", (("width", 8),)), (Stage("basic", 8),), HEAD)
DEEPER = replace(ARCH, stages=(Stage("basic", 8, 2),))
WIDER = replace(ARCH, stages=(Stage("basic", 12),))
OTHER = Arch((1, 8, 8), 2, Part("patch"), (Stage("inverted", 16),), Part("mlp"))


def record(arch: Arch, trial: int, accuracy: float = 0.5, **more: object) -> Record:
    return replace(proposal(arch, Budget(), 0), trial=trial, val_accuracy=accuracy, epochs=10, **more)


class Shelf:
    """Parents of a made-up study."""

    def __init__(self, folder: Path) -> None:
        self.history: list[Record] = []
        self.said: list[str] = []
        self.module: nn.Module = nn.Identity()
        self.parents = Parents(folder / "parents", lambda: self.history, lambda: self.module, self.said.append)
        self.folder = folder / "parents"

    def trains(self, arch: Arch, accuracy: float = 0.5, **more: object) -> None:
        torch.manual_seed(len(self.history))
        self.module = build(arch)
        initialise(self.module)
        row = record(arch, len(self.history), accuracy, **more)
        candidate = Candidate(arch, Budget().check(arch.cost), Draw({}, {}))
        self.parents.measured(candidate, row, [*self.history, row])
        self.history.append(row)

    @property
    def files(self) -> set[str]:
        return {path.stem for path in self.folder.glob("*")}


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def test_the_nearest_relative_is_the_parent(shelf: Shelf) -> None:
    assert shelf.parents(ARCH, 10) is None
    for arch in (OTHER, WIDER, ARCH):
        shelf.trains(arch)
    birth = shelf.parents(DEEPER, 10)
    assert birth is not None
    near = kinship(DEEPER, ARCH).nearness
    assert (birth.parent, birth.epochs) == (ARCH.id, epochs_of(10, near))
    assert birth.usage["parent"] == 2
    assert birth.usage["lineage_epochs"] == pytest.approx(birth.epochs + near * 10, abs=0.01)
    assert birth.usage["effort"] == pytest.approx(birth.usage["lineage_epochs"] / 10, abs=0.001)
    module = build(DEEPER)
    assert birth.start(module) == kinship(DEEPER, ARCH).share
    mine, theirs = module.state_dict(), shelf.module.half().state_dict()
    assert torch.equal(mine["stage1.0.0.1.0.weight"], theirs["stage1.0.0.1.0.weight"].float())


def test_the_lineage_adds_up(shelf: Shelf) -> None:
    shelf.trains(ARCH, usage={"lineage_epochs": 30.0})
    birth = shelf.parents(WIDER, 10)
    assert birth is not None
    near = kinship(WIDER, ARCH).nearness
    assert birth.usage["lineage_epochs"] == pytest.approx(epochs_of(10, near) + 30 * near, abs=0.01)


def test_strangers_and_the_network_itself_are_no_parents(shelf: Shelf) -> None:
    shelf.trains(ARCH)
    assert shelf.parents(ARCH, 10) is None
    assert kinship(OTHER, ARCH).nearness < parents.LEAST
    assert shelf.parents(OTHER, 10) is None


@pytest.mark.parametrize(("near", "epochs"), [(0.0, 20), (0.5, 15), (1.0, 10)])
def test_half_of_what_is_inherited_is_spared(near: float, epochs: int) -> None:
    assert epochs_of(20, near) == epochs
    assert epochs_of(1, near) == 1


def test_what_the_study_does_not_have_is_not_used(shelf: Shelf) -> None:
    """A process was killed between the state and the study: its candidate is trained again."""
    shelf.trains(ARCH)
    shelf.history.clear()
    assert shelf.files == {ARCH.id}
    assert shelf.parents(DEEPER, 10) is None


def test_only_complete_candidates_are_kept(shelf: Shelf) -> None:
    for state in ("stopped", "failed"):
        shelf.trains(ARCH, state=state)
    assert shelf.files == set()


@pytest.mark.parametrize("damage", [b"", b"x" * 100, "cut"])
def test_a_state_that_cannot_be_read_is_said_and_left(shelf: Shelf, damage: bytes | str) -> None:
    shelf.trains(WIDER)
    shelf.trains(ARCH)
    path = shelf.folder / f"{ARCH.id}.safetensors"
    path.write_bytes(path.read_bytes()[:-100] if isinstance(damage, str) else damage)
    birth = shelf.parents(DEEPER, 10)
    assert birth is not None
    assert birth.parent == WIDER.id
    assert len(shelf.said) == 1
    assert ARCH.id in shelf.said[0]
    (shelf.folder / f"{WIDER.id}.safetensors").unlink()
    assert shelf.parents(DEEPER, 10) is None


def test_the_front_and_the_latest_are_kept(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parents, "LATEST", 2)
    archs = [replace(ARCH, stages=(Stage("basic", width),)) for width in (4, 6, 8, 10, 12)]
    for arch, accuracy in zip(archs, (0.5, 0.9, 0.4, 0.3, 0.2), strict=True):
        shelf.trains(arch, accuracy)
    assert shelf.files == {archs[i].id for i in (0, 1, 3, 4)}
    foreign = shelf.folder / "another-workers.safetensors"
    foreign.touch()
    shelf.trains(replace(ARCH, stages=(Stage("basic", 14),)), 0.1)
    assert foreign.exists()


def test_the_bytes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [record(arch, i) for i, arch in enumerate((DEEPER, ARCH, WIDER))]
    monkeypatch.setattr(parents, "MOST_BYTES", 2 * (rows[1].params + rows[2].params))
    assert kept(rows) == {ARCH.id, WIDER.id}


def test_a_trainer_reports_the_last_epochs_and_goes_on_after_a_cut(shelf: Shelf, tmp_path: Path) -> None:
    data = TrainingData.of(toy(60), 0, CPU)
    setup = TrainingSetup(data, Recipe(epochs=6, batch_size=16))
    shelf.trains(ARCH)

    def trained(stop: int, path: Path) -> tuple[list[int], Trainer]:
        trainer = Trainer(setup, lambda arch: Checkpoint(path, "k", every=0.0), shelf.parents)
        seen: list[int] = []

        def report(epoch: int, accuracy: float, metrics: object) -> None:
            seen.append(epoch)
            if epoch == stop:
                raise StopTraining("cut")

        if stop:
            with pytest.raises(StopTraining) as cut:
                trainer(DEEPER, report)
            assert cut.value.evaluation.usage["parent"] == 0
        else:
            assert trainer(DEEPER, report).usage["init_share"] == round(kinship(DEEPER, ARCH).share, 4)
        return seen, trainer

    own = epochs_of(6, kinship(DEEPER, ARCH).nearness)
    first = 6 - own + 1
    assert 1 < first < 6
    whole, one = trained(0, tmp_path / "a")
    assert whole == [*range(first, 7)]
    assert trained(first, tmp_path / "b")[0] == [first]
    again, two = trained(0, tmp_path / "b")
    assert again == whole
    assert all(torch.equal(a, b) for a, b in zip(*(t.trained.state_dict().values() for t in (one, two)), strict=True))
    one.save(tmp_path / "w.safetensors", DEEPER)
    with safetensors.safe_open(tmp_path / "w.safetensors", "pt") as file:
        assert f'"epochs":{own}' in file.metadata()["info"]
