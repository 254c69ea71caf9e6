"""Colour pictures as grey ones, and grey ones in three equal channels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from archsearch.data.dataset import Dataset, Split
from archsearch.data.pixels import Pixels
from archsearch.errors import DataError
from archsearch.network.layers import COLOURS

_CHUNK = 1024  # images turned at a time: bounds the int32 copy
_ROUND, _SHIFT = 0x8000, 16
_ITU_601 = (19595, 38470, 7471)
"""Shares of red, green and blue in 2^16, as Pillow's conversion to L has them (ITU-R BT.601)."""


def check_colour(colour: str | None) -> None:
    """Raises DataError for what is no colour."""
    if colour is not None and colour not in COLOURS:
        raise DataError(f"colour {colour!r}: must be one of {', '.join(COLOURS)}")


def coloured(dataset: Dataset, colour: str | None) -> Dataset:
    """The same dataset in a colour, its test split included; None: as it is. Mirroring stays as it was.

    DataError: the images are neither grey nor RGB.
    """
    channels = dataset.input_shape[0]
    if colour is None or COLOURS[colour] == channels:
        return dataset
    if channels not in COLOURS.values():
        raise DataError(
            f"{dataset.name}: images of {channels} channels cannot be turned {colour}: leave the colour out"
        )
    turn, validation = grey if colour == "grey" else rgb, dataset.validation
    return replace(
        dataset,
        images=turn(dataset.images),
        validation=(turn(validation[0]), validation[1]) if validation else None,
        read_test=partial(_turned, dataset.read_test, turn),
        histograms=None,
        digest=None,
    )


def grey(images: Pixels) -> Pixels:
    """Images (N, 3, H, W) to (N, 1, H, W), to the last bit as Pillow converts RGB to L."""
    return Pixels.of(torch.cat([_grey_chunk(chunk) for chunk in images.chunks(_CHUNK)]))


def _grey_chunk(images: Tensor) -> Tensor:
    red, green, blue = (images[:, place : place + 1].int() * share for place, share in enumerate(_ITU_601))
    return ((red + green + blue + _ROUND) >> _SHIFT).to(torch.uint8)


def rgb(images: Pixels) -> Pixels:
    """Images (N, 1, H, W) to (N, 3, H, W), three equal channels."""
    return Pixels.of(images.whole().expand(-1, 3, -1, -1))


def _turned(read_test: Callable[[], Split], turn: Callable[[Pixels], Pixels]) -> Split:
    images, labels = read_test()
    return turn(images), labels
