"""One fit: a network, its data on a device, a recipe, a callback after every epoch."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from archsearch import weights
from archsearch.arch import Arch
from archsearch.data import Dataset, DeviceData, epoch, split
from archsearch.errors import InputError, SpecError, TrainingFailed
from archsearch.modules import AuxHead, build
from archsearch.recipe import AUTO, Recipe

Report = Callable[[int, float], None]
_EVAL_BATCH = 1000
_ONE_THREAD_MACS = 2e8
_CORES = torch.get_num_threads()


def resolve_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one, else the CPU; else any of cpu, cuda, cuda:1, mps that is there.

    Raises:
        InputError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"unknown device {name!r}: use auto, cpu, cuda, cuda:1 or mps") from None
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(device.type, False):
        raise InputError(f"device {name!r} is not available here: use auto or cpu")
    return device


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """bfloat16 where the hardware computes in it, None where float32 is faster."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else None
    if device.type == "cpu":
        flags = torch.backends.cpu.get_cpu_capability(), _cpu_flags()
        return torch.bfloat16 if flags[0].startswith("AVX512") and flags[1] & {"avx512_bf16", "amx_bf16"} else None
    return None


def _cpu_flags() -> set[str]:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((set(line.split()) for line in lines if line.startswith("flags")), set())


@dataclass(frozen=True)
class TrainingData:
    """Both parts of a dataset on the device, and what a recipe leaves open, chosen from the dataset."""

    dataset: Dataset
    train: DeviceData
    validation: DeviceData
    device: torch.device

    @classmethod
    def of(cls, dataset: Dataset, seed: int, device: torch.device) -> TrainingData:
        """Split the train images by the seed, stratified, unless the dataset brings a validation split."""
        images, labels = dataset.images, dataset.labels
        if dataset.validation is None:
            mine, held = split(labels, seed)
            parts = (images[mine], labels[mine]), (images[held], labels[held])
        else:
            parts = (images, labels), dataset.validation
        train, validation = (DeviceData(x, y, dataset.normalisation, device) for x, y in parts)
        return cls(dataset, train, validation, device)

    def settle(self, recipe: Recipe) -> Recipe:
        """The recipe with everything that was left open (-1) chosen.

        Batches: a twentieth of the images, as a power of two from 32 to 256. Crops: an eighth of the side,
        none under 16 pixels: on 8x8 digits a shift of one pixel costs 1 to 4 points of accuracy.
        """
        batch, crop, flip = recipe.batch_size, recipe.crop, recipe.flip
        if batch == AUTO:
            batch = min(256, max(32, 2 ** round(math.log2(max(1, len(self.train) / 20)))))
        if crop == AUTO:
            side = min(self.dataset.input_shape[1:])
            crop = side // 8 if side >= 16 else 0
        if flip == AUTO:
            flip = int(self.dataset.flip)
        return recipe.with_values({"batch_size": batch, "crop": crop, "flip": flip})


def fit(arch: Arch, data: TrainingData, recipe: Recipe, seed: int, report: Report) -> nn.Module:
    """Train a network and report its validation accuracy after every epoch; returns it after the last one.

    `seed` fixes initial weights, order and augmentation. Reruns are equal to the last digit on one CPU with
    one number of threads, not from device to device.

    Raises:
        TrainingFailed: the loss is no longer finite, or the device's memory does not suffice.
    """
    torch.set_num_threads(_threads(arch, data.settle(recipe).batch_size))
    torch.manual_seed(seed)
    generator = torch.Generator(device=data.device).manual_seed(seed)
    module = build(arch)
    initialise(module)
    module.to(data.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    recipe = data.settle(recipe)
    try:
        _epochs(module, data, recipe, generator, report)
    except torch.OutOfMemoryError:
        raise TrainingFailed(f"out of memory on {data.device} with batches of {recipe.batch_size}") from None
    return module


def _threads(arch: Arch, batch: int) -> int:
    """CPU threads for a step: one for little work, where a second one waits more than it helps."""
    return 1 if arch.cost.macs * batch < _ONE_THREAD_MACS else _CORES


def initialise(module: nn.Module) -> None:
    """Kaiming-normal kernels for the number of inputs (He et al. 2015, arXiv 1502.01852), in place."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_in", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def _epochs(module: nn.Module, data: TrainingData, recipe: Recipe, generator: torch.Generator, report: Report) -> None:
    batch = min(recipe.batch_size, len(data.train))
    steps = max(1, len(data.train) // batch)
    optimiser = make_optimiser(module, recipe, batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, one_cycle(recipe.epochs * steps, recipe.warmup))
    step = _step(module, recipe, optimiser, autocast_dtype(data.device), data.device)
    for number in range(1, recipe.epochs + 1):
        module.train()
        losses = []
        batches = epoch(
            data.train,
            batch,
            generator=generator,
            crop=recipe.crop,
            flip=bool(recipe.flip),
            cutout=recipe.cutout,
        )
        for images, labels in batches:
            losses.append(step(images, labels))
            schedule.step()
        if not torch.isfinite(torch.stack(losses)).all():
            raise TrainingFailed(f"the loss is not finite in epoch {number}")
        report(number, accuracy(module, data.validation))


def _step(
    module: nn.Module,
    recipe: Recipe,
    optimiser: torch.optim.Optimizer,
    dtype: torch.dtype | None,
    device: torch.device,
) -> Callable[[Tensor, Tensor], Tensor]:
    """One optimiser step; its loss stays on the device."""
    auxiliary = [part for part in module.modules() if isinstance(part, AuxHead)]

    def loss_of(logits: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(logits.float(), labels, label_smoothing=recipe.label_smoothing)

    def step(images: Tensor, labels: Tensor) -> Tensor:
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            logits = module(images)
        loss = loss_of(logits, labels)
        for part in auxiliary:
            if part.logits is not None:
                loss = loss + part.weight * loss_of(part.logits, labels)
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimiser.step()
        return loss.detach()

    return step


def make_optimiser(module: nn.Module, recipe: Recipe, batch: int) -> torch.optim.Optimizer:
    """The recipe's optimiser; weight decay on kernels and matrices only, not on norms and biases."""
    params = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in params if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in params if p.ndim <= 1], "weight_decay": 0.0},
    ]
    lr = recipe.lr * batch / 256
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=recipe.momentum, nesterov=recipe.momentum > 0)
    adam = torch.optim.Adam if recipe.optimiser == "adam" else torch.optim.AdamW
    return adam(groups, lr=lr)


def one_cycle(steps: int, warmup: float) -> Callable[[int], float]:
    """Factor on the learning rate: linearly up to 1 over `warmup` of the steps, then linearly to 0."""
    rise = warmup * steps

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / (rise + 1)
        return max(0.0, (steps - step) / max(1.0, steps - rise))

    return factor


@torch.no_grad()
def accuracy(module: nn.Module, data: DeviceData) -> float:
    """The share of images that the module labels correctly, in evaluation mode."""
    module.eval()
    dtype = autocast_dtype(data.images.device)
    correct = torch.zeros((), dtype=torch.int64, device=data.images.device)
    with torch.autocast(data.images.device.type, dtype=dtype, enabled=dtype is not None):
        for images, labels in zip(
            torch.split(data.images, _EVAL_BATCH), torch.split(data.labels, _EVAL_BATCH), strict=True
        ):
            correct += (module(images).argmax(1) == labels).sum()
    return int(correct) / len(data)


class Trainer:
    """Evaluates candidates for a search, and keeps the last trained module so that it can be saved.

    The seed of a candidate's training comes from the search's seed and the candidate's id alone, so that it
    does not depend on what was trained before.
    """

    def __init__(self, data: TrainingData, recipe: Recipe, seed: int) -> None:
        self.data = data
        self.recipe = recipe
        self.seed = seed
        self.module: nn.Module | None = None

    def __call__(self, arch: Arch, report: Report) -> float:
        """Train `arch`; returns its validation accuracy after the last epoch. Raises TrainingFailed."""
        last = 0.0

        def note(number: int, value: float) -> None:
            nonlocal last
            last = value
            report(number, value)

        self.module = None
        try:
            recipe = self.recipe.with_values(arch.recipe)
        except SpecError as error:
            raise TrainingFailed(str(error)) from None
        try:
            self.module = fit(arch, self.data, recipe, self._seed(arch), note)
        except RuntimeError as error:
            # torch raises nothing more specific for a layer that breaks or memory that the CPU lacks.
            raise TrainingFailed(str(error).splitlines()[0]) from error
        return last

    def _seed(self, arch: Arch) -> int:
        return int.from_bytes(hashlib.sha256(f"{self.seed}/{arch.id}".encode()).digest()[:4], "big")

    def save(self, path: Path, arch: Arch, **info: Any) -> None:
        """Write the last trained module as a weights file. Raises OSError."""
        if self.module is None:
            raise RuntimeError("nothing was trained yet")
        mean, std = self.data.dataset.normalisation
        weights.save(
            path,
            self.module,
            arch,
            {
                **info,
                "dataset": self.data.dataset.name,
                "recipe": self.data.settle(self.recipe.with_values(arch.recipe)).to_dict(),
                "normalisation": {"mean": list(mean), "std": list(std)},
                "classes": list(self.data.dataset.classes),
            },
        )
