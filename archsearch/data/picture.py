"""One picture file: what its header says, and its pixels at the network's size."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from archsearch.data.listing import Encoded

Levels = tuple[int, int]
"""Values of 16-bit pictures that become 0 and 255."""

_GREY_MODES = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"}
_BROKEN = (
    OSError, SyntaxError, ValueError, EOFError, TypeError, LookupError, ArithmeticError, AttributeError, RuntimeError,
    struct.error, zlib.error,
)  # fmt: skip
# Scientific data, vector graphics, film, cursors, textures: never photographs, or only with a program beside Pillow.
_OTHER_FORMATS = {
    "BLP", "BUFR", "CUR", "EPS", "FITS", "FLI", "FTEX", "GBR", "GRIB", "HDF5", "IM", "IPTC", "MPEG", "WMF",
}  # fmt: skip
_OTHER_SUFFIXES = {".icb", ".pfm", ".vda", ".vst"}  # of other programs' files too; .pfm has floats

_T = TypeVar("_T")


@dataclass(frozen=True)
class Header:
    """What is known of a picture before its pixels are read.

    `grey`: it has no colours; `deep`: grey with 16 bits; `deep_colour`: 16 bits a channel, of which Pillow keeps 8.
    """

    grey: bool
    deep: bool
    deep_colour: bool


@dataclass(frozen=True)
class Broken:
    """What is no readable picture, why, and where it lies, if that is known."""

    reason: str
    where: str = ""


@cache
def pillow() -> Any:
    """PIL.Image with all formats of this installation, those of pillow-heif too where it is there."""
    from PIL import Image

    with suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
    Image.init()
    return Image


@cache
def formats() -> tuple[str, ...]:
    """Formats that are opened at all, whatever a file is called: EPS would run Ghostscript on it."""
    return tuple(sorted({*pillow().OPEN} - _OTHER_FORMATS))


@cache
def suffixes() -> frozenset[str]:
    """Lower-case suffixes of the pictures that this installation reads, such as .jpg."""
    readable = {*formats(), "MPO"}  # which is read as JPEG
    found = {suffix for suffix, kind in pillow().registered_extensions().items() if kind in readable}
    return frozenset(found - _OTHER_SUFFIXES)


def header(source: Encoded) -> Header | Broken:
    """Of a picture file, or of what would be in one, pixels unread."""
    return _opened(source, _header)


def about(source: Encoded) -> tuple[int, int, str, str] | Broken:
    """Width, height, format and mode of a picture, such as 640, 480, JPEG and RGB; pixels unread."""
    return _opened(source, lambda picture: (*picture.size, picture.format or "", picture.mode))


def extremes(source: Encoded) -> Levels | Broken:
    """Smallest and largest value of a 16-bit grey picture."""
    return _opened(source, lambda picture: (int((pixels := _whole(picture)).min()), int(pixels.max())))


def decode(
    size: int | tuple[int, int], grey: bool, levels: Levels | None, source: Encoded
) -> NDArray[np.uint8] | Broken:
    """The pixels of a picture as `square` gives them."""
    return _opened(source, lambda picture: square(picture, size, grey, levels))


def _opened(source: Encoded, look: Callable[[Any], _T]) -> _T | Broken:
    image = pillow()
    try:
        with image.open(BytesIO(source) if isinstance(source, bytes) else source, formats=formats()) as picture:
            return look(picture)
    except (*_BROKEN, image.DecompressionBombError) as error:
        said, _, _ = str(error).partition(" <_io.")  # behind which stands an address in memory
        where = "" if isinstance(source, bytes) else str(source)
        return Broken(" ".join(said.split()) or type(error).__name__, where)


def _header(picture: Any) -> Header:
    indexed = picture.mode == "P" and _is_grey(picture.getpalette())
    grey = indexed or picture.mode in _GREY_MODES
    deep = picture.mode.startswith("I")
    return Header(grey, deep, ";16" in _stored(picture) and not deep)


def _stored(picture: Any) -> str:
    """How the pixels of an opened file are stored, such as RGB;16B; "" where its format does not say."""
    said = picture.tile[0][3] if getattr(picture, "tile", None) else ""
    said = said[0] if isinstance(said, tuple) and said else said
    return said if isinstance(said, str) else ""


def _is_grey(palette: Sequence[int] | None) -> bool:
    """Whether red, green and blue are equal in every entry."""
    return palette is not None and palette[::3] == palette[1::3] == palette[2::3]


def square(picture: Any, size: int | tuple[int, int], grey: bool, levels: Levels | None = None) -> NDArray[np.uint8]:
    """uint8 (size, size) or (size, size, 3) of a PIL image, upright as the camera's orientation mark says.

    The short side is scaled to `size`, bilinear, then the centre is cut out. Of 16-bit grey pictures the values
    `levels` become 0 and 255; None keeps their high byte. A pair of sizes is (width, height): what is scaled is the
    side that is the shorter one for that shape. Raises ValueError for other pixels.
    """
    from PIL import Image, ImageOps

    width, height = size if isinstance(size, tuple) else (size, size)
    if picture.mode == "I" and picture.format == "TIFF" and ";16" not in _stored(picture):
        raise ValueError("pixels are 32-bit whole numbers, not 8-bit or 16-bit")
    picture.draft(None, (2 * width, 2 * height))  # large JPEG files decode several times faster
    upright = ImageOps.exif_transpose(picture)
    return np.asarray(ImageOps.fit(_in_mode(upright, grey, levels), (width, height), Image.Resampling.BILINEAR))


def _in_mode(picture: Any, grey: bool, levels: Levels | None) -> Any:
    """8-bit L or RGB; 16-bit grey is scaled, where Pillow's own conversion clips at 255."""
    from PIL import Image

    if picture.mode == "F":
        raise ValueError("pixels are 32-bit floats, not 8-bit")
    if picture.mode.startswith("I"):
        picture = Image.fromarray(_eight_bits(_whole(picture), levels))
    if picture.mode == "P":  # a palette with transparency converts without a warning only by way of RGBA
        picture = picture.convert("RGBA")
    return picture.convert("L" if grey else "RGB")


def _whole(picture: Any) -> NDArray[np.int32]:
    return np.asarray(picture).astype(np.int32)


def _eight_bits(pixels: NDArray[np.int32], levels: Levels | None) -> NDArray[np.uint8]:
    if levels is None:
        return (pixels.clip(0, 65535) >> 8).astype(np.uint8)
    low, high = levels
    scaled = np.rint((pixels - low) * (255 / (high - low))).clip(0, 255)
    return np.asarray(scaled, np.uint8)
