"""Trained, exported and tested networks by name, `zoo:NAME`: those of `results/`, whole and verified.

Architectures of the literature without weights are `network.zoo`, `ref:NAME`. What is known of each network stands in
`certified.json`, which `scripts/zoo.py` writes. The files are not in the wheel: they come from a checkout of
archsearch, its own or the current folder, from the data folder, or from a copy of the repository that ARCHSEARCH_ZOO
names.
"""

from __future__ import annotations

import difflib
import json
import os
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from archsearch._utils.download import digest, download
from archsearch._utils.files import write_with
from archsearch._utils.formats import format_of
from archsearch._utils.toolchain import DATA
from archsearch.errors import InputError, printable

PREFIX = "zoo:"
PLACE = "ARCHSEARCH_ZOO"
"""The environment variable: a URL or a folder that holds the repository's `results/`."""
FOLDER = "zoo"
"""Below the data folder."""
_LIST = Path(__file__).with_suffix(".json")
_CHECKOUT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Certified:
    """A trained network and the file that holds it.

    Args:
        dataset: as `--dataset` takes it. classes: names by the places of their logits, () where they are numbers.
        file: below the repository. sha256, bytes: of the file as it lies there, perhaps compressed by xz.
        model_bytes: of the model, uncompressed. macs: multiply-accumulates for one image.
        summary: its layers.
        accuracy: of this file on the test split. trainings: of every training of this network, by its seed; of the
            weights before int8 where these are kept, else of the int8 files.
        formats: bytes of every file of it in the repository, uncompressed, by format and precision.
        ram_bytes: of TensorFlow Lite Micro's arena for the int8 `.tflite` file, at most; None where that is not known.
        peak_activation_bytes: of live tensors for one image at int8, at most.
        latency_ms: for one image, see `timed`; None where it was not measured.
    """

    name: str
    dataset: str
    classes: tuple[str, ...]
    file: str
    sha256: str
    bytes: int
    model_bytes: int
    precision: str
    arch: str
    summary: str
    params: int
    macs: int
    accuracy: float
    trainings: dict[str, float]
    formats: dict[str, int] = field(default_factory=dict)
    ram_bytes: int | None = None
    peak_activation_bytes: int = 0
    latency_ms: float | None = None

    @property
    def format(self) -> str:
        """The format of its file."""
        return format_of(Path(self.file))

    @property
    def info(self) -> dict[str, Any]:
        """What is known of it beyond the metadata of its file, under the same keys."""
        return {"dataset": self.dataset, **({"classes": [*self.classes]} if self.classes else {})}

    def plain(self) -> dict[str, Any]:
        """As `--json` has it."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


@cache
def networks() -> dict[str, Certified]:
    """All of them by name, in the order of the list."""
    found = _read()["networks"]
    return {one["name"]: Certified(**{**one, "classes": tuple(one["classes"])}) for one in found}


def timed() -> str:
    """How the milliseconds were measured: runtime, precision, threads, processor, date; "" where they were not."""
    return str(_read()["timed"])


@cache
def _read() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_LIST.read_text(encoding="utf-8"))
    return found


def named(word: str | Path) -> Certified | None:
    """The network that `zoo:NAME` means; None for every other word. Raises InputError for an unknown name."""
    text = str(word)
    return find(text) if text.startswith(PREFIX) else None


def find(name: str) -> Certified:
    """A network by its name, with or without `zoo:`. Raises InputError, which has the nearest name."""
    name, known = name.removeprefix(PREFIX), networks()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
        raise InputError(f"there is no certified network {printable(name)!r} ({hint})")
    return known[name]


def local(network: Certified, data_dir: Path = DATA) -> Path:
    """The network's file on this machine, verified; downloaded into `data_dir` where it is nowhere yet.

    Raises:
        InputError: it is nowhere, the download fails, or what came is another file.
    """
    place = os.environ.get(PLACE, "")
    remote = place.startswith(("http://", "https://"))
    copy = data_dir / FOLDER / f"{network.name}.{Path(network.file).name.partition('.')[2]}"
    folders = [*([Path(place)] if place and not remote else []), _CHECKOUT, Path()]
    for path in (*(folder / network.file for folder in folders), copy):
        if _is_whole(path, network):
            return path
    if not remote:
        raise InputError(
            f"{PREFIX}{network.name} is not on this machine: run this in a clone of archsearch, set {PLACE} to a URL or"
            f" a folder that holds its {network.file}, or put that file at {copy}"
        )
    url = f"{place.rstrip('/')}/{quote(network.file)}"
    try:
        content = download(url, network.bytes, network.sha256)
    except InputError as error:
        raise InputError(
            f"{PREFIX}{network.name} could not be downloaded: {error}: see {PLACE}, or try again"
        ) from None
    return write_with(copy, lambda temporary: temporary.write_bytes(content))


def _is_whole(path: Path, network: Certified) -> bool:
    try:
        content = path.read_bytes() if path.stat().st_size == network.bytes else b""
    except OSError:
        return False
    return digest(content) == network.sha256
