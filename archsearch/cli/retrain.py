"""`archsearch retrain`."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archsearch._utils.scores import ACCURACY
from archsearch._utils.units import counted, format_seconds
from archsearch.cli.known import teacher_option
from archsearch.cli.metrics import metric_option, tested_metric
from archsearch.cli.options import (
    SECONDS,
    data_memory_option,
    data_options,
    one_record,
    opened_study,
    out_option,
    reading,
    storage_option,
)
from archsearch.cli.recipes import class_weights_option, given_values
from archsearch.cli.retraining import Retraining, Target, seeds_of
from archsearch.cli.screen import say
from archsearch.cli.sources import check_images, known_dataset, own_colour, own_size
from archsearch.errors import InputError, SpecError, TrainingFailed
from archsearch.network.arch import Arch
from archsearch.network.layers import Shape
from archsearch.network.recipe import Recipe
from archsearch.network.zoo import PREFIX
from archsearch.space.inputs import colour_of
from archsearch.study.config import DIGITS_EPOCHS, EPOCHS
from archsearch.study.suggestion import suggestion

if TYPE_CHECKING:
    from archsearch.data import Dataset
    from archsearch.retrain.plan import Plan
    from archsearch.study.config import StudyConfig

_LONGER = 5
"""A full training has so many times the epochs of a search."""
_MOST_EPOCHS = 300
"""With `--within`, where nothing else is said."""
_QAT = 0.1
"""Share of the epochs, with `--quantize int8`."""
_TIMING = 0.05
"""Of the time of `--within`, at most, for the steps that are timed."""


@click.command()
@click.argument("target")
@click.option("--front", "whole_front", is_flag=True, help="All networks of the study's Pareto front, smallest first.")
@click.option("--arch", help="One candidate of the study, by the first digits of its id.  [default: the most accurate]")
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="Trainings of each network.")
@click.option(
    "--first-seed", type=click.IntRange(0), default=0, show_default=True, help="Of --seeds, where commands share them."
)
@click.option("--epochs", type=click.IntRange(1), help="Epochs a training.  [default: five times those of the search]")
@click.option(
    "--within",
    type=SECONDS,
    help=f"As many epochs as fit into this time for all trainings, {_MOST_EPOCHS} or --epochs at most: 20m, 8h.",
)
@click.option(
    "--recipe", multiple=True, metavar="KEY=VALUE", help="Set a value of the recipe, as in `run`; repeatable."
)
@class_weights_option
@click.option(
    "--quantize",
    type=click.Choice(["int8"]),
    help=f"Train the last epochs as the int8 file will compute: --recipe qat={_QAT}, unless the recipe has its own.",
)
@click.option("--init-from", help="Start from this encoder: a weights file, or torchvision:NAME; the head is new.")
@click.option("--freeze-encoder", is_flag=True, help="With --init-from: train the new head alone.")
@teacher_option
@metric_option("What is measured on the test split beside accuracy", "the study's, else as in `run`")
@click.option("--tta", is_flag=True, help="Report apart what averaging over an image and its mirror gives.")
@click.option(
    "--dtype",
    type=click.Choice(["fp32", "fp16", "bf16"]),
    default="fp32",
    show_default=True,
    help="Precision of the weights files; what is tested is the network of the file.",
)
@click.option("--timeout", type=SECONDS, help="Stop after this time; the same command goes on: 8m, 2h.")
@click.option("--overwrite", is_flag=True, help="Forget earlier retrainings of these networks.")
@click.option("--deterministic", is_flag=True, help="Bit-equal reruns on one device, as in `run`.")
@click.option("--compile", "compiled", is_flag=True, help="Use torch.compile: pays in long trainings on a GPU.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
@data_memory_option
@click.option("--study", "name", help="Folder in OUT for a file or a reference.  [default: dataset-name]")
@data_options
@storage_option()
@out_option
def retrain(target: str, **options: Any) -> int:
    """Train chosen networks fully, on train and validation images, then read the test split, once a training.

    TARGET: a study (its folder or name), an architecture or weights file, or ref:NAME; the last two are made to fit
    the dataset. Weights go to OUT/STUDY/weights/ARCH-seedK.safetensors, accuracies of each training to retrain.csv,
    their mean and deviation to the study and its pareto.csv. What is finished is not trained again.
    """
    from archsearch.data import unread_test
    from archsearch.nn.devices import resolve_device

    if options["freeze_encoder"] and not options["init_from"]:
        raise InputError("--freeze-encoder goes with --init-from: say which encoder")
    device = resolve_device(options["device"])
    found = _target(target, options)
    spec = options["dataset"] or found.dataset
    if spec is None:
        raise InputError(f"{target} says nothing of a dataset: give --dataset")
    datasets = _datasets(found, spec, options)
    dataset = datasets[-1]
    if found.config and not check_images(dataset, spec, options["data_dir"], found.config):
        raise InputError(f"{spec} is not the dataset of this study: to transfer, give the file of a network as TARGET")
    if options["tta"] and not dataset.flip:
        raise InputError(f"--tta: mirrored images of {spec} may be of another class")
    at: dict[Shape, Dataset] = {images.input_shape: images for images in datasets}
    archs = [_fitting(arch, at.get(arch.input_shape, dataset)) for arch in found.archs]
    until = time.monotonic() + (math.inf if options["timeout"] is None else options["timeout"])
    if not found.study:
        found = replace(found, recipe=found.recipe.with_values(_suggested(dataset, options)))
    metric, plans = tested_metric(found, dataset, options), dict[Shape, "Plan"]()
    for shape, images in at.items():
        plans[shape] = replace(_plan(found, images, device, options), until=until, metric=metric)
    for shape, plan in plans.items():
        plan.require_fit([arch for arch in archs if arch.input_shape == shape])
        say(*(plan.teachers.notes if plan.teachers else ()))
    if dataset.verify_test:  # what cannot be read is found before the training
        for line in unread_test(dataset, dataset.verify_test()):
            click.echo(line)
    if options["within"]:
        plans = _fitted(plans, archs, options)
    return Retraining(plans, found, archs, options).run()


def _suggested(dataset: Dataset, options: Mapping[str, Any]) -> dict[str, Any]:
    """What suits these images and labels, where the options say nothing else."""
    from archsearch.training.imbalance import treatment

    own, labels = given_values(options, dataset.classes), dataset.labels
    suited = treatment(labels, len(dataset.classes), options["metric"] or ACCURACY, own)
    return {**suggestion(len(labels), dataset.input_shape), **suited}


def _datasets(found: Target, spec: str, options: Mapping[str, Any]) -> list[Dataset]:
    """The images: for a study whose sizes or colours are searched those of every shape that the networks take."""
    from archsearch.cli.decoding import Decoding
    from archsearch.data import load_dataset
    from archsearch.workers.worker import study_dataset

    config, place, asked = found.config, options["data_dir"], options["image_size"]
    how = reading(options, config.data if config else None)
    with Decoding() as watch:
        if config is None or len(config.domain.shapes) == 1:
            size = asked or found.image_size
            one = load_dataset(spec, data_dir=place, image_size=size, colour=found.colour, watch=watch, **how)
            return [replace(one, share=found.share)]
        for arch in found.archs:
            if asked not in (None, arch.input_shape[1]):
                raise InputError(
                    f"--image-size {asked}: {arch.id} takes {arch.input_shape[1]} pixels: leave the option out"
                )
        config = replace(config, data=replace(config.data, **how))
        every = sorted({one.input_shape for one in found.archs})
        return [study_dataset(spec, place, config, shape, watch) for shape in every]


def _fitted(plans: Mapping[Shape, Plan], archs: Sequence[Arch], options: Mapping[str, Any]) -> dict[Shape, Plan]:
    """The plans with as many epochs as fit, or with those of trainings that are begun."""
    from archsearch.retrain.plan import epochs_begun, epochs_within, pace

    seconds, seeds = options["within"], seeds_of(options)
    begun = (epochs_begun(plans[arch.input_shape], [arch], range(seeds.stop)) for arch in archs)
    epochs = None if options["overwrite"] else next(filter(None, begun), None)
    if epochs:
        say(f"{counted(epochs, 'epoch')}, as in a training that is there: --overwrite begins anew")
    else:
        clock, paces = time.monotonic(), []
        for arch in archs:
            try:
                paces.append(pace(plans[arch.input_shape], arch, _TIMING * seconds / len(archs)))
            except TrainingFailed as error:  # which its training will say again
                say(f"{arch.id}: not timed: {error}")
        if not paces:
            raise InputError("--within: no training could be timed")
        timing = time.monotonic() - clock
        each, start = sum(one.epoch for one in paces), sum(one.start for one in paces)
        epochs = epochs_within(seconds - timing, paces, len(seeds))
        if not epochs:
            raise InputError(
                f"--within {format_seconds(seconds)}: not one epoch of {each:.3g} s fits, with {start:.3g} s before it"
                f" and {timing:.3g} s of timing, for each of {counted(len(seeds), 'seed')}: give more time, fewer"
                " seeds, or --epochs in its place"
            )
        epochs = min(epochs, options["epochs"] or _MOST_EPOCHS)
        say(f"epochs that fit into {format_seconds(seconds)}: {epochs}, each {each:.3g} s")
    return {shape: plan.with_epochs(epochs) for shape, plan in plans.items()}


def _target(target: str, options: Mapping[str, Any]) -> Target:
    path = Path(target)
    if not target.startswith(PREFIX) and not path.is_file():
        if options["name"]:
            raise InputError(f"--study goes with a file or ref:NAME: {target} is a study of its own")
        return _of_study(opened_study(target, options["out"], options["storage"]), options)
    if options["whole_front"] or options["arch"]:
        raise InputError(f"--front and --arch go with a study: {target} is one network")
    arch, info = _network(target, path)
    spec = options["dataset"] or known_dataset(path, info)
    kind, _, place = (spec or "").partition(":")
    label = f"{Path(place).stem if place else kind}-{path.stem.removeprefix(PREFIX)}"
    epochs = DIGITS_EPOCHS if spec == "digits" else EPOCHS
    folder = options["out"] / (options["name"] or label)
    if (folder / "study.db").exists():
        raise InputError(f"{folder} is a search's study, which {target} is not of: choose another --study")
    size = own_size(arch, info, spec) if info and spec else None
    return Target([arch], folder, Recipe(epochs=epochs), spec, size, own_colour(info))


def _network(target: str, path: Path) -> tuple[Arch, Mapping[str, Any]]:
    """The architecture of a file or reference, and what a weights file says of its training."""
    if target.startswith(PREFIX):
        from archsearch.network import zoo

        return zoo.load(target).arch, {}
    if path.suffix == ".toml":
        return Arch.load(path), {}
    from archsearch.nn import weights

    read = weights.read(path)
    return read.arch, read.info


def _of_study(opened: tuple[Path, Any, StudyConfig], options: Mapping[str, Any]) -> Target:
    from archsearch.report.files import ArchFiles
    from archsearch.study.records import front
    from archsearch.study.storage import records

    if options["whole_front"] and options["arch"]:
        raise InputError(f"--front and --arch {options['arch']} exclude each other: give one")
    folder, study, config = opened
    history = records(study)
    ArchFiles(folder, study, config).write(history)
    best = front(history)
    if options["arch"]:
        best = [one_record(study, options["arch"], folder)]
    elif not best:
        raise InputError(f"study {folder.name!r} has no complete candidate yet: let `run --resume` go on")
    chosen = best if options["whole_front"] else best[-1:]
    data = config.data
    return Target(
        [Arch.load(folder / "archs" / f"{record.arch}.toml") for record in chosen],
        folder,
        config.recipe,
        data.name,
        data.image_size,
        colour_of(config.space.input),
        config.seed,
        data.validation,
        study,
        config,
    )


def _fitting(arch: Arch, dataset: Dataset) -> Arch:
    """The network for these images and classes. Raises SpecError where there is none."""
    adapted = arch.adapted(dataset.input_shape, len(dataset.classes))
    try:
        adapted.parts()
    except SpecError as error:
        raise SpecError(error.problems, f"this network on {dataset.name}") from None
    return adapted


def _plan(found: Target, dataset: Dataset, device: Any, options: Mapping[str, Any]) -> Plan:
    from archsearch.retrain.distillation import teachers_of
    from archsearch.retrain.plan import Plan
    from archsearch.retrain.pretrained import encoder
    from archsearch.training.data import TrainingData
    from archsearch.training.setup import TrainingSetup
    from archsearch.training.thread_tuner import ThreadTuner

    epochs = options["epochs"] or _LONGER * found.recipe.epochs
    overrides = {**given_values(options, dataset.classes), "epochs": epochs}
    if options["quantize"]:
        overrides = {"qat": found.recipe.qat or _QAT, **overrides}
    if overrides.get("patience"):
        raise InputError("--recipe patience: retraining has no validation images to stop by, it goes to the last epoch")
    try:
        found.recipe.with_values(overrides)
    except SpecError as error:
        raise InputError(f"--recipe {error}") from None
    setup = TrainingSetup(
        TrainingData.whole(dataset, device, options["data_memory"]),
        found.recipe,
        overrides=overrides,
        deterministic=options["deterministic"],
        compiled=options["compiled"],
        tuner=ThreadTuner(tell=lambda line: click.echo(f"archsearch: {line}", err=True)),
    )
    return Plan(
        setup,
        found.folder,
        found.split_seed,
        encoder(options["init_from"], options["freeze_encoder"]) if options["init_from"] else None,
        teachers_of(options["teachers"], dataset) if options["teachers"] else None,
        options["tta"],
        options["dtype"],
    )
