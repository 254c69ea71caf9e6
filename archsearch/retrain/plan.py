"""Full trainings of chosen networks: on train and validation images, the last epoch, then the test split once."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, fields, replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from archsearch.data import Dataset, DeviceData
from archsearch.data.loader.room import room_for
from archsearch.errors import InputError, TrainingFailed
from archsearch.evaluation import Report
from archsearch.inference.evaluate import accuracy
from archsearch.inference.pixels import DTYPES
from archsearch.metrics import Metric
from archsearch.network.arch import Arch
from archsearch.network.recipe import LATER, Recipe
from archsearch.nn import weights
from archsearch.nn.build import build
from archsearch.nn.devices import full_float32
from archsearch.retrain.answers import Answers
from archsearch.retrain.distillation import Teachers
from archsearch.retrain.pretrained import Encoder
from archsearch.study.records import Retrained
from archsearch.training import several
from archsearch.training.checkpoint import Checkpoint
from archsearch.training.data import TrainingData
from archsearch.training.setup import TrainingSetup
from archsearch.training.trainer import Trainer

_BATCH = 1000
_OLDER = {"resized_crop": 1.0, **LATER}
"""Values of recipes from before there was such a key."""
_TRAINED = "retrain"
_TIMED_EPOCHS, _TIMED_STEPS, _TIMED_LR = 3, 40, 1e-6
"""One epoch for each size of progressive resizing, of so many steps, at a rate by which nothing diverges."""
_SPARE = 0.1
"""Of the time, for what is slower than it was when it was timed."""
_KINDS: dict[str, Any] = {
    "seed": int, "test_accuracy": float, "mirrored": float | None, "epochs": int, "train_seconds": float,
    "device": str, "start": str, "recipe": dict, "test_score": float | None,
}  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What all trainings of a retraining have in common.

    Args:
        setup: its data are everything to train on, without validation images. Each training has a seed of its own,
            starts from `encoder` and learns from `teachers`.
        folder: gets `weights/<arch>-seed<k>.safetensors`.
        split_seed: of the search, which divided train and validation images; for the files' metadata.
        encoder: what the networks start from, None for nothing.
        teachers: networks or files whose answers take the labels' place; None for the labels.
        mirrored: measure too what adding the logits of mirrored images gives.
        dtype: at which the weights are written: fp32, fp16 or bf16. What is tested is the network of the file.
        until: monotonic time at which trainings are stopped, to be gone on with.
        metric: what is measured on the test split beside accuracy; None: nothing.
    """

    setup: TrainingSetup
    folder: Path
    split_seed: int = 0
    encoder: Encoder | None = None
    teachers: Teachers | Answers | None = None
    mirrored: bool = False
    dtype: str = "fp32"
    until: float = math.inf
    metric: Metric | None = None

    def path(self, arch: Arch, seed: int) -> Path:
        """Where a training's weights are."""
        return self.folder / "weights" / f"{arch.id}-seed{seed}.safetensors"

    @property
    def data(self) -> TrainingData:
        """Everything that is trained on."""
        return self.setup.data

    def setup_of(self, seed: int) -> TrainingSetup:
        """That of the trainings with a seed. Early stopping is off: there is nothing to stop by."""
        overrides = {**self.setup.overrides, "patience": 0}
        setup = replace(self.setup, seed=seed, overrides=overrides, start=self.encoder)
        return self.teachers.given_to(setup) if self.teachers else setup

    def recipe_of(self, arch: Arch) -> Recipe:
        """What a network is trained with. Raises SpecError."""
        return self.setup_of(0).recipe_of(arch)

    @property
    def epochs(self) -> int:
        """Of every training."""
        return int(self.setup.overrides.get("epochs", self.setup.recipe.epochs))

    def with_epochs(self, epochs: int) -> Plan:
        """The same trainings with other numbers of epochs."""
        return replace(self, setup=replace(self.setup, overrides={**self.setup.overrides, "epochs": epochs}))

    def checkpoint(self, arch: Arch, seed: int) -> Checkpoint:
        """Where a training's state is kept: that of another recipe, start, dataset or device is none of its own."""
        where, data = self.data.device.type, self.data.dataset.fingerprint
        identity = [arch.id, seed, self.start, data, where, self.recipe_of(arch).to_dict()]
        path = self.path(arch, seed).with_suffix(".checkpoint")
        return Checkpoint(path, json.dumps(identity), until=self.until)

    def require_fit(self, archs: Sequence[Arch]) -> None:
        """Refuse what cannot be trained before anything is.

        Raises:
            SpecError: a network's recipe does not go with these labels.
            InputError: the encoder is none of these networks', or a teacher would be written over.
        """
        for arch in archs:
            self.recipe_of(arch)
            if self.encoder:
                self.encoder(build(arch))
            mine = self.path(arch, 0)
            for file in self.teachers.files if self.teachers else ():
                if file.resolve().parent == mine.parent.resolve() and file.name.startswith(f"{arch.id}-seed"):
                    raise InputError(
                        f"--teacher {file}: trainings of {arch.id} are kept there: train {arch.id}.toml of its archs/"
                        " with another --study, or teach by a copy elsewhere"
                    )

    @property
    def start(self) -> str:
        """Where the encoder came from and who taught, "" for neither."""
        parts = [f"{self.encoder.name}{', frozen' if self.encoder.frozen else ''}"] if self.encoder else []
        parts += [f"taught by {self.teachers.source}"] if self.teachers else []
        return "; ".join(parts)


@dataclass(frozen=True)
class Pace:
    """Seconds of an epoch of a long training, the mean over its image sizes, and of what comes before the first one."""

    epoch: float
    start: float


def pace(plan: Plan, arch: Arch, most: float) -> Pace:
    """Time a short training, after one that pays for what comes once; keeps nothing.

    Args:
        most: seconds that the steps of the timed one may take, by those of the first; at least two are taken.

    Raises:
        TrainingFailed: as `fit`.
    """
    _, one = _short(plan, arch, 1)
    return _short(plan, arch, min(_TIMED_STEPS, max(2, int(most / one))))[0]


def _short(plan: Plan, arch: Arch, steps: int) -> tuple[Pace, float]:
    """The pace of so many steps at each image size, and their seconds."""
    whole, recipe, data = plan.data.train, plan.recipe_of(arch), plan.data
    count = min(len(whole), steps * recipe.batch_size)
    data = replace(data, train=whole.first(count))
    short = recipe.with_values({"epochs": _TIMED_EPOCHS, "lr": _TIMED_LR})
    trainer = Trainer(replace(plan.setup_of(0), data=data, overrides=short.to_dict()))
    clock = time.perf_counter()
    usage = trainer(arch, lambda epoch, accuracy, metrics=None: None).usage
    busy = usage["data_seconds"] + usage["step_seconds"]
    epoch, start = busy / _TIMED_EPOCHS * len(whole) / count, time.perf_counter() - clock - busy
    return Pace(epoch, max(0.0, start)), max(busy, 1e-3)


def epochs_within(seconds: float, paces: Sequence[Pace], seeds: int) -> int:
    """How many epochs fit into `seconds` with a tenth to spare, 0 for none.

    paces: of all networks, each of which is trained so many epochs by each of `seeds` seeds.
    """
    left = (1 - _SPARE) * seconds / seeds - sum(one.start for one in paces)
    return max(0, int(left / sum(one.epoch for one in paces)))


def epochs_begun(plan: Plan, archs: Sequence[Arch], seeds: Iterable[int]) -> int | None:
    """The epochs of a training of these networks that is finished, or begun as planned; None where there is none."""
    for arch, seed in product(archs, seeds):
        path, checkpoint = plan.path(arch, seed), plan.checkpoint(arch, seed)
        if path.exists() and (row := read_row(path)):
            return row.epochs
        if found := checkpoint.found():
            (*begun, recipe), (*planned, mine) = json.loads(found["key"]), json.loads(checkpoint.key)
            if begun == planned and recipe == {**mine, "epochs": recipe["epochs"]}:
                return int(recipe["epochs"])
    return None


def retrain(plan: Plan, arch: Arch, seed: int, report: Report) -> Retrained:
    """Train one network with one seed, read the test split, write the weights; goes on where it was interrupted.

    Args:
        report: called after every epoch with nan as the accuracy; what it raises ends the training, to be gone on
            with.

    Raises:
        TrainingFailed: as `fit`, or the trained network's outputs are not finite.
        DataError: the test split is broken.
        OSError: the files cannot be written.
    """
    recipe, checkpoint, device = plan.recipe_of(arch), plan.checkpoint(arch, seed), plan.data.device
    trainer = Trainer(plan.setup_of(seed), lambda arch: checkpoint)
    trainer(arch, report)
    module = trainer.trained.to(DTYPES[plan.dtype])
    data = plan.data
    network = deepcopy(module).float()
    tested = on_test(network, data.dataset, device, plan.mirrored, data.memory, plan.metric)
    row = Retrained(
        arch=arch.id,
        seed=seed,
        test_accuracy=tested.accuracy,
        mirrored=tested.mirrored,
        test_score=tested.score,
        epochs=recipe.epochs,
        train_seconds=round(checkpoint.seconds, 3),
        params=arch.cost.params,
        device=_name(device),
        start=plan.start,
        recipe=recipe.to_dict(),
    )
    about = {name: value for name, value in asdict(row).items() if name not in ("arch", "seed", "params", "recipe")}
    if plan.metric:
        about["metric"] = plan.metric.name
    else:
        del about["test_score"]
    about |= {"dtype": plan.dtype, "fingerprint": plan.data.dataset.fingerprint}
    about |= several.about_validation(network, data, plan.split_seed) if data.dataset.several else {}
    trainer.save(plan.path(arch, seed), arch, **about, trained=_TRAINED, seed=plan.split_seed, training_seed=seed)
    checkpoint.remove()
    return row


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


class OnTest(NamedTuple):
    """The share of test images with the right label, that of an image and its mirror together, and a metric."""

    accuracy: float
    mirrored: float | None = None
    score: float | None = None


@torch.no_grad()
@full_float32()
def on_test(
    module: nn.Module,
    dataset: Dataset,
    device: torch.device,
    mirrored: bool = False,
    memory: float | None = None,
    metric: Metric | None = None,
) -> OnTest:
    """What a network does on the test split, with its mirror images where `mirrored`, and by a metric.

    In float32, as `archsearch evaluate` does it. Reads the test split; memory: as `TrainingData` has it. The metric is
    None where the test split leaves it undefined.

    Raises:
        TrainingFailed: the outputs are not finite.
        DataError: the test split is broken.
    """
    images, labels = dataset.test()
    data = DeviceData(images, labels, dataset.normalisation, device, room=room_for(device, images.mapped, memory))
    logits = _logits(module.eval(), data)
    both = logits + _logits(module, data, mirrored=True) if mirrored else None
    try:
        found = accuracy(logits, data.labels), None if both is None else accuracy(both, data.labels)
    except InputError as error:
        raise TrainingFailed(f"on the test split {error}") from None
    return OnTest(*found, _scored(metric, logits, data.labels))


def _scored(metric: Metric | None, logits: Tensor, labels: Tensor) -> float | None:
    try:
        return None if metric is None else metric(logits, labels)
    except InputError:  # a class is not in the test split: the training and its accuracy are kept
        return None


def _logits(module: nn.Module, data: DeviceData, mirrored: bool = False) -> Tensor:
    batches = (images for images, _ in data.batches(_BATCH))
    return torch.cat([module(images.flip(3) if mirrored else images).float() for images in batches])


def finished(plan: Plan, arch: Arch, seed: int) -> Retrained | None:
    """What an earlier retraining measured, None if there was none.

    Raises:
        InputError: its recipe, start, precision or images were others, or mirrored images were not measured.
    """
    path = plan.path(arch, seed)
    row = read_row(path) if path.exists() else None
    if row is None:
        return None
    images = plan.data.dataset.fingerprint
    wanted = {**LATER, **plan.recipe_of(arch).to_dict(), "start": plan.start, "dtype": plan.dtype, "images": images}
    info = weights.read(path).info
    made = {"dtype": info.get("dtype", plan.dtype), "images": info.get("fingerprint", images)}  # older files lack them
    found = {**_OLDER, **row.recipe, "start": row.start, **made}
    if plan.mirrored and row.mirrored is None:
        raise InputError(f"{path} was not measured with --tta: leave it out, or add --overwrite")
    other = [f"{name} {found.get(name)!r}, not {value!r}" for name, value in wanted.items() if found.get(name) != value]
    if plan.metric and info.get("metric") != plan.metric.name:
        raise InputError(f"{path} was not measured with --metric {plan.metric.name}: leave it out, or add --overwrite")
    if other:
        raise InputError(f"{path} was trained with {', '.join(other)}: ask for the same, or add --overwrite")
    return row


def read_row(path: Path) -> Retrained | None:
    """What a weights file says of the retraining that made it; None for one that no retraining made."""
    read = weights.read(path)
    if read.info.get("trained") != _TRAINED:
        return None
    about = {
        **read.info,
        "arch": read.arch.id,
        "seed": read.info.get("training_seed"),
        "params": read.arch.cost.params,
    }
    if wrong := [name for name, kind in _KINDS.items() if not isinstance(about.get(name), kind)]:
        raise InputError(f"{path}: its metadata have no {wrong[0]!r} that a retraining wrote: remove the file")
    values: dict[str, Any] = {field.name: about.get(field.name) for field in fields(Retrained)}
    return Retrained(**values)


def rows_of(folder: Path) -> list[Retrained]:
    """Every retraining whose weights are in a folder, by network and seed."""
    files = (path for path in (folder / "weights").glob("*-seed*.safetensors") if not path.name.startswith("."))
    found = [read_row(path) for path in files]  # one with a dot is not written whole
    return sorted((row for row in found if row), key=lambda row: (row.params, row.arch, row.seed))


def forget(plan: Plan, arch: Arch) -> None:
    """Remove the weights and checkpoints of all retrainings of a network."""
    for path in plan.path(arch, 0).parent.glob(f"{arch.id}-seed*"):
        path.unlink()
