"""Progressive resizing: the first epochs of a training see smaller images, the last third sees whole ones.

An epoch of half-size images costs a quarter. What a convolution learns there carries over (Howard 2018 for DAWNBench;
Tan and Le 2021, arXiv 2104.00298); statistics of BatchNorm, which do not, are taken anew for every evaluation.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from archsearch.errors import SpecError
from archsearch.network.arch import Arch
from archsearch.network.layers import Shape

_LEVELS = 3
_MULTIPLE = 4
"""Sides are rounded to it, so that maps halve twice without a remainder."""


def shapes(arch: Arch, scale: float, epochs: int) -> list[Shape]:
    """The shape of images, (channels, height, width), in each of `epochs` epochs.

    The first third of the epochs has sides of `scale`, the second halfway to 1, the last, and a single epoch, the
    network's own input. A network that cannot see images so small, since its layers or their weights depend on the
    image's side or its maps vanish, sees larger ones there.
    """
    levels = [arch.input_shape]
    for level in range(1, _LEVELS):
        shape = _scaled(arch.input_shape, 1 - (1 - scale) * level / (_LEVELS - 1))
        levels.append(shape if _takes(arch, shape) else levels[-1])
    return [levels[left * _LEVELS // epochs] for left in reversed(range(epochs))]


def _scaled(shape: Shape, scale: float) -> Shape:
    """At least four pixels a side; never larger."""
    if scale == 1:
        return shape
    channels, *sides = shape
    return (channels, *(min(side, max(_MULTIPLE, _MULTIPLE * round(side * scale / _MULTIPLE))) for side in sides))


def _takes(arch: Arch, shape: Shape) -> bool:
    """Whether it unrolls to the same layers with the same weights for images of this shape."""
    if shape == arch.input_shape:
        return True
    smaller = arch.adapted(shape, arch.classes)
    try:
        found = smaller.cost
    except SpecError:
        return False
    same = (found.params, found.aux_params) == (arch.cost.params, arch.cost.aux_params)
    return same and smaller.expr() == arch.expr()


def scaled(images: Tensor, shape: Shape) -> Tensor:
    """Float images (N, C, H, W) at the height and width of `shape`: bilinear, antialiased; in their memory format."""
    sides = tuple(shape[1:])
    if tuple(images.shape[2:]) == sides:
        return images
    return functional.interpolate(images, size=sides, mode="bilinear", antialias=True)
