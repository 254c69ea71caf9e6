"""Files in the layout of ChestMNIST: 28x28 grey pixels and 14 labels per image, made here by a rule to be learnt."""

from __future__ import annotations

from pathlib import Path

import numpy as np

NAMES = ("atelectasis", "cardiomegaly", "effusion", "infiltration", "mass", "nodule", "pneumonia", "pneumothorax",
         "consolidation", "edema", "emphysema", "fibrosis", "pleural", "hernia")  # fmt: skip
SIDE = 28


def chest_arrays(train: int = 600, other: int = 200, seed: int = 0) -> dict[str, np.ndarray]:
    """Arrays as MedMNIST's `chestmnist.npz` has them. Each label is a grating of its own, wherever it begins."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for part, count in (("train", train), ("val", other), ("test", other)):
        arrays[f"{part}_images"], arrays[f"{part}_labels"] = _part(rng, count)
    return arrays


def _part(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    labels = (rng.random((count, len(NAMES))) < np.linspace(0.35, 0.06, len(NAMES))).astype(np.uint8)
    labels[: len(NAMES)] |= np.eye(len(NAMES), dtype=np.uint8)  # every label is somewhere
    y, x = np.mgrid[:SIDE, :SIDE]
    images = rng.normal(128, 12, (count, SIDE, SIDE))
    for n in range(len(NAMES)):
        angle, wave = np.pi * (n % 7) / 7, 1.2 if n < 7 else 2.2
        phase = rng.uniform(0, 2 * np.pi, (count, 1, 1))
        grating = 22 * np.sin(wave * (x * np.cos(angle) + y * np.sin(angle)) + phase)
        images += labels[:, n, None, None] * grating
    return images.clip(0, 255).astype(np.uint8), labels


def chest_npz(path: Path, **changes: object) -> Path:
    """A file of `chest_arrays`; None leaves an array out."""
    arrays: dict[str, object] = {**chest_arrays(), **changes}
    np.savez(path, allow_pickle=True, **{name: value for name, value in arrays.items() if value is not None})
    return path
