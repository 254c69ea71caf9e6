"""Images in files, mapped as a store maps them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from archsearch.data.pixels import Pixels


def mapped(folder: Path, images: torch.Tensor, sizes: Sequence[int], *, named: bool = True) -> Pixels:
    """uint8 images (N, C, H, W) in files of so many images each; without names they are read by their mapping."""
    folder.mkdir(parents=True, exist_ok=True)
    files, shards = [], []
    for number, part in enumerate(torch.split(images, list(sizes))):
        path = folder / f"train-{number:04}.u8"
        stored = part.permute(0, 2, 3, 1).contiguous().numpy()
        stored.tofile(path)
        shards.append(torch.from_numpy(np.memmap(path, np.uint8, "c", shape=stored.shape)).permute(0, 3, 1, 2))
        files.append(path)
    return Pixels(tuple(shards), mapped=True, files=tuple(files) if named else ())
