"""Which images a shipped file was made for, by what the file and the folders around it say."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from archsearch._utils.certified import named
from archsearch._utils.formats import format_of
from archsearch._utils.sharing import shipped
from archsearch._utils.specs import ON_DISK, PICTURES, is_here
from archsearch.cli.options import reading
from archsearch.errors import InputError
from archsearch.network.arch import Arch
from archsearch.network.layers import COLOURS

if TYPE_CHECKING:
    import torch

    from archsearch.data import Dataset
    from archsearch.export import Source
    from archsearch.inference import Runner
    from archsearch.study.config import StudyConfig

Network = TypeVar("Network", "Runner", "Source")
_FOLDERS = 3
"""A study's files lie so far below its folder, at most."""


def dataset_of(path: Path, arch: Arch, info: Mapping[str, Any], given: Mapping[str, Any]) -> Dataset:
    """The images for a file: those of its training unless others are given.

    Args:
        given: `dataset`, `image_size`, `data_dir`, `skip_broken`, `nested`, as the options have them.

    Raises:
        InputError: the file says nothing of a dataset, or names one that is not here.
        DataError: the dataset is missing, broken or refused.
    """
    from archsearch.cli.decoding import Decoding
    from archsearch.data import load_dataset

    spec = given["dataset"] or known_dataset(path, info)
    if spec is None:
        raise InputError(f"{path}: says nothing of its dataset: give --dataset")
    size = given["image_size"] or own_size(arch, info, spec)
    with Decoding() as watch:
        dataset = load_dataset(
            spec,
            data_dir=given["data_dir"],
            image_size=size,
            colour=own_colour(info),
            watch=watch,
            **reading(given),
        )
    return replace(dataset, share=split_share(info))


def numbered(network: Network, dataset: Dataset) -> Network:
    """The same, its classes without names where the dataset's have none: npz files only count them."""
    numbers = [str(number) for number in range(network.arch.classes)]
    return replace(network, info={**network.info, "classes": numbers}) if [*dataset.classes] == numbers else network


def device_for(weights: Path, given: str) -> torch.device:
    """Where a file is run: with auto a GPU takes safetensors alone. Raises InputError."""
    from archsearch.nn.devices import resolve_device

    known = named(weights)
    kind = known.format if known else format_of(weights)
    return resolve_device("cpu" if given == "auto" and kind != "safetensors" else given)


def check_images(dataset: Dataset, spec: str, data_dir: Path, config: StudyConfig) -> bool:
    """Whether these are the study's images, at the shape of any of its candidates. Raises DataError."""
    from archsearch.cli.decoding import Decoding
    from archsearch.workers.worker import study_dataset

    if dataset.input_shape != config.input_shape and dataset.input_shape in config.domain.shapes:
        read = replace(config.data, skip_broken=dataset.skip_broken, nested=dataset.nested)
        with Decoding() as watch:
            dataset = study_dataset(spec, data_dir, replace(config, data=read), watch=watch)
    return dataset.fingerprint == config.data.fingerprint


def known_dataset(path: Path, info: Mapping[str, Any]) -> str | None:
    """The dataset that a file names, by its whole path where the study's folder around the file knows that.

    Raises:
        InputError: it lies elsewhere on this machine, or on another one.
    """
    spec = info.get("dataset")
    if not isinstance(spec, str):
        return None
    found = next((whole for whole in _noted(path) if shipped(whole) == shipped(spec)), spec)
    kind, separator, _ = found.partition(":")
    if separator and kind in ON_DISK and not is_here(found):
        raise InputError(f"{path} was trained on {spec}, which is not here: give --dataset {kind}:PATH")
    return found


def _noted(path: Path) -> Iterator[str]:
    """Datasets that `run.json` and `retrain.json` of the folders around a file name."""
    for folder in path.absolute().parents[:_FOLDERS]:
        for name in ("run.json", "retrain.json"):
            try:
                notes = json.loads((folder / name).read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            for note in notes if isinstance(notes, list) else [notes]:
                about = note.get("dataset") if isinstance(note, dict) else None
                if isinstance(about, dict) and isinstance(about.get("name"), str):
                    yield about["name"]


def own_size(arch: Arch, info: Mapping[str, Any], spec: str) -> int | None:
    """The pixels a side that a network takes, where `spec` is its own dataset or one of picture files; else None.

    Picture files are scaled to any size. That of another foreign dataset is not changed unasked.
    """
    _, height, width = arch.input_shape
    own = info.get("dataset")
    mine = spec.partition(":")[0] in PICTURES or (isinstance(own, str) and shipped(own) == shipped(spec))
    return height if mine and height == width else None


def own_colour(info: Mapping[str, Any]) -> str | None:
    """The colour to which a training turned its images; None where it took them as they were."""
    said = info.get("colour")
    return said if isinstance(said, str) and said in COLOURS else None


def split_seed(given: int | None, info: Mapping[str, Any]) -> int:
    """The seed of the validation split: as given, or as the file's metadata have it, or 0."""
    said = info.get("seed")
    if given is not None:
        return given
    return said if isinstance(said, int) and not isinstance(said, bool) and said >= 0 else 0


def split_share(info: Mapping[str, Any]) -> float | None:
    """The share of validation images that the file's metadata have; None where they do not say."""
    said = info.get("validation")
    return said if isinstance(said, float) and 0 < said < 1 else None
