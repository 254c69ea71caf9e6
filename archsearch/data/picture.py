"""One picture file: its mode, and its pixels at the network's size."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archsearch.errors import DataError

GREY_MODES = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"}
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)


def picture_mode(name: str, path: Path) -> str:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return "L" if picture.mode == "P" and _is_grey(picture.getpalette()) else picture.mode
    except (*_BROKEN, Image.DecompressionBombError) as error:
        raise _broken(name, path, error) from error


def _is_grey(palette: Sequence[int] | None) -> bool:
    """Whether red, green and blue are equal in every entry."""
    return palette is not None and palette[::3] == palette[1::3] == palette[2::3]


def decode(size: int | tuple[int, int], grey: bool, name: str, path: Path) -> NDArray[np.uint8]:
    """The pixels of the file as `square` gives them. Raises DataError, naming the file."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return square(picture, size, grey)
    except (*_BROKEN, Image.DecompressionBombError) as error:
        raise _broken(name, path, error) from error


def square(picture: Any, size: int | tuple[int, int], grey: bool) -> NDArray[np.uint8]:
    """uint8 (size, size) or (size, size, 3) of a PIL image, upright as the camera's orientation mark says.

    The short side is scaled to `size`, bilinear, then the centre is cut out. Raises ValueError for other pixels.
    A pair of sizes is (width, height): what is scaled is the side that is the shorter one for that shape.
    """
    from PIL import Image, ImageOps

    width, height = size if isinstance(size, tuple) else (size, size)

    if picture.mode == "I" and picture.format == "TIFF":
        raise ValueError("pixels are 32-bit whole numbers, not 8-bit or 16-bit")
    picture.draft(None, (2 * width, 2 * height))  # large JPEG files decode several times faster
    upright = ImageOps.exif_transpose(picture)
    return np.asarray(ImageOps.fit(_in_mode(upright, grey), (width, height), Image.Resampling.BILINEAR))


def _in_mode(picture: Any, grey: bool) -> Any:
    """8-bit L or RGB; 16-bit grey keeps its high byte, where Pillow's own conversion clips at 255."""
    from PIL import Image

    if picture.mode == "F":
        raise ValueError("pixels are 32-bit floats, not 8-bit")
    if picture.mode.startswith("I"):
        picture = Image.fromarray((np.asarray(picture).clip(0, 65535) >> 8).astype(np.uint8))
    if picture.mode == "P":  # a palette with transparency converts without a warning only by way of RGBA
        picture = picture.convert("RGBA")
    return picture.convert("L" if grey else "RGB")


def _broken(name: str, path: Path, error: Exception) -> DataError:
    return DataError(f"{name}: {path} is no readable picture ({error}): replace or remove it")
