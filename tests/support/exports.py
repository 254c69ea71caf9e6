"""What the tests of exported files share: small networks with settled statistics, images, and broken files."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from archsearch.data.pixels import Pixels
from archsearch.export import Images, Source
from archsearch.network.arch import Arch
from archsearch.network.stage import Part, Stage
from archsearch.nn import weights
from archsearch.nn.build import build

ARCH = Arch((3, 8, 8), 4, Part("conv", (("width", 8),)), (Stage("basic", 8), Stage("nin", 12, 1, 2)), Part("linear"))
CLASSES = ["cat", "größer", 'a"b', "dog"]
INFO: dict[str, Any] = {
    "classes": CLASSES,
    "normalisation": {"mean": [0.5, 0.4, 0.6], "std": [0.2, 0.3, 0.25]},
    "dataset": "npz:some.npz",
    "trained": "search",
    "recipe": {"epochs": 3, "optimiser": "sgd"},
}


def pixels(arch: Arch, number: int, seed: int = 0) -> Tensor:
    """uint8 images with structure: a bright square of random place and colour on noise."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 120, (number, *arch.input_shape), generator=generator)
    for image in images:
        row, column = torch.randint(0, 5, (2,), generator=generator).tolist()
        colour = torch.randint(100, 255, (arch.input_shape[0], 1, 1), generator=generator)
        image[:, row : row + 3, column : column + 3] = colour
    return images.to(torch.uint8)


def settled(arch: Arch, seed: int = 0) -> nn.Sequential:
    """A network with random weights whose running statistics are those of its inputs."""
    torch.manual_seed(seed)
    module = build(arch).train()
    with torch.no_grad():
        for step in range(20):
            module((pixels(arch, 64, step).float() / 255 - 0.5) / 0.25)
    return module.eval()


def info_of(arch: Arch) -> dict[str, Any]:
    """Metadata for any network."""
    channels = arch.input_shape[0]
    normalisation = {"mean": [0.5] * channels, "std": [0.25] * channels}
    return {**INFO, "normalisation": normalisation, "classes": [f"class {i}" for i in range(arch.classes)]}


def source_of(path: Path, arch: Arch = ARCH) -> Source:
    """A weights file at `path`, opened."""
    info = INFO if arch is ARCH else info_of(arch)
    return Source.open(weights.save(path, settled(arch), arch, info))


def images_of(source: Source, number: int = 60) -> Images:
    """Images whose labels are what the network says, and says clearly, so that a change of its mind is a fault."""
    many = pixels(source.arch, 4 * number, seed=99)
    with torch.no_grad():
        first, second = source.network()(many.float() / 255).topk(2).values.unbind(1)
        clear = (first - second).argsort(descending=True)[:number]
        labels = source.network()(many[clear].float() / 255).argmax(1)
    return Images(Pixels.of(pixels(source.arch, 64, seed=7)), (Pixels.of(many[clear]), labels))


def rewritten(path: Path, change: Callable[[dict[str, bytes]], object]) -> Path:
    """A zip archive again after a change of its members, whose names go without the top folder."""
    with zipfile.ZipFile(path) as archive:
        top = archive.namelist()[0].partition("/")[0]
        members = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            archive.writestr(f"{top}/{name}", data)
    return path


def edited(name: str, change: Callable[[Any], object]) -> Callable[[dict[str, bytes]], None]:
    """A change of one JSON member of an archive."""

    def edit(members: dict[str, bytes]) -> None:
        value = json.loads(members[name])
        change(value)
        members[name] = json.dumps(value).encode()

    return edit
