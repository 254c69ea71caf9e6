"""Checkpoints: an interrupted training ends as one that was not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from toys import SMALL, same, toy

from archsearch.network.arch import Arch
from archsearch.network.recipe import Recipe
from archsearch.network.stage import Part, Stage
from archsearch.nn.devices import Stopwatch
from archsearch.retrain.plan import Plan
from archsearch.training.checkpoint import Checkpoint
from archsearch.training.data import TrainingData
from archsearch.training.fit import fit
from archsearch.training.setup import TrainingSetup

CPU = torch.device("cpu")
DROPS = Arch((1, 8, 8), 2, Part("conv", (("width", 8),)), (Stage("basic", 8),), Part("linear", (("dropout", 0.3),)))
RECIPES = {
    "sgd": {"flip": 2, "crop": 1},
    "adamw": {"optimiser": "adamw", "lr": 0.01, "ema": 2.0, "cutmix": 1.0},
    "long": {"lookahead": 3, "mixup": 0.4, "mix_growth": 1.0, "ema": 1.0},
    "sharp": {"smoothing_until": 0.5, "lookahead": 2},
    "rounded": {"qat": 0.5},
    "rounded average": {"qat": 0.5, "ema": 1.0},
    "patience": {"patience": 2, "policy": "trivial"},
}


class Cut(Exception):
    """The process ends here."""


class Epochs(Stopwatch):
    """Counts the epochs that are trained, whatever is reported."""

    count = 0

    def lap(self, name: str) -> None:
        self.count += name == "eval"
        super().lap(name)


def run(
    data: TrainingData, recipe: Recipe, path: Path | None, stop: int = 0, key: str = "k"
) -> tuple[nn.Module | None, list[tuple[int, float]], int]:
    """The trained module, None where it was cut off after epoch `stop`; what was reported; how much was trained."""
    seen: list[tuple[int, float]] = []
    watch = Epochs(CPU)

    def report(epoch: int, accuracy: float, metrics: object) -> None:
        seen.append((epoch, accuracy if accuracy == accuracy else -1.0))
        if epoch == stop:
            raise Cut

    arch = DROPS if data.dataset.name == "toy" else SMALL
    checkpoint = Checkpoint(path, key, every=0.0) if path else None
    try:
        trained = fit(arch, TrainingSetup(data, recipe, 0, threads=1), report, checkpoint=checkpoint, watch=watch)
    except Cut:
        return None, seen, watch.count
    return trained.module, seen, watch.count


@pytest.mark.parametrize("validation", [True, False])
@pytest.mark.parametrize("name", RECIPES)
def test_a_training_goes_on_to_the_same_end(name: str, validation: bool, tmp_path: Path) -> None:
    dataset = toy(120, flip=True)
    data = TrainingData.of(dataset, 0, CPU) if validation else TrainingData.whole(dataset, CPU)
    recipe = Recipe(epochs=5, batch_size=32).with_values(
        {key: value for key, value in RECIPES[name].items() if validation or key != "patience"}
    )
    whole, curve, epochs = run(data, recipe, None)
    parts: list[int] = []
    module = None
    for stop in (2, 3, 0):
        module, seen, trained = run(data, recipe, tmp_path / "w.checkpoint", stop)
        assert seen == curve[: stop or None]
        parts.append(trained)
    assert parts == [2, 1, epochs - 3]
    assert whole is not None
    assert module is not None
    assert same(whole, module)


def test_a_finished_training_is_there_at_once(tmp_path: Path) -> None:
    data, recipe = TrainingData.whole(toy(40), CPU), Recipe(epochs=2)
    first, *_ = run(data, recipe, tmp_path / "c")
    again, seen, trained = run(data, recipe, tmp_path / "c")
    assert [epoch for epoch, _ in seen] == [1, 2]
    assert trained == 0
    assert first is not None
    assert again is not None
    assert same(first, again)


@pytest.mark.parametrize("content", [b"", b"no file of torch's", b"\x80\x02]", None])
def test_what_is_no_checkpoint_of_this_training_is_written_over(content: bytes | None, tmp_path: Path) -> None:
    data, recipe, path = TrainingData.whole(toy(40), CPU), Recipe(epochs=2), tmp_path / "c"
    if content is None:
        run(data, recipe, path, stop=1, key="another")
    else:
        path.write_bytes(content)
    assert run(data, recipe, path)[2] == 2
    assert Checkpoint(path, "k").read() is not None
    assert Checkpoint(path, "another").read() is None


def test_a_retraining_does_not_go_on_on_another_kind_of_device(tmp_path: Path) -> None:
    """The states of their random generators have nothing in common."""
    data = TrainingData.whole(toy(), CPU)
    plans = [
        Plan(TrainingSetup(replace(data, device=torch.device(name)), Recipe()), tmp_path)
        for name in ("cpu", "cuda", "cuda:1")
    ]
    cpu, *cuda = (plan.checkpoint(SMALL, 0).key for plan in plans)
    assert cpu not in cuda
    assert cuda[0] == cuda[1]


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "exploded",)

    torch.save({"key": "k", "seconds": 0.0, "state": Bomb()}, tmp_path / "c")
    assert Checkpoint(tmp_path / "c", "k").read() is None
    assert not (tmp_path / "exploded").exists()


def test_time_is_summed_over_processes(tmp_path: Path) -> None:
    one = Checkpoint(tmp_path / "c", "k", every=0.0)
    one.before = 100.0
    one.write({})
    two = Checkpoint(tmp_path / "c", "k")
    assert two.seconds < 50
    assert two.read() == {}
    assert two.seconds >= 100
    assert not two.is_due
    two.remove()
    assert two.read() is None
