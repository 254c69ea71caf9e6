"""From which probability on a label is said, where an image may have several: chosen per class on labelled images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

LABELS, SEVERAL, THRESHOLDS = "labels", "several", "thresholds"
"""In a trained file's metadata: that its labels are several per image, and from which probability on each is said."""
EVEN = 0.5
"""Where nothing else is known."""
_DIGITS = 4


def best_thresholds(logits: Tensor, labels: Tensor) -> tuple[float, ...]:
    """Per class the probability above which saying it gives the highest F1 on these images.

    A class without an image of its own gets 0.5. Halfway between the probabilities of two images, to four digits; of
    several that are best the highest.

    Args:
        logits: (N, classes), finite. labels: bool (N, classes).
    """
    shares = logits.detach().double().cpu().sigmoid().numpy()
    flags = labels.cpu().numpy().astype(np.bool_)
    return tuple(_best(shares[:, n], flags[:, n]) for n in range(flags.shape[1]))


def is_several(info: Mapping[str, Any]) -> bool:
    """Whether a file's metadata say that an image may have several labels."""
    return info.get(LABELS) == SEVERAL


def thresholds_in(info: Mapping[str, Any], classes: int) -> tuple[float, ...] | None:
    """Per class the probability above which a file says its label, 0.5 where it names none; None for one per image."""
    if not is_several(info):
        return None
    found = info.get(THRESHOLDS)
    plain = isinstance(found, list) and len(found) == classes and all(_is_share(value) for value in found)
    return tuple(map(float, found)) if plain and isinstance(found, list) else (EVEN,) * classes


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def said(logits: Tensor, thresholds: tuple[float, ...] | None = None) -> Tensor:
    """bool (N, classes): which labels are said of each image; None: those more likely than not."""
    if thresholds is None:
        return logits > 0
    return logits.double().sigmoid() > logits.new_tensor(thresholds).double()


def _best(shares: NDArray[np.float64], mine: NDArray[np.bool_]) -> float:
    """The best cut of one class: images before it are said to be of it."""
    support = int(mine.sum())
    if not support:
        return EVEN
    order = np.argsort(-shares, kind="stable")
    ranked = shares[order]
    f1 = 2 * np.cumsum(mine[order]) / (np.arange(1, len(ranked) + 1) + support)
    below = np.append(ranked[1:], 0.0)
    f1[ranked == below] = -1  # no cut between equals
    cut = int(f1.argmax())
    return float(f"{(ranked[cut] + below[cut]) / 2:.{_DIGITS}g}")
