"""Small copies of how public datasets lie in their archives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def draw(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def fill(
    root: Path, folders: Iterable[str], classes: Sequence[str] = (".",), count: int = 5, name: str = "{}.png"
) -> None:
    """`count` pictures in every class of every folder."""
    for folder in folders:
        for label in classes:
            for n in range(count):
                draw(root / folder / label / name.format(n), n)


def write(root: Path, *names: str) -> None:
    """Files that are no pictures."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("no picture")
