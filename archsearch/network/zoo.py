"""The textbook's networks, which come with archsearch as architecture files: `ref:NAME` on the command line.

Each file is an architecture file with a table `about`: `title`, `source`, and where there is one the number of
parameters that was published, deployed (`published`) and with auxiliary classifiers (`published_training`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archsearch._utils.files import shipped_folder
from archsearch._utils.tomlfile import parse_toml, read_text
from archsearch.errors import SpecError
from archsearch.network.arch import Arch
from archsearch.network.arch_file import ABOUT
from archsearch.network.blocks import unknown
from archsearch.network.layers import Shape

PREFIX = "ref:"
_KEYS: dict[str, type] = {"title": str, "source": str, "published": int, "published_training": int, "note": str}


@dataclass(frozen=True)
class Reference:
    """A network of the literature, and where it comes from.

    `published`: its parameters as its source counts them, `published_training` with auxiliary classifiers;
    None where the source gives no number. `note`: what differs from the source, or is ours.
    """

    name: str
    arch: Arch
    title: str
    source: str
    published: int | None = None
    published_training: int | None = None
    note: str = ""


def names() -> list[str]:
    """Every reference's name, sorted."""
    return sorted(_files())


def load(name: str) -> Reference:
    """A reference by name, with or without `ref:` in front.

    Raises:
        SpecError: no such reference (the message has the nearest name), or a file with faults.
    """
    name = name.removeprefix(PREFIX)
    files = _files()
    if name not in files:
        raise SpecError(f"there is no reference network {unknown(name, files)}")
    where = str(files[name])
    data = parse_toml(read_text(files[name]), where)
    return Reference(name, Arch.from_dict(data, where), **_about(data.get(ABOUT, {}), where))


def fitting(input_shape: Shape, classes: int) -> dict[str, Arch]:
    """The references that make a network for other images and classes, by name.

    Left out: what was made for images of more than four times the side (ImageNet's networks would see a
    single pixel for most of their depth), and what counts its kernels down to a size that these images lack.
    """
    near = {name: arch for name in names() if (arch := load(name).arch).input_shape[1] <= 4 * input_shape[1]}
    adapted = {name: arch.adapted(input_shape, classes) for name, arch in near.items()}
    return {name: arch for name, arch in adapted.items() if _makes_network(arch)}


def _makes_network(arch: Arch) -> bool:
    try:
        arch.parts()
    except SpecError:
        return False
    return True


def _files() -> dict[str, Path]:
    return {path.stem: path for path in (shipped_folder() / "references").glob("*.toml")}


def _about(about: dict[str, Any], where: str) -> dict[str, Any]:
    problems = [f"{ABOUT}: no key {unknown(key, _KEYS)}" for key in about if key not in _KEYS]
    problems += [f"{ABOUT}: {key!r} is missing" for key in ("title", "source") if key not in about]
    problems += [
        f"{ABOUT}.{key} = {value!r}: must be of type {_KEYS[key].__name__}"
        for key, value in about.items()
        if key in _KEYS and type(value) is not _KEYS[key]
    ]
    if problems:
        raise SpecError(problems, where)
    return about
